"""Data that vanish or change while they are read, and a process that reads them and dies.

The images are read from their files anew for each batch, as those of a large folder are.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

import diffode.data.decoded
from tests.faults import moments
from tests.faults.child import Broken, Child
from tests.faults.traces import differences, left

IMAGES, SIDE = 24, 8
TRAIN = (
    "train edm photos --device cpu --batch 8 --steps 12 --samples 20 --set width=8 --set depth=1 "
    "--set save_every=3 --set log_every=1 --out run"
)
RESUME = "train --resume run --samples 20"


def photos(place: Path) -> Path:
    """A folder of small images at a place."""
    folder = place / "photos"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    for k, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{k:02d}.png")
    return folder


def _streamed() -> None:
    """Hold no decoded image."""
    diffode.data.decoded.HELD = 0


def _vanish(path: Path) -> None:
    path.unlink()


def _change(path: Path) -> None:
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(path)


ACTS: dict[str, Callable[[Path], None]] = {"vanishes": _vanish, "changes": _change}


def disturbed(act: str, place: Path, dice: random.Random) -> str:
    """Have an image vanish or change while a training reads it; then put it back and go on.

    Raises:
        Broken: the training ends in another way than well or with one line, goes on with other
            data than its own, or leaves something else in the end.
    """
    changes, whole = _whole(place)
    folder = photos(place / "job")
    path, number = folder / f"{dice.randrange(IMAGES):02d}.png", dice.randrange(changes)

    def prepare() -> None:
        _streamed()
        moments.at_change(number, lambda _: ACTS[act](path))

    ends = [_ended(Child(TRAIN.split(), place / "job", prepare))]
    begun = (place / "job/run/config.json").exists()
    if begun and ends[0] != WELL:
        ends.append(_ended(Child(RESUME.split(), place / "job", _streamed)))
        if ends[1] == WELL:
            raise Broken(f"it went on with other data: {ends}")
    shutil.rmtree(folder)
    photos(place / "job")
    again = RESUME if begun else TRAIN
    _finish(again, place / "job", whole)
    shutil.rmtree(place / "job")
    return f"{path.name} at change {number}: {', then '.join(ends)}"


def worker(place: Path, dice: random.Random) -> str:
    """Kill a process that reads batches ahead, and give the command again.

    Raises:
        Broken: the training ends in another way than well or with one line, or leaves something
            else in the end.
    """
    _, whole = _whole(place)
    photos(place / "job")
    child = Child([*TRAIN.split(), "--set", "workers=2"], place / "job", _streamed)
    while child.running() and not (found := _workers(child.pid)):
        time.sleep(0.01)
    time.sleep(dice.random())
    if child.running():
        with suppress(ProcessLookupError):  # it has read all and ended
            os.kill(dice.choice(found), signal.SIGKILL)
    end = _ended(child)
    begun = (place / "job/run/config.json").exists()
    _finish(RESUME if begun else f"{TRAIN} --set workers=2", place / "job", whole)
    shutil.rmtree(place / "job")
    return end


WELL = "it ended well"


def _ended(child: Child) -> str:
    """How a training ended: well, or with one line."""
    code, line = child.wait(), child.said().rstrip("\n").rpartition("\n")[2]
    if code != 0 and (code != 2 or not line.startswith("error: ")):
        raise Broken(f"exit code {code}: {line[-300:]}")
    return line if code else WELL


@functools.cache
def _whole(place: Path) -> tuple[int, dict[str, str]]:
    """How many changes of the file system an undisturbed training makes, and what it leaves."""
    photos(place / "whole")
    start = functools.partial(Child, TRAIN.split(), place / "whole")
    course = moments.observed(lambda p: start(lambda: (_streamed(), p())), place / "notes")
    return course.changes, _learned(place / "whole")


def _finish(line: str, place: Path, whole: dict[str, str]) -> None:
    end = _ended(Child(line.split(), place, _streamed))
    if end != WELL:
        raise Broken(f"with its data back: {end}")
    if other := differences(whole, _learned(place)):
        raise Broken(f"not the same: {', '.join(other)}")


def _learned(place: Path) -> dict[str, str]:
    """What a training leaves, but for its configuration, which names where the data are."""
    aside = {"run/config.json", "run/SHA256SUMS"}
    return {k: v for k, v in left(place / "run").items() if k not in aside}


def _workers(pid: int) -> list[int]:
    """The processes that read for a training."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        spawned = [c for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    except OSError:
        return []
    return [int(c) for c in spawned]
