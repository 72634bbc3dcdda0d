"""What a command does beside its answer: time, memory, files opened, programs started."""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

CPU = 30.0  # seconds of the processor for one command; the parent's clock adds what only waits
_RUNS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "pty.spawn",
    "subprocess.Popen",
    "socket.connect",
)
_OURS = ("subprocess.Popen", "ffmpeg")  # writes the films that a command asks for as .mp4


class Hung(BaseException):
    """A command took too long; no error, so that nothing on the way takes it for one."""


class Watch:
    """Hears what Python reports of its own doing (`sys.addaudithook`) while a command runs."""

    def __init__(self, place):
        self.listening, self.place = False, place
        self.ran, self.strayed = [], []
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        """Note a program that is started, a file read outside and one written outside."""
        if not self.listening:
            return
        if (event, *arguments[:1]) == _OURS:
            return
        if event in _RUNS:
            self.ran.append(f"{event} {arguments[:2]!r:.200}")
        elif event == "pickle.find_class":
            self.ran.append(f"unpickled {'.'.join(map(str, arguments))}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            self._open(os.fsdecode(arguments[0]), arguments[2] or 0)

    def _open(self, path, flags):
        full = Path(os.path.abspath(path))
        lure = self.place.outside in full.parents or str(full) == "/etc/passwd"
        written = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if lure or (written and self.place.work not in full.parents and not _of_system(full)):
            self.strayed.append(f"{'wrote' if written else 'read'} {full}")

    @contextmanager
    def watching(self):
        """Listen, and end what takes too long, for the length of a block."""

        def end(number, frame):
            raise Hung(f"{frame.f_code.co_filename}:{frame.f_lineno}")

        self.ran, self.strayed = [], []
        before = signal.signal(signal.SIGPROF, end)
        signal.setitimer(signal.ITIMER_PROF, CPU)
        self.listening = True
        try:
            yield self
        finally:
            self.listening = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)


def _of_system(path):
    """Whether libraries write there: devices, matplotlib's list of fonts, modules read at last."""
    return path.parts[1:2] in (("dev",), ("proc",)) or not {
        "matplotlib",
        "__pycache__",
    }.isdisjoint(path.parts)


def begin_peak():
    """Forget the peak of this process's memory so far; bytes in use now (0 where unknown)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def peak():
    """The most bytes in use since `begin_peak`."""
    return _status("VmHWM")


def _status(name):
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), 0)
