"""A run: a field trained on a data set, and the folder that it leaves."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffode import data as datasets
from diffode.building import build
from diffode.data import Dataset
from diffode.fields.base import Field
from diffode.files import is_main_process, require_writable, write_text
from diffode.options import options_of, validate
from diffode.recipes import find, solver_of
from diffode.recipes.compose import given
from diffode.training import checkpoint
from diffode.training.objective import Objective
from diffode.training.stats import data_stats
from diffode.training.suitability import remarks
from diffode.training.trainer import TrainState, train

CONFIG = "config.json"
_OWN = ("seed", "out", "resume")  # options of train that a run states by itself


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run, as stored in its config.json.

    Attributes:
        field: the recipe's name.
        data: a data set's name, or a path to arrays.
        labels: whether the field is trained on the labels too.
        seed: of the weights, the order of the samples and all noise.
        options: the recipe's options, complete.
        training: the trainer's options, complete.
        solver: the name of the solver to sample with.
    """

    field: str
    data: str
    labels: bool = False
    seed: int = 0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    solver: str = "default"

    @classmethod
    def make(
        cls,
        field: str,
        data: str = "digits",
        *,
        labels: bool = False,
        seed: int = 0,
        solver: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Plan:
        """A plan with all options checked and completed.

        Raises:
            ValueError: an unknown field or option, or a value out of range.
        """
        recipe = find(field)
        for key in _OWN:
            if key in options:
                raise ValueError(f"got {key}={options[key]}; a plan has no such option")
        options = {**recipe.training, **options}
        known = validate(f"field {recipe.name!r}", options, recipe.function, given, train)
        own = {k: known[k] for k in options_of(recipe.function, given).model_fields}
        rest = {k: v for k, v in known.items() if k not in own and k not in _OWN}
        return cls(recipe.name, data, labels, seed, own, rest, solver or solver_of(field))

    @classmethod
    def read(cls, folder: str | Path) -> Plan:
        """The plan of a run directory.

        Raises:
            ValueError: no readable config.json there.
        """
        path = Path(folder) / CONFIG
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{k: stored[k] for k in cls.__dataclass_fields__})
        except (OSError, KeyError, TypeError, ValueError):
            raise ValueError(
                f"{folder} is not a run: it has no readable {CONFIG}; give the directory that "
                "diffode train wrote"
            ) from None

    def write(self, folder: Path) -> None:
        """Write config.json, with the versions that the run was made with."""
        stored = {k: getattr(self, k) for k in self.__dataclass_fields__}
        stored["versions"] = {"torch": torch.__version__, "python": platform.python_version()}
        write_text(folder / CONFIG, json.dumps(stored, indent=2, default=dict) + "\n")


@dataclass(frozen=True)
class Run:
    """A trained field.

    Attributes:
        plan: what was asked for.
        dataset: what it was trained on.
        objective: what was trained, with its raw weights.
        field: the field of the averaged weights: sample this.
        losses: the loss at each step of this call, by phase.
        seconds: that training took in this call.
        out: the run directory, or None.
    """

    plan: Plan
    dataset: Dataset
    objective: Objective
    field: Field
    losses: list[dict[str, float]]
    seconds: float
    out: Path | None


def load_data(plan: Plan) -> Dataset:
    """The data set of a plan.

    Raises:
        ValueError: labels asked of a set that has none.
    """
    dataset = datasets.load(plan.data)
    if plan.labels and dataset.train_labels is None:
        raise ValueError(f"data set {dataset.name!r} has no labels; train without them")
    return dataset


def start(plan: Plan, dataset: Dataset, resume: bool = False) -> Objective:
    """The untrained objective of a plan.

    Raises:
        ValueError: data that the field cannot learn, unless that was begun already.
    """
    classes = dataset.classes if plan.labels else None
    stats = data_stats(dataset.train)
    objective = build(plan.field, dataset.event_shape, classes, stats, plan.seed, **plan.options)
    if not resume:
        remarks(objective, dataset.train)
    return objective


def execute(
    plan: Plan,
    dataset: Dataset | None = None,
    *,
    out: Path | None = None,
    resume: bool = False,
    watch: Callable[[TrainState], bool | None] | None = None,
) -> Run:
    """Carry out a plan.

    Arguments:
        plan: what to train.
        dataset: the plan's data, if already loaded.
        out: the run directory; None writes nothing.
        resume: go on from the newest checkpoint in ``out``; a run that has had all its steps is
            only loaded.
        watch: called after every step; training stops, with a checkpoint, when it returns True.

    Raises:
        ValueError: a plan that cannot be carried out, before anything is written.
    """
    dataset = dataset or load_data(plan)
    objective = start(plan, dataset, resume)
    if out is not None:
        require_writable(out)
        if (
            is_main_process()
            and not resume
            and (any((out / "checkpoints").glob("*")) or (out / CONFIG).exists())
        ):
            raise ValueError(f"{out} holds a run; resume it, or choose another output directory")
    if resume and out is not None:
        header, _ = checkpoint.read(checkpoint.find(out))
        if header["step"] == plan.training["steps"]:
            raw = checkpoint.load(out, "raw")
            return Run(plan, dataset, raw, checkpoint.load(out).field, [], 0.0, out)
    samples: tuple[Tensor, Tensor | None] = (
        dataset.train,
        dataset.train_labels if plan.labels else None,
    )
    states = train(
        objective,
        samples,
        seed=plan.seed,
        out=out,
        resume=out if resume else None,
        **plan.training,
    )
    losses: list[dict[str, float]] = []
    averaged: nn.Module | None = None
    seconds = 0.0
    for state in states:
        if not losses and out is not None and is_main_process():
            plan.write(out)
        losses.append(state.losses)
        averaged, seconds = state.averaged, state.seconds
        if watch is not None and watch(state):
            states.close()
            break
    sampled = averaged if isinstance(averaged, Field) else objective.field
    return Run(plan, dataset, objective, sampled, losses, seconds, out)


def fit(
    name: str,
    data: str | Dataset = "digits",
    *,
    out: str | Path | None = None,
    watch: Callable[[TrainState], bool | None] | None = None,
    **options: Any,  # noqa: ANN401
) -> Run:
    """Train a field in one line: ``run = fit("poisson"); sample(run.field, 64)``.

    Arguments:
        name: of the recipe.
        data: a data set, its name, or a path to arrays.
        out: a new run directory; None writes nothing.
        watch: called after every step; return True to stop.
        options: of the recipe and of the trainer, and ``labels`` and ``seed``.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
        TypeError: data that are neither a data set nor the name of one.
    """
    if not isinstance(data, str | Path | Dataset):
        raise TypeError(
            f"got data of type {type(data).__name__}; wanted a data set's name, a path, or "
            "diffode.data.Dataset(name, train, test)"
        )
    dataset = data if isinstance(data, Dataset) else None
    plan = Plan.make(name, dataset.name if dataset else str(data), **options)
    folder = None if out is None else Path(out)
    return execute(plan, dataset, out=folder, watch=watch)


def open_run(folder: str | Path) -> tuple[Plan, Objective]:
    """The plan of a run directory, and its objective with the averaged weights."""
    return Plan.read(folder), checkpoint.load(folder)
