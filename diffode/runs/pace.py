"""How many steps fit into a time, by a short measurement on the machine at hand."""

from __future__ import annotations

import math
from dataclasses import replace

from diffode.data import Dataset
from diffode.processes import place
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training.trainer import TrainState

_WARM, _FEWEST = 10, 40  # steps before the pace is measured, and those that it is measured on
_SHARE = 0.05  # of the time that a training may take, the most that measuring takes
_SHORTEST = 4  # steps of a measurement that is cut short


def with_steps(plan: Plan, steps: int) -> Plan:
    """The plan with another number of steps."""
    return replace(plan, training={**plan.training, "steps": max(1, steps)})


def measured(plan: Plan, dataset: Dataset, most: float = math.inf) -> tuple[float, float]:
    """The seconds that a step takes, and those that were spent on knowing it.

    The pace is that of the first steps of the plan at its full length: at least 40, and one of 40,
    less where time runs out.

    Arguments:
        plan, dataset: what is trained, and on what; nothing is written.
        most: the seconds after which fewer steps are enough.
    """
    timed = _WARM + max(_FEWEST, plan.steps // _FEWEST)
    marks: list[float] = []

    def watch(state: TrainState) -> bool:
        marks.append(state.seconds)
        return len(marks) == timed or (len(marks) >= _SHORTEST and state.seconds > most)

    timing = with_steps(plan, max(plan.steps, timed))
    timing = replace(timing, training={**timing.training, "keep_best": False})
    execute(timing, dataset, watch=watch)
    warm = min(_WARM, len(marks) // 2)
    return (marks[-1] - marks[warm - 1]) / (len(marks) - warm), marks[-1]


def within(plan: Plan, dataset: Dataset, seconds: float) -> Plan:
    """The plan with as many steps as fit into a time, that of measuring them included.

    Raises:
        ValueError: no time, or several processes, which would measure different paces.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"got {seconds / 60:g} minutes; wanted more than 0")
    if place().total > 1:
        raise ValueError("several processes must agree on the number of steps; give it, as steps")
    pace, spent = measured(plan, dataset, _SHARE * seconds)
    return with_steps(plan, round((seconds - spent) / pace))
