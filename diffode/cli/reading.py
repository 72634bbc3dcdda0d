"""The progress of reading data, in any command, once it has taken two seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diffode.data.watching import watching

if TYPE_CHECKING:
    from diffode.cli.progress import Bar

_PATIENCE = 2.0  # seconds


@contextmanager
def reading_shown() -> Iterator[None]:
    """Show how far the reading of data is, in a block."""
    bars: dict[str, Bar] = {}
    begun: dict[str, float] = {}

    def watch(what: str, done: int, total: int) -> None:
        waited = time.monotonic() - begun.setdefault(what, time.monotonic())
        if what not in bars and waited > _PATIENCE and done < total:
            from diffode.cli.progress import Bar

            bars[what] = Bar(what, total)
        if what in bars:
            bars[what].advance(done)
        if done == total:
            begun.pop(what)
            if what in bars:
                bars.pop(what).close()

    try:
        with watching(watch):
            yield
    finally:
        for bar in bars.values():
            bar.close()
