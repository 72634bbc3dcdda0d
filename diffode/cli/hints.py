"""Command lines to go on with, printed as a shell takes them."""

from __future__ import annotations

import shlex
from pathlib import Path


def command_line(*words: str | Path) -> str:
    """A line of its own, with a break before it: ``diffode`` and these words, quoted."""
    return f"\n  {shlex.join(['diffode', *map(str, words)])}"
