"""The data set of a run: read as its plan says, and the one that it was begun on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diffode import data as datasets
from diffode.data import Dataset, as_dataset
from diffode.data.fingerprint import Fingerprint
from diffode.data.memory import Data
from diffode.data.scaling import Scaling, is_bytes, same_units
from diffode.runs.plan import MEMORY, Plan


def load_data(plan: Plan) -> Dataset:
    """The data set of a plan.

    Raises:
        ValueError: labels asked of a set that has none.
    """
    if plan.source == MEMORY:
        raise ValueError(
            f"this run was trained on a data set in memory, named {plan.data!r}; give the data "
            "anew: in Python execute(plan, data, out=..., resume=True), on the command line "
            "--data FILE"
        )
    plan.admit("source")
    try:
        dataset = _read(plan, partial(datasets.stored, plan.source or plan.data))
    except FileNotFoundError as error:
        if plan.fingerprint is None or not Path(plan.source or "").is_absolute():
            raise
        raise FileNotFoundError(
            f"{plan.source}, the data of this run, is there no more; put it back, or say where it "
            "is now: diffode train --resume RUN --data PLACE"
        ) from error
    return matched(plan, dataset)


def read_alike(plan: Plan | None, place: str) -> dict[str, Any]:
    """How a run reads its data, for others of the same kind; nothing for another kind.

    Units are those of the data themselves, see `comparable`.
    """
    own = "" if plan is None else plan.source or plan.data
    named = {place, own} & set(datasets.names())
    if plan is None or named or Path(place).suffix.lower() != Path(own).suffix.lower():
        return {}
    return {option: value for option, value in plan.reading.items() if option != "scale"}


def given(data: Data, plan: Plan) -> Dataset:
    """Data that were given, read as the plan says; a data set was read already.

    Raises:
        ValueError: as `matched`.
    """

    def read(reading: Mapping[str, Any]) -> Dataset:
        return data if isinstance(data, Dataset) else as_dataset(data, plan.data, **reading)

    return matched(plan, _read(plan, read))


def matched(plan: Plan, dataset: Dataset) -> Dataset:
    """A data set that a plan can be carried out on, and was begun on, as far as it tells.

    Raises:
        ValueError: labels asked of a set that has none, an unfit scale, or other data than the
            run's, with both.
    """
    if plan.fingerprint is not None:
        now = Fingerprint.of(dataset)
        differs = plan.fingerprint.differs(now)
        if differs:
            raise ValueError(
                f"{dataset.source or dataset.name} is not the data that this run was trained on: "
                f"its {differs} changed; then {plan.fingerprint}; now {now}; put the old data "
                "back, give them with --data, or start a new run"
            )
    if plan.labels and dataset.train_labels is None:
        raise ValueError(f"data set {dataset.name!r} has no labels; train without them")
    return dataset


def _read(plan: Plan, read: Callable[[Mapping[str, Any]], Dataset]) -> Dataset:
    """The data of a plan; a run that was begun without a scaling has none."""
    known = plan.fingerprint
    if known is None or known.scaling is not None:
        return read(plan.reading)
    return unscaled(plan.reading, read)


def unscaled(reading: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Dataset]) -> Dataset:
    """Data for a model without a scaling: bytes from -1 to 1, all others as they were given.

    Arguments:
        reading: the options that they are read with.
        read: gives the data for such options.
    """
    dataset = read(reading)
    if is_bytes(dataset.scaling):
        return replace(dataset, scaling=None)
    return dataset if dataset.scaling is None else read({**reading, "scale": "none"})


def comparable(dataset: Dataset, scaling: Scaling | None, name: str) -> Dataset:
    """A data set that samples of a field can be measured against: its numbers mean the same.

    Arguments:
        dataset: the data, in units of their own.
        scaling: the field's.
        name: of the field.

    Raises:
        ValueError: gray levels of another range than the field's.
    """
    if same_units(dataset.scaling, scaling):
        return dataset
    if scaling is None and is_bytes(dataset.scaling):
        return replace(dataset, scaling=None)
    if any(s is not None and s.kind == "pixels" for s in (dataset.scaling, scaling)):
        raise ValueError(
            f"{name} makes samples in other units than {dataset.name}: {scaling or 'none'}, not "
            f"{dataset.scaling or 'none'}; give the data in the units that it was trained in"
        )
    return dataset
