"""The trainings of a comparison: one network, data order and length for all fields.

A model's folder is a run directory, named after everything that decides it, so a stopped
comparison goes on in it and a changed one does not take it for its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from diffode import __version__, code, recipes
from diffode.bench.config import BenchConfig
from diffode.bench.stored import Pace, Trained, read_part
from diffode.data import Dataset
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.critics import CriticBank
from diffode.files import write_text
from diffode.options import options_of
from diffode.recipes.compose import make_given
from diffode.runs.costs import machine, peak_memory, reset_peak_memory, spent
from diffode.runs.keys import key_of
from diffode.runs.loading import load
from diffode.runs.pace import measured, with_steps
from diffode.runs.plan import CONFIG, FREE, Plan
from diffode.runs.run import execute
from diffode.training import checkpoint
from diffode.training.trainer import Diverged, TrainState

TRAINED = "trained.json"


@dataclass(frozen=True)
class Model:
    """One training of a comparison.

    Attributes:
        plan: all that decides it but the data's values.
        key: a name for all that decides it.
        folder: its run directory.
    """

    plan: Plan
    key: str
    folder: Path

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.plan.field

    @property
    def data(self) -> str:
        """The data set."""
        return self.plan.data

    @property
    def seed(self) -> int:
        """Of the training and of the samples."""
        return self.plan.seed

    @property
    def labels(self) -> bool:
        """Whether it was trained on the labels."""
        return self.plan.labels

    @property
    def facts(self) -> dict[str, Any] | None:
        """What is known of it once it is trained."""
        path = self.folder / TRAINED
        return read_part(path, Trained) if path.exists() else None

    def field(self) -> Field:
        """The trained field, with averaged weights."""
        return load(self.folder).field


def keeps_own(field: str) -> bool:
    """Whether a recipe states training options of its own, and so stays out of the shared ones."""
    return bool(recipes.find(field).training)


def plan_of(config: BenchConfig, field: str, data: str, seed: int, **more: Any) -> Plan:  # noqa: ANN401
    """The plan of one training.

    Raises:
        ValueError: an option that the recipe or the trainer does not have.
    """
    shared = {} if keeps_own(field) else config.train
    own = config.options.get(field, {})
    options = {"device": config.device, **shared, **own, **more}
    return Plan.make(field, data, labels=config.labels, seed=seed, **options)


def learned(training: Mapping[str, Any]) -> dict[str, Any]:
    """The training options that decide what is learned."""
    return {k: v for k, v in training.items() if k not in FREE}


def alike(options: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Of a plan's options those that fields have in common: the network's and the trainer's."""
    network = options_of(make_given).model_fields
    return {k: v for k, v in options.items() if k in network} | learned(training)


def model_of(plan: Plan, data_print: str, out: Path) -> Model:
    """The model of a plan, trained or not, below a comparison's folder."""
    about = [plan.field, data_print, plan.labels, plan.seed, plan.options, learned(plan.training)]
    key = key_of([__version__, *about])
    name = f"{code.word(plan.field)}-{code.word(plan.data)}-{plan.seed}-{key}"
    return Model(plan, key, out / "models" / name)


def train_model(
    model: Model, dataset: Dataset, watch: Callable[[TrainState], bool | None] | None = None
) -> None:
    """Train a model, or go on with it, unless that was done.

    Arguments:
        model: what to train.
        dataset: its data.
        watch: called after every step; True stops it, to go on another time.

    A training that diverges is kept as one that failed: it would do so again.
    """
    model.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{model.folder}.lock"):  # of another comparison in this folder
        if model.facts is None:
            _train(model, dataset, watch)


def _train(
    model: Model, dataset: Dataset, watch: Callable[[TrainState], bool | None] | None
) -> None:
    started = checkpoint.newest(model.folder) is not None and (model.folder / CONFIG).exists()
    if not started and model.folder.exists():
        shutil.rmtree(model.folder)  # stopped before its first checkpoint
    reset_peak_memory()
    try:
        device = execute(
            model.plan, dataset, out=model.folder, resume=started, watch=watch
        ).field.device
    except Diverged as error:
        facts: dict[str, Any] = {"refused": " ".join(str(error).split())}
    else:
        facts = spent(model.folder) | {
            "samples": model.plan.training["steps"] * model.plan.training["batch"],
            "peak_memory": peak_memory(device),
            **machine(device),
        }
    write_text(model.folder / TRAINED, json.dumps(facts, indent=2) + "\n")


def describe(field: Field) -> dict[str, Any]:
    """The figures that decide what a field's name means: where it starts and what it holds."""
    facts: dict[str, Any] = {
        "repr": repr(field),
        "parameters": weights_of(field),
        "prior": str(field.prior),
        "span": list(field.span),
    }
    if isinstance(field, AffineField):
        t = torch.tensor(field.span, dtype=torch.float64)
        alpha, sigma = field.schedule.alpha(t).tolist(), field.schedule.sigma(t).tolist()
        facts |= {"alpha": alpha, "sigma": sigma, "noise": str(field.noise)}
    return facts


def weights_of(field: Field) -> int:
    """How many numbers a field has learned: parameters, and the weights of recorded critics."""
    banks = (m.size for m in field.modules() if isinstance(m, CriticBank))
    return sum(p.numel() for p in field.parameters()) + sum(banks)


def paced(plan: Plan, dataset: Dataset, seconds: float, out: Path) -> Plan:
    """The plan with as many steps as fit into this time here, measured once for each plan."""
    rest = {k: v for k, v in plan.training.items() if k != "steps"}
    key = key_of([plan.field, plan.data, plan.options, rest])
    path = out / "pace" / f"{code.word(plan.field)}-{code.word(plan.data)}-{key}.json"
    if not path.exists():
        pace, _ = measured(plan, dataset)
        write_text(path, json.dumps({"seconds_per_step": pace}) + "\n")
    pace = read_part(path, Pace)["seconds_per_step"]
    return with_steps(plan, round(seconds / pace))
