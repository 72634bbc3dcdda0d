"""Signals that ask a command to end: SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from diffode.processes import together

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


class Stop:
    """Whether a signal has asked for an end, and how it is answered.

    Attributes:
        number: of the signal, or None.
    """

    number: int | None = None

    def asked(self) -> bool:
        """Whether an end was asked for, of any of torchrun's processes: all answer the same."""
        from torch import distributed, tensor

        if not (distributed.is_available() and distributed.is_initialized()):
            return self.number is not None
        highest = tensor([self.number or 0])
        with together():
            distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        if int(highest):  # a signal that came meanwhile waits for the next step
            self.number = int(highest)
        return bool(int(highest))

    def end(self) -> None:
        """End as the signal would have.

        Raises:
            KeyboardInterrupt, Ended: what the signal is.
        """
        if self.number is not None and self.number != signal.SIGINT:
            raise Ended(self.number)
        raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a request; a second one ends at once.

    Among torchrun's processes there is no second one: it sends its own after the terminal's.
    """
    stop = Stop()
    terminals = [s for s in (sys.stdout, sys.stderr) if s.isatty()]

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.number is not None:
            if "RANK" not in os.environ:
                stop.number = number
                stop.end()
            return
        stop.number = number
        if number == getattr(signal, "SIGHUP", None):  # the terminal has gone
            for stream in terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        with suppress(OSError):
            print("\nstopping after this step", file=sys.stderr)

    with handled([signal.SIGINT, *_ENDING], handle):
        yield stop
