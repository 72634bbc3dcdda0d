"""The moments at which a command is killed, each a function of a seed.

* clock: after a share of the time that the command takes;
* operation: before its k-th change of the file system;
* torn: when the k-th file is written, with a share of its bytes on the disk and no more.

The last two are the same on every machine. Python states each change that it makes of the file
system (PEP 578), and a file is torn where the library has it brought to the disk (fsync).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.child import Broken, Child

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Course:
    """What an undisturbed command does.

    Attributes:
        seconds: that it takes.
        changes: how many changes of the file system it makes.
        files: how many files it has brought to the disk.
        saved: which of those are checkpoints.
    """

    seconds: float
    changes: int
    files: int
    saved: list[int]


def observed(run: Callable[[Callable[[], object]], Child], notes: Path) -> Course:
    """Run a command to its end and note what it does."""

    def note(kind: str) -> None:
        fd = os.open(str(notes).encode(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.write(fd, kind.encode())
        os.close(fd)

    child = run(lambda: _watch(lambda path: note("c"), lambda path: note(_kind(path)), notes))
    if child.wait() != 0:
        raise Broken(f"{' '.join(child.arguments)} gave {child.code}: {child.said()[-400:]}")
    seconds = time.monotonic() - child.began
    said = notes.read_text() if notes.exists() else ""
    files = said.replace("c", "")
    return Course(
        seconds, said.count("c"), len(files), [k for k, c in enumerate(files) if c == "s"]
    )


def _kind(path: str) -> str:
    return "s" if f"{os.sep}checkpoints{os.sep}" in path else "f"


def _watch(
    change: Callable[[str], None], write: Callable[[str], None], aside: Path | None = None
) -> None:
    """Have functions called before each change of the file system, and each fsync."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _CHANGES or (event == "open" and _writes(*arguments, aside)):
            change(str(arguments[0]))

    fsync = os.fsync

    def noted(fd: int) -> None:
        write(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    os.fsync = noted
    sys.addaudithook(hook)


def _writes(path: object, mode: object, flags: object, aside: Path | None) -> bool:
    """Whether a file is opened to be written, which is no device and not set aside."""
    ordinary = path != str(aside).encode() and not str(path).startswith("/dev/")
    return ordinary and isinstance(flags, int) and bool(flags & _WRITES)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Countdown:
    """Call a function at the call with a number."""

    def __init__(self, number: int, act: Callable[[str], None]) -> None:
        self.number, self.act, self.calls = number, act, 0

    def __call__(self, path: str) -> None:
        self.calls += 1
        if self.calls == self.number + 1:
            self.act(path)


def _nothing(path: str) -> None:
    pass


def at_change(number: int, act: Callable[[str], None]) -> None:
    """Have a function called before a change of the file system."""
    _watch(_Countdown(number, act), _nothing)


def before_change(number: int) -> Callable[[], object]:
    """Die before a change of the file system."""
    return lambda: at_change(number, _die)


def torn(number: int, share: float) -> Callable[[], object]:
    """Die when a file is brought to the disk, with a share of its bytes there."""

    def tear(path: str) -> None:
        os.truncate(path, int(share * os.path.getsize(path)))
        _die()

    return lambda: _watch(_nothing, _Countdown(number, tear))


def killed(
    run: Callable[[Callable[[], object] | None], Child],
    course: Course,
    dice: random.Random,
    kind: str,
) -> str:
    """Run a command and kill it at a moment of a kind; which moment it was."""
    if kind == "clock":
        share = dice.random()
        child = run(None)
        time.sleep(share * course.seconds)
        child.send(signal.SIGKILL)
        child.wait()
        return f"after {share:.3f} of its time"
    if kind == "operation":
        number = dice.randrange(course.changes)
        run(before_change(number)).wait()
        return f"before change {number} of {course.changes}"
    places = course.saved if kind == "checkpoint" else range(course.files)
    number, share = dice.choice(list(places)), dice.random()
    run(torn(number, share)).wait()
    return f"with {share:.3f} of file {number} of {course.files} written"
