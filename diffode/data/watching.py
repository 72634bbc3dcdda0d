"""How far the reading of data has come, for whoever shows it; the library itself shows nothing.

>>> from diffode.data.watching import advanced, watching
>>> with watching(lambda what, done, total: print(what, done, total)):
...     advanced("read photos", 3, 9)
read photos 3 9
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Watch: TypeAlias = Callable[[str, int, int], object]

_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Have a function called as data are read in a block.

    Arguments:
        watch: takes what is read, how many parts of it are, and of how many.
    """
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


def advanced(what: str, done: int, total: int) -> None:
    """Tell who watches that so many parts of what is read are read."""
    watch = _WATCH.get()
    if watch is not None:
        watch(what, done, total)
