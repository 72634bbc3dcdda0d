"""The progress bar of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from diffode.files import is_main_process


class Bar:
    """One task's progress; it shows at its first advance, so that an error before stands alone."""

    def __init__(self, what: str, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not is_main_process(),
        )
        self._task = self._progress.add_task(what, total=total, note="")

    def advance(self, done: int, note: str = "", total: int | None = None) -> None:
        """Show that so many are done, of another total if one is given."""
        self._progress.start()
        self._progress.update(self._task, completed=done, note=note, total=total)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._progress.live.is_started:
            self._progress.stop()


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Bar]:
    """A bar for the length of a block."""
    bar = Bar(what, total)
    try:
        yield bar
    finally:
        bar.close()
