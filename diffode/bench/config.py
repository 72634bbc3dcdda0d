"""What a comparison compares: fields, data, solvers, evaluations and seeds, in one checked file.

A file is TOML, or YAML or JSON by its suffix:

.. code-block:: toml

    fields = ["poisson", "edm", "vp"]
    data = ["moons"]
    solvers = ["default", "heun", "dopri5", "dopri5:clock=native"]
    nfe = [5, 10, 20, 50]
    seeds = [0, 1, 2]

    [train]            # the length and the network, the same for every field
    steps = 1500
    width = 128

    [options.pfgmpp]   # a recipe's own options
    dof = 2048
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from diffode import admission, code, recipes, registry
from diffode.bench.specs import SolverSpec, name_and_options
from diffode.config_file import dump
from diffode.inputs import quoted
from diffode.options import Count, Positive, problem
from diffode.runs.guiding import Guidance, plain

_STATED = {"field", "data", "labels", "seed", "solver", "device"}  # not of a training alone
Several = Annotated[list[str], MinLen(1)]


class BenchConfig(BaseModel):
    """A comparison, complete and checked.

    Attributes:
        fields: recipes to train and compare; none where TARGETs alone are.
        targets: TARGETs to compare as they are (see `diffode.runs.targets`): runs, checkpoints,
            pipelines of diffusers, files of EDM, or code.
        null_label: the label that stands for none in pipelines that take labels.
        data: data sets, or paths, to compare them on.
        solvers: how they are sampled: a name, or ``name:key=value,key=value`` with the solver's
            options, and ``grid``.
        nfe: the evaluations that a solver with steps may spend, the final denoising included.
        tolerances: rtol = atol of the adaptive solvers, which choose their own evaluations.
        seeds: of weights, data order and noise; samples of one seed start from the same draw.
        samples: drawn for each cell, at most as many as there are training samples.
        labels: train on the labels and draw with the training split's.
        guidance: the weights of classifier-free guidance to compare, 1 for none; empty is not to
            guide. Then ``nfe`` counts calls of the network, of which guidance takes two.
        classifier: the TARGET of a classifier that guides in place of the null label.
        interval: the noise levels sigma / alpha between which it guides; None is everywhere.
        features: names of feature spaces; None are the usual ones of each data set.
        metrics: names of further metrics.
        seconds: the training time that every field is given instead of steps.
        budget: the solver and evaluations of the error budget as ``solver@nfe``, or None.
        train: options of the trainer and of the network for every field whose recipe states no
            training options of its own.
        options: options of single recipes.
        device: auto, cpu or cuda.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: list[str] = ["poisson", "edm", "vp", "rectified"]
    targets: list[str] = []
    null_label: Annotated[int, Ge(0)] | None = None
    data: Several = ["moons"]
    solvers: Several = ["default", "heun", "ddim", "dpm++", "dopri5"]
    nfe: Annotated[list[Count], MinLen(1)] = [5, 10, 20, 50]
    tolerances: Annotated[list[Annotated[float, Gt(0), Le(1)]], MinLen(1)] = [
        0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4,
    ]  # fmt: skip
    seeds: Annotated[list[Annotated[int, Ge(0), Lt(2**64)]], MinLen(1)] = [0]
    samples: Annotated[int, Ge(50)] = 2000
    labels: bool = False
    guidance: list[float] = []
    classifier: str | None = None
    interval: tuple[float, float] | None = None
    features: list[str] | None = None
    metrics: list[str] = []
    seconds: Positive | None = None
    budget: str | None = None
    train: dict[str, Any] = {}
    options: dict[str, dict[str, Any]] = {}
    device: str = "auto"

    @model_validator(mode="before")
    @classmethod
    def _of_targets(cls, given: Any) -> Any:  # noqa: ANN401  # pydantic's own
        """Where TARGETs are given and no field is, none is trained; their data are stated."""
        if not (isinstance(given, dict) and given.get("targets")):
            return given
        if "data" not in given:
            raise ValueError("got targets without data to measure them by; give data = [...]")
        return {"fields": [], **given}

    @field_validator("targets", "classifier")
    @classmethod
    def _ran(cls, value: list[str] | str | None) -> list[str] | str | None:
        names = [value] if isinstance(value, str) else value or []
        for name in names:
            place = code.place(name)
            if place is not None and not (Path(name).exists() or code.ran(place)):
                raise ValueError(
                    f"the target {quoted(name)} is code, which a configuration alone does not "
                    "run; give --trust to run it, or name it on the command line"
                )
        _once(names)
        return value

    @field_validator("fields")
    @classmethod
    def _registered(cls, value: list[str]) -> list[str]:
        return _once([recipes.find(name).name for name in value])

    @field_validator("solvers")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for text in value:
            SolverSpec.parse(text)
        return _once(value)

    @field_validator("metrics")
    @classmethod
    def _measurable(cls, value: list[str]) -> list[str]:
        return _once([registry.find("metric", name).key for name in value])

    @field_validator("data")
    @classmethod
    def _admitted(cls, value: list[str]) -> list[str]:
        for name in value:
            admission.admit("source", name)
        return _once(value)

    @field_validator("options")
    @classmethod
    def _by_recipe(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        _once(names := [recipes.find(name).name for name in value])
        for given in value.values():
            _no_more_than_options(given)
        return dict(zip(names, value.values(), strict=True))

    @field_validator("train")
    @classmethod
    def _trainable(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _no_more_than_options(value)

    @field_validator("nfe", "seeds", "tolerances", "guidance")
    @classmethod
    def _distinct(cls, value: list[Any]) -> list[Any]:
        return _once(value)

    def model_post_init(self, _: Any) -> None:  # noqa: ANN401  # pydantic's own
        """Refuse what no single value shows to be wrong."""
        if not (self.fields or self.targets):
            raise ValueError("got no fields and no targets; name one to compare")
        if both := set(self.fields) & set(self.targets):
            name = min(both)
            raise ValueError(f"got {name} as a field and as a target; write ./{name} for a folder")
        if self.null_label is not None and not self.targets:
            raise ValueError("got null_label without a target, which it is for")
        if self.seconds is not None and "steps" in self.train:
            raise ValueError(
                "got seconds and steps as the length of training; give one of the two"
            )
        for name, given in self.options.items():
            if self.seconds is not None and "steps" in given:
                raise ValueError(f"got seconds, and steps for {name!r}; give one of the two")
            if name not in self.fields:
                raise ValueError(f"got options for {quoted(name)}, which is not among the fields")
        if self.budget is not None:
            self.budgeted()
        if self.classifier is not None and not self.guidance:
            raise ValueError("got a classifier without guidance, which it is for")
        if self.interval is not None and not self.guidance:
            raise ValueError("got an interval without guidance, which it is for")
        if self.guidances and not self.labels:
            raise ValueError(
                f"got guidance {quoted(self.guidance)} without labels to guide to; give labels = "
                "true, or --labels"
            )

    @property
    def guidances(self) -> list[Guidance]:
        """How fields are guided, one after the other, but for the classifier."""
        return [Guidance(weight, self.interval) for weight in self.guidance]

    @field_serializer("interval")
    def _without_infinity(self, value: tuple[float, float] | None) -> list[float | str] | None:
        return plain(value)

    def budgeted(self) -> tuple[SolverSpec, int | None]:
        """The solver and the evaluations of the error budget."""
        name, at, nfe = (self.budget or "default").partition("@")
        spec = SolverSpec.parse(name)
        if at and not (nfe.isdecimal() and len(nfe) < 10 and int(nfe)):
            raise ValueError(f"got budget {quoted(self.budget)}; wanted solver@nfe, as in heun@20")
        return spec, int(nfe) if nfe else None

    def dump(self) -> str:
        """The whole configuration as YAML, which `diffode.config_file.read_config` takes."""
        return dump(self.model_dump())


_NAMED = {"fields": "recipe", "data": "source", "metrics": "metric", "features": "feature"}


def run_named(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a configuration whose code, as ``mine.py:name``, the user wants to run.

    A configuration alone runs nothing: what it names is found where it ran already.
    """
    known = dict(content)
    if isinstance(targets := known.get("targets"), list):
        known["targets"] = [_run_target(str(name)) for name in targets]
    if isinstance(classifier := known.get("classifier"), str):
        known["classifier"] = _run_target(classifier)
    for key, kind in _NAMED.items():
        if isinstance(names := known.get(key), list):
            known[key] = [registry.opened(kind, str(name)) for name in names]
    for text in [*known.get("solvers", []), known.get("budget") or "default"]:
        registry.opened("solver", name_and_options(str(text).partition("@")[0])[0])
    if isinstance(train := known.get("train"), dict):
        known["train"] = admission.opened_parts(train)
    return known


def _run_target(name: str) -> str:
    """A TARGET by what finds it again; the code of one that is code is run."""
    place = code.place(name)
    if place is None or Path(name).exists():
        return name
    code.run(place)
    return str(place)


def make_config(**given: Any) -> BenchConfig:  # noqa: ANN401
    """A configuration from keywords.

    Raises:
        ValueError: the first thing that does not fit, in one line.
    """
    try:
        return BenchConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            known = ", ".join(BenchConfig.model_fields)
            where = quoted(first["loc"][0])
            raise ValueError(f"a comparison has no {where}; it has: {known}") from None
        raise ValueError(problem(error)) from None


def _no_more_than_options(given: dict[str, Any]) -> dict[str, Any]:
    for name in _STATED & given.keys():
        raise ValueError(f"got {name!r} among the options of a training; it has a line of its own")
    for kind, name in admission.parts(given).items():
        admission.admit(kind, name)
    return given


def _once(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"got {quoted(values)}; name each only once")
    return values
