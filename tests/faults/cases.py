"""The table of what is done to which command, what must hold then, and how often it is tried."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.faults.jobs import JOBS
from tests.faults.kills import Shop, kill

IDENTICAL = "the same command leaves the same bits"
KILLS = 30


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
    for name in JOBS:
        yield Case("SIGKILL", name, IDENTICAL, partial(kill, name), kills)
    for name in ("train edm", "train monoflow", "distil", "reflow", "bench"):
        check = partial(kill, name, kinds=("checkpoint",))
        yield Case("SIGKILL while a checkpoint is written", name, IDENTICAL, check, kills)
