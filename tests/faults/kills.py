"""A command that is killed and given again leaves what an undisturbed one leaves, bit for bit."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Callable, Sequence

from tests.faults import moments
from tests.faults.child import Broken, Child
from tests.faults.jobs import JOBS
from tests.faults.shop import Shop, gone_on

MOMENTS = ("clock", "operation", "torn")


def kill(
    name: str, shop: Shop, dice: random.Random, number: int, kinds: Sequence[str] = MOMENTS
) -> str:
    """Kill a command once, give it again, and compare; which moment it was.

    Raises:
        Broken: with the moment, and what was not the same.
    """
    job, whole = JOBS[name], shop.whole(name)
    place = shop.fresh(job)
    start: Callable[..., Child] = functools.partial(Child, job.line.split(), place)
    moment = moments.killed(start, whole.course, dice, kinds[number % len(kinds)])
    try:
        gone_on(job, place, whole.files)
    except Broken as broken:
        raise Broken(f"killed {moment}: {broken}") from None
    shutil.rmtree(place)
    return moment
