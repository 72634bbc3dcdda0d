"""The table of what is done to which command, what must hold then, and how often it is tried."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults import reading
from tests.faults.disk import FULL, SIZES, full, unwritable
from tests.faults.ended import ended
from tests.faults.jobs import JOBS
from tests.faults.kills import kill
from tests.faults.odd import ACTS, odd
from tests.faults.shop import Shop
from tests.faults.together import set_back, two

SAME = "the same bits are left"
IDENTICAL = "the same command leaves the same bits"
OR_WELL = "one line, exit code 2, or it ends well"
ONE_LINE = "one line, exit code 2"
NO_HARM = "it ends well or with one line; no other file is touched"
KILLS = 30
ENDED = ("train edm", "train monoflow", "distil", "reflow", "bench", "eval", "sample")


@dataclass(frozen=True)
class Case:
    """A fault of a command.

    Attributes:
        fault, command: in the table.
        holds: what must hold.
        check: does it once and raises where it does not hold; what it did.
        times: how often it is done.
    """

    fault: str
    command: str
    holds: str
    check: Callable[[Shop, random.Random, int], str]
    times: int


def cases(kills: int) -> Iterator[Case]:
    """All of them; a rank of several processes that dies has a suite of its own.

    Arguments:
        kills: of each command.
    """
    some = max(1, kills // 3)
    for name in JOBS:
        yield Case("SIGKILL", name, IDENTICAL, partial(kill, name), kills)
    for name in ("train edm", "train monoflow", "distil", "reflow", "bench"):
        check = partial(kill, name, kinds=("checkpoint",))
        yield Case("SIGKILL while a checkpoint is written", name, IDENTICAL, check, kills)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for name in ENDED:
            check = partial(ended, name, number, 1)
            yield Case(number.name, name, f"exit code {128 + number}; {IDENTICAL}", check, some)
    for name in ENDED:
        check = partial(ended, name, signal.SIGTERM, 2)
        yield Case("SIGTERM twice", name, f"exit code 143; {IDENTICAL}", check, some)
    for name in ENDED:
        sizes = min(SIZES, kills)
        check = partial(full, name, sizes)
        yield Case(f"full disk ({FULL})", name, f"{ONE_LINE}; {IDENTICAL}", check, sizes)
    for name in ENDED:
        check = partial(unwritable, name)
        yield Case("read-only folder", name, f"{ONE_LINE}; nothing is written", check, 1)
    for act in ACTS:
        for what in ("folder", "file"):
            for name in ("train edm", "reflow", "bench", "eval"):
                check = partial(odd, name, what, act)
                yield Case(f"output {what} {act}", name, NO_HARM, check, some)
    for name in ENDED:
        yield Case("two at once", name, f"one ends well; {SAME}", partial(two, name), some)
    for name in ENDED:
        check = partial(set_back, name)
        yield Case("SIGKILL, then the clock set back", name, IDENTICAL, check, some)
    for act in reading.ACTS:
        check = partial(_read, partial(reading.disturbed, act))
        yield Case(
            f"an image {act}", "train edm", f"{OR_WELL}; once it is back, {SAME}", check, some
        )
    check = partial(_read, reading.worker)
    yield Case("a worker dies", "train edm", f"{OR_WELL}; {IDENTICAL}", check, some)


def _read(
    check: Callable[[Path, random.Random], str], shop: Shop, dice: random.Random, _: int
) -> str:
    return check(shop.folder, dice)
