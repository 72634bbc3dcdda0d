"""TARGETs: what a command works on, found in one way for all of them.

A TARGET is a run directory, a checkpoint file, what others publish (a diffusers pipeline, a
checkpoint of EDM or PFGM++), or code: ``file.py:name`` or ``package.module:name``, which is a
field, an objective or a run, or makes one without arguments.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import nn

from diffode import code
from diffode.data import Dataset, load
from diffode.data.base import as_class_names
from diffode.data.fingerprint import Fingerprint
from diffode.devices import choose
from diffode.fields.base import Field
from diffode.fields.complete import require_complete
from diffode.interop.pipelines import is_latent
from diffode.runs import loading
from diffode.runs.dataset import comparable, load_data, read_alike, unscaled
from diffode.runs.missing import absent, unopened
from diffode.runs.plan import CONFIG, Plan
from diffode.runs.published import published
from diffode.runs.run import Run, home
from diffode.training import checkpoint
from diffode.training.objective import Objective
from diffode.warned import warn

_WANTED = "wanted a field, an objective or a run, or what makes one without arguments"


@dataclass(frozen=True)
class Target:
    """A field, and what is known of where it comes from.

    Attributes:
        name: as it was asked for.
        field: with the weights that were asked for.
        classes: the number of its labels, or None.
        checkpoint: the file of these weights, or None.
        folder: the run directory, or None.
        made: the run itself, where code made one, or None.
        trust: whether code that the run names may be run.
    """

    name: str
    field: Field
    classes: int | None
    checkpoint: Path | None = None
    folder: Path | None = None
    made: Run | None = None
    trust: bool = False

    @cached_property
    def plan(self) -> Plan | None:
        """What the run was asked to do; None where there is no run.

        Raises:
            ValueError: a run whose config.json cannot be read.
        """
        if self.made is not None:
            return self.made.plan
        return None if self.folder is None else Plan.read(self.folder, trust=self.trust)

    @property
    def latent(self) -> bool:
        """Whether its points are latents of an autoencoder."""
        return is_latent(self.field)

    @property
    def solver(self) -> str:
        """The name of the solver to sample with."""
        return "default" if self.plan is None else self.plan.solver

    @property
    def known_labels(self) -> float | None:
        """How many labels its field knows, infinity where it does not say; None for none."""
        if self.classes is not None:
            return self.classes
        return None if self.field.unconditional else math.inf

    @property
    def class_names(self) -> tuple[str, ...]:
        """What its labels are called, one name for each; none where they have numbers alone.

        Raises:
            ValueError: a run whose names do not fit its labels.
        """
        names = None if self.plan is None or self.classes is None else self.plan.class_names
        return () if names is None else as_class_names(names, self.classes)

    @property
    def called(self) -> str:
        """What it is, for a picture of its samples: field and data, or the name of code."""
        if self.plan is None:
            return self.name
        return f"{code.short(self.plan.field)} on {Path(code.short(self.plan.data)).name}"

    def title(self, dataset: Dataset) -> str:
        """What a table of figures beside these data is called."""
        what = self.name if self.plan is None else code.short(self.plan.field)
        return f"{what} on {dataset.name}" + (", latents" if self.latent else "")

    def dataset(self, place: str | None = None) -> Dataset:
        """What the field was trained on, or the data at a place, to measure it against.

        Data of the run's kind, as two folders, are read in the run's way but for their units. A
        warning says where they are others, or cannot be told from others.

        Arguments:
            place: a data set's name or a path; None stands for the run's own data.

        Raises:
            ValueError: no data of its own, data that have changed since it was trained, or gray
                levels of another range.
        """
        if place is not None:
            read, how = partial(_load, place), read_alike(self.plan, place)
            found = unscaled(how, read) if self.field.scaling is None else read(how)
            return self.beside(found, place)
        if self.made is not None:
            return comparable(self.made.dataset, self.field.scaling, self.name)
        if self.plan is None:
            raise ValueError(f"{self.name} is no run, so it has no data of its own; give --data")
        if why := unknown(self.name, self.plan):
            warn(why)
        return comparable(load_data(self.plan), self.field.scaling, self.name)

    def beside(self, dataset: Dataset, place: str) -> Dataset:
        """A data set that was given, to measure the field against; other data are warned of.

        Arguments:
            dataset: the data.
            place: where they are from.

        Raises:
            ValueError: gray levels of another range.
        """
        dataset = comparable(dataset, self.field.scaling, self.name)
        known = None if self.plan is None else self.plan.fingerprint
        if self.plan and (known is None or known.differs(Fingerprint.of(dataset))):
            warn(f"{place} is not known to be the data that {self.name} was trained on")
        return dataset

    def require_fits(self, dataset: Dataset, what: str, labels: bool) -> None:
        """Refuse data that samples of the field cannot be measured against.

        Arguments:
            dataset: the data.
            what: what they are called.
            labels: whether samples are drawn with the labels of these data.

        Raises:
            ValueError: data of another shape, or of other classes.
        """
        if dataset.event_shape != self.field.event_shape:
            kind, whole = ("latents", "latents of ") if self.latent else ("samples", "")
            raise ValueError(
                f"{self.name} makes {kind} of shape {self.field.event_shape}, {what} has "
                f"{dataset.event_shape}; give {whole}the data that it was trained on"
            )
        if labels and self.classes is not None and not 0 < (dataset.classes or 0) <= self.classes:
            raise ValueError(
                f"{self.name} draws {self.classes} classes, {what} has {dataset.classes}; give "
                "data of the classes that it was trained on"
            )


def resolve(
    target: str | Path,
    weights: str = "ema",
    device: str = "cpu",
    *,
    trust: bool = False,
    null_label: int | None = None,
) -> Target:
    """The field of a TARGET; a file or module that is named is run.

    Arguments:
        target: a run directory, a checkpoint, also of EDM or PFGM++, the folder of a diffusers
            pipeline, ``hf:owner/name``, ``file.py:name`` or ``package.module:name``.
        weights: of what was trained, the moving average ("ema") or as trained ("raw").
        device: to move it to: "auto", "cpu" or "cuda".
        trust: whether code that a run names, such as its recipe's, may be run too.
        null_label: the label that stands for none, in a pipeline whose network takes labels.

    Raises:
        ValueError: nothing there that can be read or run, or a field that is not complete.
        TypeError: something else than a field, an objective or a run.
    """
    if weights not in ("ema", "raw"):
        raise ValueError(f"got --weights {weights}; wanted ema or raw")
    where = choose(device)
    path = Path(target)
    if (found := published(target, weights, null_label)) is not None:
        return Target(str(target), found.to(where), found.classes)
    if why := unopened(path):
        raise ValueError(why)
    if path.exists():
        file, folder = checkpoint.file_at(path), home(path)
        objective = loading.load(file, "raw" if weights == "raw" else "ema", trust=trust)
        run = folder if (folder / CONFIG).exists() else None
        field = objective.field.to(where)
        return Target(str(target), field, _classes(objective), file, run, trust=trust)
    if (place := code.place(str(target))) is None:
        raise ValueError(absent(str(target)))
    made = _made(code.run(place), str(target))
    if isinstance(made, Run):
        field = made.field if weights == "ema" else made.objective.field
        return Target(str(target), field.to(where), _classes(made.objective), None, made.out, made)
    if weights != "ema":
        raise ValueError(
            f"got --weights {weights} for {target}, which is no run and has one set of weights; "
            "leave the option away"
        )
    field = made if isinstance(made, Field) else made.field
    require_complete(field)
    return Target(str(target), field.to(where), _classes(made))


def unknown(name: str, plan: Plan) -> str:
    """What to say of a run of an older version, whose data cannot be told from others."""
    if plan.fingerprint is not None:
        return ""
    return (
        f"{name} is of an older version and does not tell which values its data had; {plan.data} "
        "is taken as it is now"
    )


def _load(place: str, reading: Mapping[str, Any]) -> Dataset:
    return load(place, **reading)


def _classes(objective: Field | Objective) -> int | None:
    """The number of labels that a field or an objective knows."""
    if isinstance(objective, Field):
        return objective.classes
    return objective.field.classes if objective.spec is None else objective.spec.classes


def _made(value: object, name: str) -> Field | Objective | Run:
    """A field, an objective or a run, itself or made by a function or class of that name."""
    verb = "is"
    if not isinstance(value, Field | Objective | Run) and _makes(value, name):
        verb = "returned"
        try:
            value = value()  # type: ignore[operator]
        except (Exception, SystemExit) as error:  # a user's function may raise anything
            raise ValueError(f"{name} raised {type(error).__name__}: {error}") from error
    if not isinstance(value, Field | Objective | Run):
        raise TypeError(f"{name} {verb} an object of type {type(value).__name__}; {_WANTED}")
    return value


def _makes(value: object, name: str) -> bool:
    """Whether this may be called: a class of what is wanted, or a function that needs nothing.

    Raises:
        TypeError: another class, or a function with arguments that must be given.
    """
    if isinstance(value, type) and not issubclass(value, Field | Objective | Run):
        raise TypeError(f"{name} is a class of something else; {_WANTED}")
    if not callable(value) or isinstance(value, nn.Module):
        return False
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except ValueError:  # of a builtin that does not say
        parameters = []
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in free]
    if needed:
        raise TypeError(f"{name} takes arguments ({', '.join(needed)}); {_WANTED}")
    return True
