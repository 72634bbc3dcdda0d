"""Where commands are carried out, and what undisturbed ones leave there."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.faults import moments
from tests.faults.child import Broken, Child, carried_out
from tests.faults.jobs import JOBS, Job
from tests.faults.traces import differences, left, newest, temporaries


@dataclass(frozen=True)
class Whole:
    """What an undisturbed command does and leaves.

    Attributes:
        course: what it does.
        files: the digest of each file that it leaves.
        place: where it was carried out.
    """

    course: moments.Course
    files: dict[str, str]
    place: Path


class Shop:
    """A folder where commands are carried out.

    Arguments:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole = functools.cache(self._whole)
        self._teacher = functools.cache(self._made)
        self._number = 0

    def empty(self) -> Path:
        """A new folder."""
        self._number += 1
        place = self.folder / f"{self._number:04d}"
        place.mkdir()
        return place

    def fresh(self, job: Job) -> Path:
        """A new folder with what a command reads."""
        return self.furnished(job, self.empty())

    def furnished(self, job: Job, place: Path) -> Path:
        """A folder, with what a command reads put there."""
        if job.needs:
            shutil.copytree(self._teacher(job.needs), place / "teacher")
        return place

    def _made(self, line: str) -> Path:
        place = self.empty()
        carried_out(line.split(), place)
        return place / "teacher"

    def _whole(self, name: str) -> Whole:
        job = JOBS[name]
        place = self.fresh(job)
        notes = self.folder / f"{place.name}-notes"
        course = moments.observed(lambda p: Child(job.line.split(), place, p), notes)
        return Whole(course, left(place / job.out), place)


def gone_on(job: Job, place: Path, whole: dict[str, str]) -> None:
    """Give a command again and hold what it leaves to what is whole.

    Raises:
        Broken: it fails, leaves something else, or something half-written.
    """
    carried_out(job.again(place).split(), place)
    found = left(place / job.out)
    if other := differences(whole, found if whole != newest(whole) else newest(found)):
        raise Broken(f"not the same: {', '.join(other)}")
    if half := temporaries(place):
        raise Broken(f"left half-written: {', '.join(half)}")
