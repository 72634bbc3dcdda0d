"""A command that a signal asks to end, as a terminal, a container or a cluster does."""

from __future__ import annotations

import random
import shutil
import signal
import time

from tests.faults.child import Broken, Child
from tests.faults.jobs import JOBS
from tests.faults.shop import Shop, gone_on
from tests.faults.traces import newest, temporaries


def ended(name: str, number: int, times: int, shop: Shop, dice: random.Random, _: int) -> str:
    """Send a signal at a random moment, see how the command ends, and give it again.

    Raises:
        Broken: another exit code than the signal's, something half-written, a traceback, or
            another result in the end.
    """
    job, whole = JOBS[name], shop.whole(name)
    place = shop.fresh(job)
    child = Child(job.line.split(), place)
    share = dice.random()
    time.sleep(share * whole.course.seconds)
    child.send(number)
    for _ in range(times - 1):
        time.sleep(dice.random() * 0.1)
        child.send(number)
    code, said = child.wait(), child.said()
    code = code if code >= 0 else 128 - code  # before and after the command, the system ends it
    moment = f"{signal.Signals(number).name} after {share:.3f} of its time"
    if code not in (0, 128 + number):  # 0: it had ended before
        raise Broken(f"{moment}: exit code {code}; {said[-300:]}")
    if times == 1 and (half := temporaries(place)):
        raise Broken(f"{moment}: left half-written: {', '.join(half)}")
    try:
        gone_on(job, place, newest(whole.files))
    except Broken as broken:
        raise Broken(f"{moment}: {broken}") from None
    shutil.rmtree(place)
    return f"{moment}, exit code {code}"
