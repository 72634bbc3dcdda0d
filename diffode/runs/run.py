"""A run: a field trained on a data set, and the folder that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from diffode.code import short
from diffode.data import Dataset, as_dataset
from diffode.data.fingerprint import Fingerprint
from diffode.data.memory import Data
from diffode.data.stats import data_stats
from diffode.fields.base import Field
from diffode.files import is_main_process, require_writable
from diffode.runs import history
from diffode.runs.dataset import given, load_data
from diffode.runs.loading import load
from diffode.runs.made import Lesson, made, resolved, untrained
from diffode.runs.pairs import Pairs, training_data
from diffode.runs.plan import CONFIG, MEMORY, Plan, changes
from diffode.runs.starting import with_starting
from diffode.runs.suited import suited
from diffode.training import checkpoint
from diffode.training.best import settle
from diffode.training.lock import hold
from diffode.training.objective import Objective
from diffode.training.record import thin
from diffode.training.trainer import TrainState, train

__all__ = [
    "CONFIG",
    "Lesson",
    "Plan",
    "Run",
    "execute",
    "fit",
    "home",
    "load_data",
    "resolved",
    "untrained",
]


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

    def __repr__(self) -> str:
        last = self.losses[-1] if self.losses else {}
        loss = ", ".join(f"{phase} {value:.3g}" for phase, value in last.items()) or "none"
        return (
            f"Run({short(self.plan.field)} on {self.dataset.name}: {len(self.losses)} steps in "
            f"{self.seconds:.0f} s, last loss {loss}, out {self.out})"
        )


def require_free(out: Path) -> None:
    """Refuse a directory that holds a run.

    Raises:
        ValueError: it does.
    """
    if any((out / "checkpoints").glob("*")) or (out / CONFIG).exists():
        raise ValueError(
            f"{out} holds a run; resume it, or choose another output directory; "
            f"diffode train --resume {out} goes on with it"
        )


def execute(
    plan: Plan,
    data: Data | None = None,
    *,
    out: str | Path | None = None,
    resume: bool | str | Path = False,
    watch: Callable[[TrainState], bool | None] | None = None,
    lesson: Lesson | None = None,
    pairs: Pairs | None = None,
    prior_data: Data | None = None,
) -> Run:
    """Carry out a plan.

    Arguments:
        plan: what to train.
        data: the plan's data, as `diffode.data.as_dataset` takes them; None loads them.
        out: the run directory; None writes nothing. It is held while the training lasts.
        resume: go on in ``out``, from the newest checkpoint or the one at a path, or from the
            beginning where there is none; a run that has had all its steps is only loaded.
        watch: called after every step; training stops, with a checkpoint, when it returns True.
        lesson: what the training has beside the plan and the data, see `diffode.runs.distilling`.
        pairs: of samples and noise, for ``coupling=pairs``: `diffode.training.Paired` in the units
            of the model, or a file (`diffode.runs.pairs`). They are kept in ``out``.
        prior_data: the plan's prior data, where they are in memory; None loads them.

    Raises:
        ValueError: a plan that cannot be carried out, before anything is written; a directory that
            another process holds; a resumed run with other data or options.
    """
    out = None if out is None else Path(out)
    if resume and out is not None:
        stored = Plan.read(out)
        plan = replace(plan.filled(stored), fingerprint=stored.fingerprint)
        plan = replace(plan, prior_source=stored.prior_source, prior_split=stored.prior_split)
    dataset = load_data(plan) if data is None else given(data, plan)
    plan = replace(plan, source=dataset.source or MEMORY, class_names=dataset.class_names)
    if out is None or not resume:
        plan = suited(plan, dataset)
    if out is None:
        plan, starting = with_starting(plan, dataset, prior_data)
        objective = made(plan, dataset, lesson, None, starting)
        return _trained(plan, dataset, objective, None, None, watch, lesson, pairs)
    if resume:
        chosen = None if resume is True else Path(resume)
        with hold(require_writable(out)):
            return _resumed(plan, dataset, out, chosen, watch, lesson, prior_data)
    plan, starting = with_starting(plan, dataset, prior_data)
    objective = made(plan, dataset, lesson, None, starting)
    with hold(require_writable(out)):
        if is_main_process():
            require_free(out)
        plan = replace(plan, fingerprint=Fingerprint.of(dataset))
        return _trained(plan, dataset, objective, out, None, watch, lesson, pairs)


def _resumed(
    plan: Plan,
    dataset: Dataset,
    out: Path,
    chosen: Path | None,
    watch: Callable[[TrainState], bool | None] | None,
    lesson: Lesson | None,
    prior_data: Data | None,
) -> Run:
    """Go on in a run directory that is held."""
    stored = Plan.read(out)
    changes(stored, plan, out)
    path = chosen or checkpoint.newest(out)
    known = stored.fingerprint or Fingerprint.of(dataset)
    plan = replace(plan, fingerprint=known, since=stored.since)
    if path is None:
        plan, starting = with_starting(plan, dataset, prior_data)
        objective = made(plan, dataset, lesson, None, starting)
        return _trained(plan, dataset, objective, out, None, watch, lesson)
    header, stats = checkpoint.peek(path)
    first = header["step"]
    if plan.steps != stored.steps:
        plan = replace(plan, since=first)
    differs = None if stored.fingerprint else data_stats(dataset.train).differs(stats)
    if differs:
        raise ValueError(
            f"{plan.data} is not the data that this run was trained on: it has {differs}; put the "
            "old data back, or start a new run"
        )
    if first == plan.steps:
        if stored.fingerprint and stored.source != plan.source:  # the same data, moved
            replace(stored, data=plan.data, source=plan.source).write(out)
        keep = stored.training.get("keep")
        if keep and is_main_process():  # the end may have come between a checkpoint and this
            settle(out)
            thin(out, keep)
        raw, loaded = load(path, "raw"), load(path)
        return Run(plan, dataset, raw, loaded.field, [], 0.0, out)
    checkpoint.set_newer_aside(out, path)
    objective = made(plan, dataset, lesson, stats, checkpoint.starting_points(path))
    return _trained(plan, dataset, objective, out, path, watch, lesson)


def _trained(
    plan: Plan,
    dataset: Dataset,
    objective: Objective,
    out: Path | None,
    path: Path | None,
    watch: Callable[[TrainState], bool | None] | None,
    lesson: Lesson | None,
    pairs: Pairs | None = None,
) -> Run:
    """Train an objective by a plan, from a checkpoint if there is one."""
    plan = replace(plan, resolved=resolved(plan, objective))
    own = None if lesson is None else lesson.samples
    states = train(
        objective,
        training_data(plan, dataset, objective, out, pairs) if own is None else own,
        (dataset.test, dataset.test_labels if plan.labels else None),
        seed=plan.seed,
        out=out,
        resume=path,
        since=plan.since,
        **plan.training,
    )
    losses: list[dict[str, float]] = []
    averaged: nn.Module | None = None
    seconds = 0.0
    writes = out is not None and is_main_process()
    how = {key: plan.training[key] for key in ("device", "deterministic")}
    new = writes and out is not None and not (out / CONFIG).exists()
    if new and out is not None:
        plan.write(out)  # at once: a run can be resumed from the moment it has a folder
        history.write(out, 0, **how)
    try:
        for state in states:
            if not losses and writes and out is not None and not new:
                plan.write(out)
                history.write(out, state.step - 1, **how)
            losses.append(state.losses)
            averaged, seconds = state.averaged, state.seconds
            if watch is not None and watch(state):
                break
    except Exception:  # refused, failed, or diverged at once: no step is there to resume
        if new and out is not None and not losses:
            (out / CONFIG).unlink()
            (out / history.HISTORY).unlink()
        raise
    finally:
        states.close()  # with a checkpoint, where a caller stops or fails
    sampled = averaged if isinstance(averaged, Field) else objective.field
    return Run(plan, dataset, objective.eval(), sampled, losses, seconds, out)


def fit(
    name: str,
    data: Data = "digits",
    *,
    out: str | Path | None = None,
    watch: Callable[[TrainState], bool | None] | None = None,
    pairs: Pairs | None = None,
    prior_data: Data | None = None,
    **options: Any,  # noqa: ANN401
) -> Run:
    """Train a field in one line: ``run = fit("poisson"); sample(run.field, 64)``.

    Arguments:
        name: of the recipe, or its place, as ``mine.py:my_recipe``, whose code is run.
        data: a data set, its name or path, or what is in memory: arrays, tensors, a pair
            (x, labels), a torch data set of samples (see `diffode.data.as_dataset`).
        out: a new run directory; None writes nothing.
        watch: called after every step; return True to stop.
        pairs: of samples and noise to train on, as for `execute`; they mean ``coupling=pairs``.
        prior_data: the data that the flow starts from, as ``data``; None is noise.
        options: of the recipe and of the trainer, and ``labels``, ``seed`` and ``reading``, the
            options of `diffode.data.load`.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
        TypeError: something that holds no data.
    """
    options |= {} if pairs is None else {"coupling": "pairs"}
    settings: dict[str, Any] = {"out": out, "watch": watch, "pairs": pairs}
    if isinstance(prior_data, str | Path):
        options["prior_data"] = prior_data
    elif prior_data is not None:
        settings["prior_data"] = prior_data
    if isinstance(data, str | Path):
        return execute(Plan.make(name, data, **options), **settings)
    plan = Plan.make(name, **options)
    dataset = as_dataset(data, **({} if isinstance(data, Dataset) else plan.reading))
    plan = replace(plan, data=dataset.name, reading=dataset.reading.stated())
    return execute(plan, dataset, **settings)


def home(path: str | Path) -> Path:
    """The run directory of a run directory, or of a checkpoint in one."""
    path = Path(path)
    inside = path.is_file() and path.parent.name == "checkpoints"
    return path.parent.parent if inside else path
