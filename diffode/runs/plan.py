"""The plan of a run: everything that decides it, stored in its config.json."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge

from diffode import __version__, admission, code, registry
from diffode import data as datasets
from diffode.data.fingerprint import Fingerprint, Split
from diffode.data.reading import Reading
from diffode.doors import as_count
from diffode.files import from_home, read_text, to_home, write_text
from diffode.inputs import quoted
from diffode.nn.own import named
from diffode.options import options_of, validate
from diffode.recipes import Recipe, find, solver_of
from diffode.recipes.compose import make_given
from diffode.solvers import stored_solver
from diffode.training.trainer import train

CONFIG = "config.json"
MEMORY = "memory"  # the source of a data set that was in no file
FREE = (  # of no effect on what is learned
    "device",
    "deterministic",
    "shard",
    "workers",
    "save_every",
    "keep",
    "keep_best",
    "log_every",
    "tensorboard",
)
_MAY = ("steps", *FREE)  # what a resumed run may change
_PLACES = ("data", "source", "prior_data", "prior_source")  # which may be paths
_FIXED = ("field", "labels", "seed", "reading", "prior_data")
OWN = ("seed", "out", "resume", "since")  # options of train that a run states by itself


@dataclass(frozen=True)
class Plan:
    """Everything that decides a run, as stored in its config.json.

    Attributes:
        field: the recipe's name.
        data: a data set's name, or a path to arrays, as it was given.
        labels: whether the field is trained on the labels too.
        seed: of the weights, the order of the samples and all noise.
        options: the recipe's options, complete.
        training: the trainer's options, complete; steps and batch are None where they are open,
            until `diffode.runs.suited` chooses them by the data.
        solver: the name of the solver to sample with.
        source: where the data are, from anywhere: a name, an absolute path, or "memory"; None in
            runs of older versions. In the file the home directory is called ~.
        fingerprint: what tells these data from others; None before a run, and in older runs.
        code: where what is not diffode's own came from when the run was written, by its kind in
            the registry.
        since: the step at which the learning rate's schedule began: 0, or that of the resumption
            that last changed the number of steps.
        class_names: what the labels of the data are called, or None.
        reading: how the data are read, as far as it was stated, see `diffode.data.load`.
        resolved: what was chosen where an option leaves it open ("auto", or no value): the
            device, the networks with their sizes, a recipe's own; empty before a run.
        prior_data: the data that flows start from, as they were given; None for noise.
        prior_source, prior_split: where they are from anywhere, and what tells them from others.
    """

    field: str
    data: str
    labels: bool = False
    seed: Annotated[int, Ge(0)] = 0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    solver: str = "default"
    source: str | None = None
    fingerprint: Fingerprint | None = None
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)
    since: Annotated[int, Ge(0)] = 0
    resolved: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reading: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    prior_data: str | None = None
    prior_source: str | None = None
    prior_split: Split | None = None

    @classmethod
    def make(
        cls,
        field: str,
        data: str | Path = "digits",
        *,
        labels: bool = False,
        seed: int = 0,
        solver: str | None = None,
        reading: Mapping[str, Any] | None = None,
        prior_data: str | Path | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Plan:
        """A plan with all options checked and completed.

        The code at a place that is given, as ``mine.py:my_recipe``, is run.

        Raises:
            ValueError: an unknown field or option, or a value out of range.
            TypeError: data that are no name and no path.
        """
        if not isinstance(data, str | Path):
            raise TypeError(
                f"got data of type {type(data).__name__}; a plan states a name or a path; what is "
                "in memory goes to fit(field, data) or to execute(plan, data)"
            )
        recipe, seed = find(field, run=True), as_count(seed, "seed", 0)
        for key in OWN:
            if key in options:
                raise ValueError(f"got {key}={options[key]}; a plan has no such option")
        options = admission.opened_parts(named(options))
        own, rest = _completed(recipe, {**recipe.training, **options})
        solver = registry.opened("solver", solver or solver_of(field))
        registry.opened("source", source := datasets.source_of(data))
        read = Reading.of(reading or {}).stated()
        labels = labels or recipe.labels
        parts = (recipe.name, str(data), labels, seed, own, rest, solver, source)
        if prior_data is None:
            return cls(*parts, reading=read)
        registry.opened("source", place := datasets.source_of(prior_data))
        return cls(*parts, reading=read, prior_data=str(prior_data), prior_source=place)

    @classmethod
    def read(cls, folder: str | Path, *, trust: bool = False) -> Plan:
        """The plan of a run directory.

        Arguments:
            folder: the run directory.
            trust: whether the code of files and modules that it names may be run.

        Raises:
            ValueError: no readable config.json there, one with values that do not fit, or code
                that may not run.
        """
        from pydantic import TypeAdapter, ValidationError

        path = Path(folder) / CONFIG
        try:
            stored = json.loads(read_text(path))
            stored["field"], stored["data"], stored["options"], stored["training"]
        except (OSError, KeyError, TypeError, ValueError, RecursionError):
            raise ValueError(
                f"{folder} is not a run: it has no readable {CONFIG}; give the "
                "directory that diffode train wrote"
            ) from None
        try:
            for key in _PLACES:
                if isinstance(stored.get(key), str):
                    stored[key] = to_home(stored[key])
            text = json.dumps(stored)
            plan = TypeAdapter(cls).validate_json(text, strict=True)
            for kind in plan.named:
                if trust or kind != "source":  # data may be given anew
                    plan.admit(kind, trust=trust)
            stored_solver(plan.solver)
            return plan.altered({})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            got, reason = quoted(first["input"]), first["msg"][0].lower() + first["msg"][1:]
            raise ValueError(f"{path}: got {name[:80]} = {got}; {reason}") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None

    def altered(self, options: Mapping[str, Any]) -> Plan:
        """The plan with some options of the recipe or the trainer replaced, and checked.

        Raises:
            ValueError: an unknown option, or a value out of range.
        """
        every = {**self.options, **self.training, **options}
        own, rest = _completed(find(self.field), every)
        return dataclasses.replace(self, options=own, training=rest)

    def filled(self, stored: Plan) -> Plan:
        """The plan, its open options as a stored one has them."""
        options = filled(self.options, stored.options)
        training = filled(self.training, stored.training)
        return dataclasses.replace(self, options=options, training=training)

    @property
    def named(self) -> dict[str, str]:
        """What the plan names, by its kind in the registry."""
        source = self.data if self.source is None else self.source
        named = {"recipe": self.field, "solver": self.solver, "source": source}
        return named | admission.parts(self.options)

    def admit(self, kind: str, *, trust: bool = False) -> None:
        """Admit what the plan names of a kind, see `admission.admit`."""
        admission.admit(kind, self.named[kind], self.code.get(kind, ""), trust=trust)

    def write(self, folder: Path) -> None:
        """Write config.json, with the versions that the run was made with."""
        stored = {k: getattr(self, k) for k in self.__dataclass_fields__}
        stored |= {k: from_home(stored[k]) for k in _PLACES if stored[k] is not None}
        stored["code"] = admission.origins(self.named)
        versions = {"diffode": __version__, "torch": torch.__version__}
        stored["versions"] = versions | {"python": platform.python_version()}
        write_text(folder / CONFIG, json.dumps(stored, indent=2, default=_plain) + "\n")

    @property
    def steps(self) -> int:
        """How many steps the training has."""
        return int(self.training["steps"])


def changes(stored: Plan, plan: Plan, folder: Path) -> list[str]:
    """What a resumed run changes, with old and new values: steps, or what changes nothing learned.

    Raises:
        ValueError: a change of anything else, by its name.
    """
    pairs = {key: (getattr(stored, key), getattr(plan, key)) for key in _FIXED}
    pairs |= {k: (v, plan.options.get(k)) for k, v in stored.options.items()}
    pairs |= {k: (v, plan.training.get(k)) for k, v in stored.training.items() if k not in _MAY}
    for key, (old, new) in pairs.items():
        if old != new:
            raise ValueError(
                f"{folder} is a run with {key} {old}, not {new}; start a new run to change that "
                f"(a resumed one may change {', '.join(_MAY)})"
            )
    free = {k: (stored.training.get(k), plan.training.get(k)) for k in _MAY}
    free["data"] = stored.source, plan.source
    return [f"{key}: {old} -> {new}" for key, (old, new) in free.items() if old != new]


def filled(options: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Options, those that are open taken from others."""
    return {k: usual.get(k) if v is None else v for k, v in options.items()}


def _completed(
    recipe: Recipe, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a recipe and those of the trainer, checked and completed."""
    what, whose = f"field {code.short(recipe.name)!r}", (recipe.function, make_given)
    known = validate(what, options, *whose, train)
    own = {k: known[k] for k in options_of(*whose).model_fields}
    return own, {k: v for k, v in known.items() if k not in own and k not in OWN}


def _plain(value: object) -> object:
    return dataclasses.asdict(value) if isinstance(value, Fingerprint | Split) else dict(value)  # type: ignore[call-overload]
