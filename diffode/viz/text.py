"""Text in pictures: names from outside as characters that the font has, and lines that fit."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

from PIL import ImageFont

SIGMA, ALPHA = "\u03c3", "\u03b1"  # that the fonts of matplotlib have
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def plain(text: str) -> str:
    """A text in ASCII, which every font has: letters without their accents, "?" for others."""
    parts = unicodedata.normalize("NFKD", text)
    kept = (c for c in parts if not unicodedata.combining(c))
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in kept)


def class_name(label: int, names: Sequence[str] = ()) -> str:
    """What a picture calls a class: its name, with its number where the name cannot be written.

    >>> class_name(3, ["a", "b", "c", "Käse"]), class_name(0, ["猫"]), class_name(7)
    ('Kase', 'class 0', '7')
    """
    if not 0 <= label < len(names):
        return str(label)
    name = plain(names[label])
    if "?" not in name or "?" in names[label]:
        return name
    return f"{label} {name}" if any(map(str.isalnum, name)) else f"class {label}"


def several(number: int, noun: str) -> str:
    """A number with its noun.

    >>> several(1, "path"), several(2000, "path")
    ('1 path', '2,000 paths')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@cache
def font(size: int) -> Font:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)


def fitted(text: str, size: int, width: int) -> str:
    """The text, shortened in the middle until it is no wider than so many pixels."""
    shown, kept = text, len(text)
    while font(size).getlength(shown) > width and kept > 1:
        kept -= 1
        half = (kept + 1) // 2
        shown = f"{text[:half]}...{text[len(text) - kept + half :]}"
    return shown
