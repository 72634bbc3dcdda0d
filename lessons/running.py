"""A lesson executed as Jupyter would, into a page of Markdown with its figures."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.pyplot as plt

from diffode.files import replacing, write_text
from lessons.cells import Cell, cells
from lessons.notebook import notebook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 1500  # pixels of a figure
SWITCH = "DIFFODE_LESSONS"  # a lesson reads it: "small" asks for little work


class LessonError(Exception):
    """A lesson that does not run: the message names the lesson, the cell and the line."""


@dataclass
class Done:
    """What a lesson became: its page, and the figures, each with what it shows."""

    page: Path
    figures: list[tuple[Path, str]] = field(default_factory=list)


def run(path: Path, out: Path, small: bool = False) -> Done:
    """Execute a lesson and write NAME.md, NAME-1.png and so on, and NAME.ipynb into a folder.

    Arguments:
        path: the file of the lesson.
        out: the folder.
        small: ask the lesson for little work.

    Raises:
        LessonError: a cell fails, or nothing says what a figure shows.
        ValueError: the file is not one of cells.
    """
    lesson, out = cells(path), out.resolve()
    done = Done(out / f"{path.stem}.md")
    names: dict[str, Any] = {"__name__": "__main__"}
    parts = []
    with _alone(small):
        for cell in lesson:
            if cell.is_text:
                parts.append(cell.body)
                continue
            printed = _execute(cell, path, names)
            parts.append(f"```python\n{cell.body}\n```")
            if printed.strip():
                parts.append(f"```text\n{printed.rstrip()}\n```")
            parts += [f"![{alt}]({file.name})" for file, alt in _figures(cell, path, done)]
    parts.insert(1, f"*This page as a notebook: [{path.stem}.ipynb]({path.stem}.ipynb).*")
    write_text(done.page, "\n\n".join(parts) + "\n")
    write_text(out / f"{path.stem}.ipynb", notebook(lesson))
    return done


@contextlib.contextmanager
def _alone(small: bool) -> Iterator[None]:
    """A working folder, settings of matplotlib and a size that are the lesson's own."""
    before, show = os.environ.get(SWITCH), plt.show
    plt.close("all")
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        matplotlib.rc_context(),
    ):
        plt.switch_backend("agg")
        plt.show = lambda *_, **__: None  # the figures are saved after each cell
        os.environ[SWITCH] = "small" if small else "full"
        try:
            yield
        finally:
            plt.show = show
            plt.close("all")
            os.environ.pop(SWITCH)
            if before is not None:
                os.environ[SWITCH] = before


def _execute(cell: Cell, path: Path, names: dict[str, Any]) -> str:
    """What a cell prints, its last value included."""
    printed = io.StringIO()
    try:
        tree = ast.parse("\n" * cell.line + cell.body, str(path))
        last = tree.body[-1:] if not cell.body.rstrip().endswith(";") else []
        shown = last.pop() if last and isinstance(last[0], ast.Expr) else None
        if isinstance(shown, ast.Expr):
            tree.body.pop()
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, str(path), "exec"), names)
            if isinstance(shown, ast.Expr):
                value = eval(compile(ast.Expression(shown.value), str(path), "eval"), names)
                if value is not None:
                    print(repr(value))
    except Exception as error:
        raise LessonError(f"{path.name}, cell {cell.number}, {_place(error, path)}") from error
    return printed.getvalue()


def _place(error: Exception, path: Path) -> str:
    """The last line of the lesson that an error went through, and the error."""
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {what}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(path)][-1]
    return f"line {own.lineno}: {own.line}\n{what}"


def _figures(cell: Cell, path: Path, done: Done) -> list[tuple[Path, str]]:
    """Save the figures that are open, and close them."""
    open_: list[Figure] = [plt.figure(number) for number in plt.get_fignums()]
    titles = [title.strip() for title in cell.title.split("|")] if cell.title else []
    titles = titles or [_headings(figure) for figure in open_]
    if len(titles) != len(open_) or not all(titles):
        raise LessonError(
            f"{path.name}, cell {cell.number}, line {cell.line}: got {len(open_)} figures and "
            f"the titles {titles}; wanted '# %% what the figure shows', with ' | ' between two"
        )
    new = []
    for figure, title in zip(open_, titles, strict=True):
        file = done.page.with_name(f"{path.stem}-{len(done.figures) + len(new) + 1}.png")
        with replacing(file) as draft:
            figure.savefig(draft, format="png", dpi=WIDTH / figure.get_figwidth())
        new.append((file, title))
    plt.close("all")
    done.figures += new
    return new


def _headings(figure: Figure) -> str:
    """What stands above a figure and its axes."""
    above = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    return ". ".join(" ".join(text.split()) for text in above if text)
