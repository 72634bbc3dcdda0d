"""An output that is deleted, or replaced by something else, while a command writes there."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.faults import moments
from tests.faults.child import Broken, Child
from tests.faults.jobs import JOBS
from tests.faults.shop import Shop, gone_on
from tests.faults.traces import temporaries

THEIRS = "what others keep here\n"


def _gone(path: Path, victim: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _link(path: Path, victim: Path) -> None:
    if path.is_dir():
        victim = victim.parent / "elsewhere"
        victim.mkdir()
    _gone(path, victim)
    path.symlink_to(victim)


def _pipe(path: Path, victim: Path) -> None:
    _gone(path, victim)
    os.mkfifo(path)


def _device(path: Path, victim: Path) -> None:
    _gone(path, victim)
    path.symlink_to("/dev/full")


ACTS: dict[str, Callable[[Path, Path], None]] = {
    "deleted": _gone,
    "replaced by a link": _link,
    "replaced by a pipe": _pipe,
    "replaced by a device": _device,
}


def odd(name: str, what: str, act: str, shop: Shop, dice: random.Random, _: int) -> str:
    """Disturb what a command writes at a random change of the file system, and see how it ends.

    Then the output is moved away, and the same command makes it anew.

    Arguments:
        what: "folder", or "file" for any one in it.

    Raises:
        Broken: it hangs, shows a traceback, ends in another way than well or with one line,
            changes a file that is not its own, leaves something half-written, or fails after.
    """
    job, whole = JOBS[name], shop.whole(name)
    place, victim = shop.fresh(job), shop.empty() / "theirs"
    victim.write_text(THEIRS)
    number = dice.randrange(whole.course.changes)

    def disturb(_: str) -> None:
        found = _chosen(place / job.out, what, dice)
        if found is not None:
            ACTS[act](found, victim)
            (victim.parent / "done").write_text(found.name)

    child = Child(job.line.split(), place, lambda: moments.at_change(number, disturb))
    code, said = child.wait(), child.said()
    mark = victim.parent / "done"
    done = f"{mark.read_text()} at change {number}" if mark.exists() else "there was nothing yet"
    line = said.rstrip("\n").rpartition("\n")[2]
    if code != 0 and (code != 2 or not line.startswith("error: ")):
        raise Broken(f"{done}: exit code {code}: {line[-300:]}")
    if victim.read_text() != THEIRS:
        raise Broken(f"{done}: the file behind the link was changed")
    if half := temporaries(place):
        raise Broken(f"{done}: left half-written: {', '.join(half)}")
    _clear(place / job.out)
    gone_on(job, place, whole.files)
    return f"{done}: {line if code else 'it ended well'}"


def _chosen(out: Path, what: str, dice: random.Random) -> Path | None:
    """The folder, or one of its files, if there is one yet."""
    if out.is_file() or (what == "folder" and out.exists()):
        return out
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    return dice.choice(files) if what == "file" and files else None


def _clear(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        out.unlink()
    elif out.exists():
        shutil.rmtree(out)
