"""Signals that ask a command to end: SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # by schedulers, containers and terminals; SIGHUP is not everywhere


class Ended(BaseException):
    """A signal ended the command; no error, so that nothing on the way takes it for one.

    Arguments:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number

    @property
    def code(self) -> int:
        """The exit code, as shells state it."""
        return 128 + self.number


@contextmanager
def handled(numbers: list[int], handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals for the length of a block; those that nohup made ignored stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in numbers}
    mine = [n for n in numbers if n == signal.SIGINT or before[n] != signal.SIG_IGN]
    try:
        for n in mine:
            signal.signal(n, handle)
        yield
    finally:
        for n in mine:
            signal.signal(n, before[n] or signal.SIG_DFL)


@contextmanager
def ending_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a block as an interrupt does."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    with handled(_ENDING, end):
        yield
