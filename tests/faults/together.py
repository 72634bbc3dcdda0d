"""Two of the same command at once, and files that a clock which was set back dates after now."""

from __future__ import annotations

import functools
import os
import random
import shutil
import time

from tests.faults import moments
from tests.faults.child import Broken, Child
from tests.faults.jobs import JOBS
from tests.faults.shop import Shop, gone_on
from tests.faults.traces import differences, left, temporaries

AHEAD = 366 * 86400  # seconds


def two(name: str, shop: Shop, dice: random.Random, _: int) -> str:
    """Begin a command a second time while the first runs; both write to one place.

    Raises:
        Broken: neither ends well, one ends in another way than well or with one line, or what
            they leave is not what one leaves.
    """
    job, whole = JOBS[name], shop.whole(name)
    place = shop.fresh(job)
    children = [Child(job.line.split(), place)]
    later = dice.random() * whole.course.seconds
    time.sleep(later)
    children.append(Child(job.line.split(), place, log="second"))
    ends = []
    for child in children:
        code, line = child.wait(), child.said().rstrip("\n").rpartition("\n")[2]
        ends.append(line if code else "it ended well")
        if code != 0 and (code != 2 or not line.startswith("error: ")):
            raise Broken(f"exit code {code}: {line[-300:]}")
    if "it ended well" not in ends:
        raise Broken(f"neither ended well: {ends}")
    if other := differences(whole.files, left(place / job.out)) or temporaries(place):
        raise Broken(f"not the same: {', '.join(other)}; {ends}")
    shutil.rmtree(place)
    return f"the second {later:.2f} s later: {ends[1]}"


def set_back(name: str, shop: Shop, dice: random.Random, number: int) -> str:
    """Kill a command, date all its files after now, and give it again.

    Raises:
        Broken: what is left then is not the same.
    """
    job, whole = JOBS[name], shop.whole(name)
    place = shop.fresh(job)
    start = functools.partial(Child, job.line.split(), place)
    moment = moments.killed(start, whole.course, dice, ("operation", "torn")[number % 2])
    later = time.time() + AHEAD
    for path in place.rglob("*"):
        os.utime(path, (later, later))
    gone_on(job, place, whole.files)
    shutil.rmtree(place)
    return f"killed {moment}, and a year earlier"
