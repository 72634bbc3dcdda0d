"""The cells of a lesson, read from its file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
_HEAD = re.compile(r"# %%(?: (?P<title>[^\[]*?))?(?P<text> ?\[markdown\])?")


@dataclass(frozen=True)
class Cell:
    """A cell: its number from 1, its kind, its title, its lines, and the line of the file before.

    The title of a cell of code says what its figure shows, with `` | `` between those of several.
    """

    number: int
    is_text: bool
    title: str
    body: str
    line: int


def lessons(wanted: list[str] | None = None) -> list[Path]:
    """The files of the lessons that are called so, by number, name or both; of all, if none is.

    Raises:
        ValueError: a lesson that is not there.
    """
    there = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    found = []
    for name in wanted or []:
        number, stem = {p.stem[:2]: p for p in there}, {p.stem[3:]: p for p in there}
        path = {p.stem: p for p in there} | number | stem
        if name.removesuffix(".py") not in path:
            names = ", ".join(p.stem for p in there)
            raise ValueError(f"got the lesson {name!r}; wanted one of {names}")
        found.append(path[name.removesuffix(".py")])
    return found or there


def cells(path: Path) -> list[Cell]:
    """The cells of a lesson.

    Raises:
        ValueError: a file that does not begin with a cell, or a head that is not understood.
    """
    found: list[Cell] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    heads = [k for k, line in enumerate(lines) if line.startswith("# %%")]
    if heads[:1] != [0]:
        raise ValueError(f"{path.name}: the first line begins no cell; wanted # %% [markdown]")
    for begin, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        head = _HEAD.fullmatch(lines[begin].rstrip())
        if head is None:
            raise ValueError(
                f"{path.name}, line {begin + 1}: got {lines[begin]!r}; wanted # %% and a title, "
                "or # %% [markdown]"
            )
        body, is_text = lines[begin + 1 : end], head["text"] is not None
        if is_text:
            body = [_uncommented(line, path, begin + 2 + k) for k, line in enumerate(body)]
        title, text = (head["title"] or "").strip(), "\n".join(body)
        found.append(Cell(len(found) + 1, is_text, title, text.strip("\n"), begin + 1))
    return found


def _uncommented(line: str, path: Path, number: int) -> str:
    if line.strip() and not line.startswith("#"):
        raise ValueError(f"{path.name}, line {number}: got {line!r} in a cell of text; wanted # ")
    return line.removeprefix("#").removeprefix(" ")
