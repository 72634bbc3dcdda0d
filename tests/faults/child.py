"""A command in a process of its own, begun by fork, so that it starts with all modules read."""

from __future__ import annotations

import atexit
import importlib
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

import diffode
from diffode.cli.app import run

LONGEST = 300  # seconds; a command that takes longer hangs


class Broken(AssertionError):
    """Something that must hold does not."""


def read_all_modules() -> None:
    """Import what commands import, once, before the first of them is begun."""
    torch.set_num_threads(1)  # a process that forks has one thread
    own = pkgutil.walk_packages(diffode.__path__, "diffode.")
    names = [module.name for module in own if not module.name.endswith("__main__")]
    for name in ("matplotlib.pyplot", "safetensors.torch", *names):
        importlib.import_module(name)


class Child:
    """A command that runs.

    Arguments:
        arguments: of ``diffode``.
        folder: where it runs.
        prepare: called in the new process before the command, to disturb it.
        log: names the file of what it prints, which stands beside the folder.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        prepare: Callable[[], object] | None = None,
        log: str = "first",
    ) -> None:
        self.arguments, self.folder = list(arguments), folder
        self.log = folder.with_name(f"{folder.name}-{log}.txt")
        self.log.unlink(missing_ok=True)
        self.code: int | None = None
        sys.stdout.flush()
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._be(prepare)

    def _be(self, prepare: Callable[[], object] | None) -> None:
        code = 99
        try:
            atexit._clear()  # what the parent will do at its end
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which "&" has ignored
            os.chdir(self.folder)
            said = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.dup2(said, 1)
            os.dup2(said, 2)
            if prepare is not None:
                prepare()
            code = run(self.arguments)
            atexit._run_exitfuncs()
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os._exit(code)

    def running(self) -> bool:
        """Whether it has not ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def wait(self, seconds: float = LONGEST) -> int:
        """Its exit code, less than 0 where a signal ended it.

        Raises:
            Broken: it takes longer, and is killed.
        """
        end = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise Broken(f"{' '.join(self.arguments)} hangs")
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.running():
            os.kill(self.pid, number)

    def said(self) -> str:
        """What it printed.

        Raises:
            Broken: a traceback is in it.
        """
        text = self.log.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in text or "not foreseen" in text:
            raise Broken(f"{' '.join(self.arguments)} shows a traceback: {text[-600:]}")
        return text


def carried_out(arguments: Sequence[str], folder: Path) -> str:
    """Carry out a command that must succeed; what it printed.

    Raises:
        Broken: it does not.
    """
    child = Child(arguments, folder)
    if child.wait() != 0:
        raise Broken(f"{' '.join(arguments)} gave {child.code}: {child.said()[-400:]}")
    return child.said()
