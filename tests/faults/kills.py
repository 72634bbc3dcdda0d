"""A command that is killed and given again leaves what an undisturbed one leaves, bit for bit."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults import moments
from tests.faults.child import Broken, Child, carried_out
from tests.faults.jobs import JOBS, Job
from tests.faults.traces import differences, left, temporaries

MOMENTS = ("clock", "operation", "torn")


class Shop:
    """A folder where commands are carried out, and what undisturbed ones leave there.

    Arguments:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.course = functools.cache(self._course)
        self._teacher = functools.cache(self._made)
        self._number = 0

    def fresh(self, job: Job) -> Path:
        """A new folder with what a command reads."""
        self._number += 1
        place = self.folder / f"{self._number:04d}"
        place.mkdir()
        if job.needs:
            shutil.copytree(self._teacher(job.needs), place / "teacher")
        return place

    def _made(self, line: str) -> Path:
        place = self.folder / f"teacher-{abs(hash(line))}"
        place.mkdir()
        carried_out(line.split(), place)
        return place / "teacher"

    def _course(self, name: str) -> tuple[moments.Course, dict[str, str]]:
        """What an undisturbed command does, and leaves."""
        job = JOBS[name]
        place = self.fresh(job)
        notes = self.folder / f"{place.name}-notes"
        course = moments.observed(lambda p: Child(job.line.split(), place, p), notes)
        return course, left(place / job.out)


def kill(
    name: str, shop: Shop, dice: random.Random, number: int, kinds: Sequence[str] = MOMENTS
) -> str:
    """Kill a command once, give it again, and compare; which moment it was.

    Raises:
        Broken: with the moment, and what was not the same.
    """
    job = JOBS[name]
    course, whole = shop.course(name)
    place = shop.fresh(job)
    start: Callable[..., Child] = functools.partial(Child, job.line.split(), place)
    moment = moments.killed(start, course, dice, kinds[number % len(kinds)])
    try:
        gone_on(job, place, whole)
    except Broken as broken:
        raise Broken(f"killed {moment}: {broken}") from None
    shutil.rmtree(place)
    return moment


def gone_on(job: Job, place: Path, whole: dict[str, str]) -> None:
    """Give a command again and hold what it leaves to what is whole.

    Raises:
        Broken: it fails, leaves something else, or something half-written.
    """
    (place / "said.txt").unlink(missing_ok=True)
    carried_out(job.again(place).split(), place)
    if other := differences(whole, left(place / job.out)):
        raise Broken(f"not the same: {', '.join(other)}")
    if half := temporaries(place):
        raise Broken(f"left half-written: {', '.join(half)}")
