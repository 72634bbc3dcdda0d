"""The documentation site, from pages and docstrings, without a network."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
