"""A disk that is full, and a folder that cannot be written to.

A full disk is a small file system in memory, which only root can mount, and in few containers.
Elsewhere a limit of the size of each file stands for it (RLIMIT_FSIZE): a file that would grow
beyond it cannot be written.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.child import Broken, Child
from tests.faults.jobs import JOBS, Job
from tests.faults.shop import Shop, gone_on
from tests.faults.traces import temporaries

SIZES = 10
ROOT = os.geteuid() == 0
_PAGE = 4096
_VERSION, _OVERRIDE, _READ = 0x20080522, 1, 2  # of capset(2), and CAP_DAC_... of root


def full(name: str, sizes: int, shop: Shop, dice: random.Random, number: int) -> str:
    """Give a command too little room, then enough.

    Arguments:
        sizes: how many are tried, from next to nothing up to all but enough.

    Raises:
        Broken: it says anything but one line of what is wrong, exits with another code than 2,
            leaves something half-written, or does not go on.
    """
    job, whole = JOBS[name], shop.whole(name)
    share, place = (number + dice.random()) / sizes, shop.empty()
    if not MOUNTS:
        size = int(share * max(path.stat().st_size for path in _files(whole.place / job.out)))
        _refused(job, shop.furnished(job, place), lambda: _limit(size))
        gone_on(job, place, whole.files)
        return f"files of at most {size} bytes"
    read, wanted = sum(_sizes(shop.fresh(job))), sum(_sizes(whole.place))
    size = read + int(share * (wanted - read)) // _PAGE * _PAGE
    with _mounted(place, max(size, _PAGE)):
        _refused(job, shop.furnished(job, place), None)
        _call("mount", "-o", "remount,size=1g", str(place))
        gone_on(job, place, whole.files)
    return f"{size} of {wanted} bytes"


def unwritable(name: str, shop: Shop, dice: random.Random, number: int) -> str:
    """Give a command a folder that it may not write to.

    Raises:
        Broken: it says anything but one line of what is wrong, exits with another code than 2, or
            leaves something.
    """
    job = JOBS[name]
    place = shop.fresh(job)
    for folder in [place, *(p for p in place.rglob("*") if p.is_dir())]:
        folder.chmod(0o555)
    before = sorted(place.rglob("*"))
    said = _refused(job, place, _obey_permissions)
    if sorted(place.rglob("*")) != before:
        raise Broken("something was written")
    shutil.rmtree(place)
    return said.strip()


def _refused(job: Job, place: Path, prepare: Callable[[], object] | None) -> str:
    """The last line of a command that cannot write."""
    child = Child(job.line.split(), place, prepare)
    code = child.wait()
    line = child.said().rstrip("\n").rpartition("\n")[2]
    if code != 2 or not line.startswith("error: "):
        raise Broken(f"exit code {code}: {line[-300:]}")
    if half := temporaries(place):
        raise Broken(f"left half-written: {', '.join(half)} after {line}")
    return line


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _obey_permissions() -> None:
    """Give up the right of root to write everywhere; it still owns and reads what it made."""
    if not ROOT:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    asked = libc.capget(header, rights)
    for k in range(3):
        rights[k] &= ~(1 << _OVERRIDE | 1 << _READ)
    if asked or libc.capset(header, rights):
        raise OSError(ctypes.get_errno(), "the rights of root cannot be given up")


def _sizes(place: Path) -> list[int]:
    """The bytes that each file takes, in whole pages."""
    return [-(-path.stat().st_size // _PAGE) * _PAGE for path in _files(place)]


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]


@contextmanager
def _mounted(place: Path, size: int) -> Iterator[None]:
    """Have a file system of so many bytes at a place."""
    _call("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    try:
        yield
    finally:
        _call("umount", str(place))


def _call(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _may_mount() -> bool:
    """Whether this process may: many a container forbids it to its root."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _mounted(Path(folder), _PAGE):
                return ROOT
        except (OSError, subprocess.CalledProcessError):
            return False


MOUNTS = _may_mount()
FULL = "a full tmpfs" if MOUNTS else "files limited in size"
