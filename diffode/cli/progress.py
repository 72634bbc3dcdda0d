"""The progress of the commands: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
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

_EVERY = 5.0  # seconds between lines, or a twentieth of the time so far if that is longer


class Bar:
    """One task's progress; it shows at its first advance, so that an error before stands alone.

    Where the standard error is no terminal, it is a line every few seconds, and one at the end.
    """

    def __init__(self, what: str, total: int) -> None:
        self._console = Console(stderr=True)
        self._what, self._total, self._line = what, total, ""
        self._begun = self._said = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not is_main_process(),
        )
        self._task = self._progress.add_task(what, total=total, note="")

    def advance(self, done: int, note: str = "", total: int | None = None) -> None:
        """Show that so many are done, of another total if one is given."""
        self._total = self._total if total is None else total
        if self._console.is_terminal:
            self._progress.start()
            self._progress.update(self._task, completed=done, note=note, total=total)
            return
        self._line, now = f"{self._what} {done}/{self._total} {note}".rstrip(), time.monotonic()
        if now - self._said >= max(_EVERY, (now - self._begun) / 20):
            self._say()

    def _say(self) -> None:
        """Print the line that is not printed yet."""
        if self._line and is_main_process():
            self._console.print(self._line, markup=False, highlight=False, soft_wrap=True)
        self._line, self._said = "", time.monotonic()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._say()
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
