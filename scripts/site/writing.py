"""Markdown of generated pages."""

import re
from collections.abc import Iterable, Sequence

from scripts.site.equations import written


def cell(text: str) -> str:
    """A text as one line, in which nothing ends a cell of a table or begins a tag."""
    line = " ".join(written(text).split()).replace("|", "\\|")
    parts = re.split(r"(`[^`]*`|\$[^$]*\$)", line)  # code and formulas are taken as they are
    plain = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    parts[::2] = [re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", part) for part in plain]
    return "".join(parts)


def code(text: str) -> str:
    """A text between backticks; nothing for nothing."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(title: str, *blocks: str) -> str:
    """A page of blocks."""
    return "\n\n".join([f"# {title}", *blocks]) + "\n"
