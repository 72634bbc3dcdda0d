"""The trainings of a comparison: one network, data order and budget for all fields.

A model's folder is a run directory, named after everything that decides it, so a stopped
comparison goes on in it and a changed one does not take it for its own.
"""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffode import recipes
from diffode.bench.config import BenchConfig, digest
from diffode.data import Dataset
from diffode.fields.base import AffineField, Field
from diffode.fields.critics import CriticBank
from diffode.files import write_text
from diffode.run import CONFIG, Plan, execute
from diffode.training import checkpoint
from diffode.training.trainer import TrainState

TRAINED = "trained.json"
_UNSEEN = ("device", "save_every", "keep", "log_every", "tensorboard")  # change nothing learned
_WARM, _TIMED = 10, 40  # steps of the pace


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
    def facts(self) -> dict[str, Any] | None:
        """What is known of it once it is trained."""
        path = self.folder / TRAINED
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def field(self) -> Field:
        """The trained field, with averaged weights."""
        return checkpoint.load(self.folder).field


def fingerprint(*tensors: Tensor | None) -> str:
    """Twelve hexadecimal digits of the values of tensors."""
    state = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            state.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            state.update(tensor.detach().cpu().contiguous().numpy().data)
    return state.hexdigest()[:12]


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


def model_of(plan: Plan, data_print: str, out: Path) -> Model:
    """The model of a plan, trained or not, below a comparison's folder."""
    training = {k: v for k, v in plan.training.items() if k not in _UNSEEN}
    key = digest([plan.field, data_print, plan.labels, plan.seed, plan.options, training])
    name = f"{plan.field}-{Path(plan.data).stem}-{plan.seed}-{key}"
    return Model(plan, key, out / "models" / name)


def train_model(
    model: Model, dataset: Dataset, watch: Callable[[TrainState], bool | None] | None = None
) -> None:
    """Train a model, or go on with it, unless that was done.

    Arguments:
        model: what to train.
        dataset: its data.
        watch: called after every step; True stops it, to go on another time.
    """
    if model.facts is not None:
        return
    started = checkpoint.newest(model.folder) is not None and (model.folder / CONFIG).exists()
    if not started and model.folder.exists():
        shutil.rmtree(model.folder)  # stopped before its first checkpoint
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    run = execute(model.plan, dataset, out=model.folder, resume=started, watch=watch)
    facts = describe(run.field) | spent(model.folder) | {
        "budget": "its own" if keeps_own(model.plan.field) else "shared",
        "samples": model.plan.training["steps"] * model.plan.training["batch"],
        "peak_memory": peak_memory(run.field.device),
        **machine(run.field.device),
    }  # fmt: skip
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


def spent(folder: Path) -> dict[str, Any]:
    """The steps and the seconds of a training, from its log, whether it was stopped or not."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [(line["step"], line["seconds"]) for line in map(json.loads, lines)]
    paces = [
        (s1 - s0) / (k1 - k0)
        for (k0, s0), (k1, s1) in zip([(0, 0.0), *logged], logged, strict=False)
        if s1 > s0
    ]
    return {"steps": logged[-1][0], "seconds": logged[-1][0] * statistics.mean(paces)}


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest: of the device's allocator, or of this whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine(device: torch.device) -> dict[str, Any]:
    """Where figures come from: device, threads and versions."""
    cuda = device.type == "cuda"
    from diffode import __version__

    return {
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "versions": {
            "diffode": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def paced(plan: Plan, dataset: Dataset, seconds: float, out: Path) -> Plan:
    """The plan with as many steps as fit into this time here, measured once for each plan."""
    rest = {k: v for k, v in plan.training.items() if k != "steps"}
    key = digest([plan.field, plan.data, plan.options, rest])
    path = out / "pace" / f"{plan.field}-{Path(plan.data).stem}-{key}.json"
    if not path.exists():
        marks: list[float] = []
        short = replace(plan, training={**plan.training, "steps": _WARM + _TIMED})
        execute(short, dataset, watch=lambda state: marks.append(state.seconds))
        pace = (marks[-1] - marks[_WARM - 1]) / _TIMED
        write_text(path, json.dumps({"seconds_per_step": pace}) + "\n")
    pace = json.loads(path.read_text(encoding="utf-8"))["seconds_per_step"]
    return replace(plan, training={**plan.training, "steps": max(1, round(seconds / pace))})
