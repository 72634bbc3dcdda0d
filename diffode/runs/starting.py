"""The points that a run's flow starts from, where they are data and no noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffode import data as datasets
from diffode.data import Dataset, as_dataset
from diffode.data.fingerprint import Split
from diffode.data.memory import Data
from diffode.data.scaling import in_units
from diffode.data.source import subset, whole, width
from diffode.fields.starting import StartingPoints
from diffode.rng import Rng
from diffode.runs.plan import MEMORY, Plan
from diffode.warned import warn

MOST = 2**24  # values of the points that a run keeps: 64 MB in every checkpoint


def with_starting(
    plan: Plan, dataset: Dataset, data: Data | None = None
) -> tuple[Plan, StartingPoints | None]:
    """The points that a plan's flow starts from, and the plan that knows them again.

    They are the training rows of the plan's prior data, read with the options that its data are
    read with, in the units of the model. A run keeps them in its checkpoints, so that nothing else
    is needed to sample it: of a set of more than 2^24 values as many rows as fit, drawn once.

    Arguments:
        plan: what is trained.
        dataset: the data, whose units the points are brought to.
        data: the prior data, as `diffode.data.as_dataset` takes them; None reads them from where
            the plan says that they are.

    Raises:
        ValueError: points of another shape, other class names than the data have, a class without
            points, or other points than a run was begun with.
    """
    if plan.prior_data is None and data is None:
        return plan, None
    other = _read(plan, data)
    if other.event_shape != dataset.event_shape:
        raise ValueError(
            f"got prior data {other.name} of shape {other.event_shape} for data of shape "
            f"{dataset.event_shape}; a flow moves points of one shape"
        )
    split = Split.of(other.train, other.train_labels)
    differs = None if plan.prior_split is None else plan.prior_split.differs(split)
    if differs:
        raise ValueError(
            f"{other.name} is not the prior data that this run was begun with: its {differs} "
            "changed; put the old data back, or start a new run"
        )
    y, shares = _classes(plan, dataset, other)
    index = torch.arange(len(other.train)) if y is None else (y < len(shares)).nonzero()[:, 0]
    most = max(1, MOST // width(other.train))
    if len(index) > most:
        chosen = Rng(plan.seed).permutation("prior data", len(index))[:most].sort().values
        warn(f"of the {len(index):,} rows of {other.name} the flow starts from {most:,}")
        index = index[chosen]
    x = in_units(whole(subset(other.train, index)), other.scaling, dataset.scaling)
    place = other.source or MEMORY
    named = plan.prior_data or other.name
    known = replace(plan, prior_data=named, prior_source=place, prior_split=split)
    return known, StartingPoints(x, None if y is None else y[index], None if y is None else shares)


def _read(plan: Plan, data: Data | None) -> Dataset:
    if data is not None:
        return data if isinstance(data, Dataset) else as_dataset(data, "memory", **plan.reading)
    if plan.prior_source == MEMORY:
        raise ValueError(
            "this run was begun with prior data in memory; give them anew: execute(plan, "
            "prior_data=..., out=..., resume=True)"
        )
    assert plan.prior_data is not None  # by with_starting
    return datasets.stored(plan.prior_source or plan.prior_data, plan.reading)


def _classes(plan: Plan, dataset: Dataset, other: Dataset) -> tuple[Tensor | None, Tensor]:
    """The labels of the points, where both sets have some and are trained on, and their shares.

    Raises:
        ValueError: names of classes that are not those of the data.
    """
    none = torch.zeros(0)
    if not plan.labels or dataset.train_labels is None or other.train_labels is None:
        return None, none
    names, others = dataset.class_names, other.class_names
    if names is not None and others is not None and names != others:
        raise ValueError(
            f"{other.name} has the classes {', '.join(others[:5])} and the data "
            f"{', '.join(names[:5])}; pairs are made within a class: give sets of the same "
            "classes, or train without labels"
        )
    counts = dataset.train_labels.bincount(minlength=dataset.classes or 0)
    return other.train_labels, counts.double()
