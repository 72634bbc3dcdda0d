"""The objective of a plan before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffode.data import Dataset
from diffode.data.stats import Stats, data_stats
from diffode.devices import choose
from diffode.fields.starting import StartingPoints
from diffode.runs.building import build
from diffode.runs.plan import Plan
from diffode.training.batches import Batch
from diffode.training.objective import Objective
from diffode.training.suitability import remarks


@dataclass(frozen=True)
class Lesson:
    """What a training has beside its plan and its data.

    Attributes:
        stats: the data's statistics that it is built with.
        prepare: called with the untrained objective, before it is filled from any checkpoint.
        samples: what it is trained on in the place of the data, or None.
    """

    stats: Stats
    prepare: Callable[[Objective], None]
    samples: Batch | None = None


def untrained(
    plan: Plan,
    dataset: Dataset,
    stats: Stats | None = None,
    starting: StartingPoints | None = None,
) -> Objective:
    """The untrained objective of a plan.

    Arguments:
        plan, dataset: what is trained, and on what.
        stats: the data's statistics, of a training that is resumed; None measures them.
        starting: what its flow starts from, see `diffode.runs.starting`; None for noise.

    Raises:
        ValueError: data that the field cannot learn, unless that was begun already.
    """
    classes, own = dataset.classes if plan.labels else None, stats or data_stats(dataset.train)
    shape, scaling = dataset.event_shape, dataset.scaling
    about = shape, classes, own, plan.seed, scaling, starting
    objective = build(plan.field, *about, **plan.options)
    if stats is None:
        remarks(objective, dataset.train)
    return objective


def resolved(plan: Plan, objective: Objective) -> dict[str, Any]:
    """What was chosen where the options of a plan leave it open."""
    return {"device": choose(plan.training["device"]).type, **objective.resolved}


def made(
    plan: Plan,
    dataset: Dataset,
    lesson: Lesson | None,
    stats: Stats | None,
    starting: StartingPoints | None,
) -> Objective:
    """The objective of a plan before its first step, or before a checkpoint fills it."""
    objective = untrained(plan, dataset, stats if lesson is None else lesson.stats, starting)
    if lesson is not None:
        lesson.prepare(objective)
    return objective
