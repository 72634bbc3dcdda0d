"""What the files of a comparison may hold: checked when read, whoever wrote them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, Lt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from diffode.analysis.budget import PARTS, STAGES
from diffode.files import read_json, write_text
from diffode.inputs import quoted
from diffode.options import problem

Pair = tuple[float, float]
Figure = tuple[float, float | None]  # with its error, None where that is not known


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())


class _Machine(_Part):
    device: str = ""
    threads: int = 0
    versions: dict[str, str] = {}

    @model_validator(mode="after")
    def _whole(self) -> _Machine:
        if "device" in self.model_fields_set and len(self.model_fields_set & _MACHINE) < 3:
            raise ValueError("got a device without its threads and versions")
        return self


_MACHINE = {"device", "threads", "versions"}


class CellFigures(_Machine):
    """A cell and its place, with its figures or why there are none."""

    data: str
    field: str
    seed: int
    model: str
    solver: str
    allowed: int | None
    tolerance: float | None
    picture: str | None
    refused: str | None = None
    nfe: float = 0.0
    network_calls: float = 0.0
    seconds: float = 0.0
    unfinished: int = 0
    metrics: dict[str, Figure] = {}

    @model_validator(mode="after")
    def _measured(self) -> CellFigures:
        _require_set(self, "nfe", "seconds", "unfinished", "metrics")
        return self


class _Plan(_Part):
    field: str
    data: str
    labels: bool
    options: dict[str, Any]
    training: dict[str, Any]


class Trained(_Machine):
    """What a training took, or why it failed."""

    refused: str | None = None
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    peak_memory: int = 0

    @model_validator(mode="after")
    def _measured(self) -> Trained:
        _require_set(self, "steps", "samples", "seconds", "peak_memory")
        return self


class Portrait(_Part):
    """How straight a model's paths are."""

    straightness: Figure | None


class Pace(_Part):
    """How fast a plan is trained."""

    seconds_per_step: Annotated[float, Gt(0), Lt(float("inf"))]


class _Model(Trained):
    plan: _Plan
    budget: str
    straightness: Figure | None = None
    paths: str | None = None
    alpha: Pair | None = None
    sigma: Pair | None = None
    noise: str = ""
    prior: str = ""
    parameters: int = 0

    @model_validator(mode="after")
    def _described(self) -> _Model:
        _require_set(self, "prior", "parameters")
        return self


class Reference(_Part):
    """What a data set is measured against, and what real data score."""

    about: dict[str, Any]
    floor: dict[str, Figure]
    headline: str
    picture: str | None


class _Metric(_Part):
    name: str
    about: str
    better: str


class _Bound(_Part):
    value: float
    measured: float
    exponent: float


class _Estimate(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    value: float | None
    stderr: float | None
    refused: str = ""


class BudgetFigures(_Part):
    """An error budget, as `ErrorBudget.asdict` writes it, or why there is none."""

    name: str
    refused: str | None = None
    bound: _Bound | None = None
    solver: str = ""
    nfe: float = 0.0
    count: int = 0
    accuracy: float = 0.0
    distances: dict[str, _Estimate] = {}
    changes: dict[str, _Estimate] = {}
    scores: dict[str, _Estimate] = {}
    medians: dict[str, float] = {}
    far: dict[str, float] = {}
    total: _Estimate | None = None
    on_trained: _Estimate | None = None
    floor: _Estimate | None = None

    @model_validator(mode="after")
    def _measured(self) -> BudgetFigures:
        _require_set(self, "solver", "nfe", "count", "accuracy", "total", "on_trained", "floor")
        if self.refused is None:
            for name in ("distances", "changes", "medians", "far"):
                _require_keys(name, getattr(self, name), PARTS)
            _require_keys("scores", self.scores, STAGES)
        return self


def _require_keys(name: str, given: dict[str, Any], wanted: tuple[str, ...]) -> None:
    if tuple(given) != wanted:
        raise ValueError(f"got {name} of {quoted(list(given))}; wanted {', '.join(wanted)}")


def _require_set(part: CellFigures | Trained | BudgetFigures, *wanted: str) -> None:
    """What a part states unless it was refused."""
    lost = [
        name for name in wanted if getattr(part, name) is None or name not in part.model_fields_set
    ]
    if part.refused is None and lost:
        raise ValueError(f"got none of {lost[0]!r} and no reason for it")


class Stored(_Part):
    """The content of results.json, strict in its types; further keys of its parts are kept."""

    format: int
    configs: list[dict[str, Any]]
    references: dict[str, Reference]
    metrics: dict[str, list[_Metric]]
    models: dict[str, _Model]
    cells: list[CellFigures]
    budgets: dict[str, list[BudgetFigures]] = {}

    @model_validator(mode="after")
    def _fits(self) -> Stored:
        named = {data: {m.name for m in known} for data, known in self.metrics.items()}
        for data, reference in self.references.items():
            if reference.headline not in named.get(data, set()):
                raise ValueError(f"got {quoted(data)} without its metric {reference.headline}")
        for cell in self.cells:
            if cell.data not in self.references:
                raise ValueError(f"got a cell of {quoted(cell.data)}, which has no reference")
            if odd := sorted(cell.metrics.keys() - named[cell.data]):
                raise ValueError(f"got a cell with the metric {quoted(odd[0])}, which is not said")
        for config in self.configs:
            if not isinstance(config.get("seconds", 0), (int, float, type(None))):
                raise ValueError(f"got seconds {quoted(config['seconds'])} in a configuration")
        return self


def write_part(path: Path, content: dict[str, Any]) -> None:
    """Write a file of a comparison as JSON, which has no NaN: what is none is null."""
    write_text(path, json.dumps(_plain(content), indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_errors(content: dict[str, Any]) -> dict[str, Any]:
    """A part with NaN for the errors that are not known."""
    changed: dict[str, Any] = {}
    for key in ("metrics", "floor"):
        if key in content:
            pairs = content[key].items()
            changed[key] = {name: [v, math.nan if e is None else e] for name, (v, e) in pairs}
    return content | changed


def read_part(path: Path, kind: type[BaseModel], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """The content of a file of a comparison, with what its place adds, checked.

    Raises:
        ValueError: it is damaged.
    """
    content = read_json(path) | more
    try:
        kind.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise ValueError(
            f"{path} is damaged: {problem(error)}; delete it and run the same command again"
        ) from None
    return with_errors(content)


def fault(text: str) -> str | None:
    """What is wrong with the text of a results.json, or None."""
    try:
        Stored.model_validate_json(text)
    except ValidationError as error:
        return problem(error)
    return None
