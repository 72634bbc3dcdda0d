"""The page's own files: scripts, style and frame, as they lie in the package."""

from __future__ import annotations

import base64
from hashlib import sha256
from importlib.resources import files

MATHEMATICS = (
    "kernel.js",
    "schedules.js",
    "flow.js",
    "ratio.js",
    "tables.js",
    "likelihood.js",
)  # what is tested against Python
WORKER = ("worker.js",)  # runs beside the page, with the mathematics in front
PAGE = ("images.js", "drawing.js", "data.js", "view.js", "main.js")  # the page itself


def script(name: str) -> str:
    """The text of a file of the page."""
    return (files("diffode.explore") / "web" / name).read_text(encoding="utf-8")


def joined(names: tuple[str, ...]) -> str:
    """Files one after the other."""
    return "\n".join(script(name) for name in names)


def source_hash(text: str) -> str:
    """A script's or a style's hash as a content security policy states it."""
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()
