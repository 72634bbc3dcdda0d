"""One process at a time in a run directory."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from diffode.files import is_main_process, read_json, sweep, write_text

_LOCK, _HOLDER = ".lock", ".holder.json"
_HELD: ContextVar[tuple[Path, ...]] = ContextVar("run directories that the caller holds")


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a run directory for a block, and for the trainings in it that the block starts.

    Raises:
        ValueError: another process, or another training of this one, holds it.
    """
    with locked(folder):
        token = _HELD.set((*_HELD.get(()), folder.resolve()))
        try:
            yield
        finally:
            _HELD.reset(token)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run directory for one training, unless the caller holds it; torchrun's first process
    holds it for all.

    What dead processes left half-written there is deleted.

    Raises:
        ValueError: another process, or another training of this one, holds it.
    """
    place = folder.resolve()
    if place in _HELD.get(()) or not is_main_process():
        yield
        return
    lock = FileLock(place / _LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{folder} is in use by {_holder(place)}; wait until it has ended, or choose another "
            "output directory"
        ) from None
    try:
        for part in (place, place / "checkpoints"):
            sweep(part)
        about = {"pid": os.getpid(), "host": platform.node()}
        write_text(place / _HOLDER, json.dumps(about) + "\n")
        yield
    finally:
        (place / _HOLDER).unlink(missing_ok=True)
        if [path.name for path in place.iterdir()] == [_LOCK]:  # nothing came of it
            (place / _LOCK).unlink()
        lock.release()


def _holder(place: Path) -> str:
    """Who holds a run directory."""
    try:
        about = read_json(place / _HOLDER)
    except (OSError, ValueError):
        return "another process"
    pid, host = str(about.get("pid"))[:20], str(about.get("host"))[:80]
    mine = pid == str(os.getpid()) and host == platform.node()
    return "another training of this process" if mine else f"process {pid} on {host}"
