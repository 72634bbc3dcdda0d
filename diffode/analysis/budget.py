r"""The error budget: how far each imperfection moves a sample, and what it does to the score.

Two tables from the same paired runs (see `diffode.analysis.stages`):

1. **Paired end points.** The root mean square distance from stage to stage: prior mismatch,
   solver, model. Each is at least 0, and the way from end to end is at most their sum.
2. **Signed scores; parts may cancel.** The sliced W2 of each stage to real data, and its change
   from stage to stage. A change may be negative: a coarse solver can undo an error of the model.
   Whether it does is what the solver changes on the *trained* field, from converged to its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffode.analysis.stages import Stages, stages_of
from diffode.data import Dataset
from diffode.data.scaling import Scaling, model_units, same_units
from diffode.data.source import equal, whole
from diffode.doors import as_state
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.metrics import sliced_wasserstein2
from diffode.metrics.estimates import Estimate
from diffode.metrics.transport import sliced_potentials
from diffode.rng import Rng
from diffode.solvers import Solver
from diffode.tables import Table

PARTS = ("prior mismatch", "solver", "model")
STAGES = ("exact, from p_T", "exact, from the prior", "exact, by the solver", "trained")
_FEWEST = 40
_PROJECTIONS = 128
_AGAINST = "solver, on the trained field"
_FAR = 0.5  # of the data's spread: a sample that went elsewhere


@dataclass(frozen=True)
class ErrorBudget:
    """Where the error of samples comes from.

    Attributes:
        name: of what was budgeted.
        solver, nfe: how the last two stages were drawn, and what that spent.
        count: rows.
        distances: RMS distance of the end points from stage to stage, by part.
        total: from the first stage to the last.
        medians: the median distance, by part.
        far: the share of rows that a part moves by more than half of the data's spread.
        accuracy: what the converged stages are accurate to, RMS.
        scores: sliced W2 of each stage to real data.
        changes: of the score, by part, with errors that use the pairing.
        on_trained: what the solver does to the score of the trained field, against converged.
        floor: sliced W2 of real data to real data, of the same counts.
    """

    name: str
    solver: str
    nfe: float
    count: int
    distances: dict[str, Estimate]
    total: Estimate
    medians: dict[str, float]
    far: dict[str, float]
    accuracy: float
    scores: list[Estimate]
    changes: dict[str, Estimate]
    on_trained: Estimate
    floor: Estimate

    @property
    def culprit(self) -> str:
        """The part that moves samples the most."""
        return max(self.distances, key=lambda part: self.distances[part].value)

    @property
    def cancels(self) -> bool:
        """Whether a part improves the score by more than two standard errors."""
        known = (*self.changes.values(), self.on_trained)
        return any(c.value < -2 * c.stderr for c in known)

    def asdict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        plain = {k: getattr(self, k) for k in ("name", "solver", "nfe", "count", "accuracy")}
        plain |= {"medians": self.medians, "far": self.far, "culprit": self.culprit}
        for key in ("distances", "changes"):
            plain[key] = {part: e.asdict() for part, e in getattr(self, key).items()}
        plain["scores"] = {s: e.asdict() for s, e in zip(STAGES, self.scores, strict=True)}
        for key in ("total", "on_trained", "floor"):
            plain[key] = getattr(self, key).asdict()
        return plain

    @classmethod
    def fromdict(cls, figures: dict[str, Any]) -> ErrorBudget:
        """The budget that `asdict` wrote."""

        def estimates(known: dict[str, Any]) -> dict[str, Estimate]:
            return {k: _estimate(v) for k, v in known.items()}

        own = {k: v for k, v in figures.items() if k in cls.__dataclass_fields__}
        return cls(**own | {
            "distances": estimates(figures["distances"]),
            "changes": estimates(figures["changes"]),
            "scores": list(estimates(figures["scores"]).values()),
            **{key: _estimate(figures[key]) for key in ("total", "on_trained", "floor")},
        })  # fmt: skip


def _estimate(stored: dict[str, float | None]) -> Estimate:
    known = {k: math.nan if v is None else v for k, v in stored.items()}
    return Estimate(known["value"], known["stderr"])


def error_budget(
    field: Field,
    data: Dataset | Tensor,
    solver: Solver | str | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
    nfe: int | None = None,
    steps: int | None = None,
    grid: str | None = None,
    exact: AffineField | None = None,
    name: str = "",
    held_out: Tensor | None = None,
) -> ErrorBudget:
    """The error budget of a trained field and a solver.

    Arguments:
        field: a trained affine field, or a march of MonoFlow (whose solver is its own).
        data: the data set, or its training points in the units of the data, shape (M, *event).
        solver: the one in question, or its name; None is the field's usual one.
        n: rows.
        seed: of the starts.
        nfe, steps, grid: of the solver, as for `diffode.sample`.
        exact: the exact field, if it is not that of the data's law or training points.
        name: of what is budgeted, for tables.
        held_out: with points, others of their law, shape (K, *event), that the field was not
            trained on: the real data that stages are scored against.

    Raises:
        ValueError: a field that has no budget, fewer than 40 rows, end points not finite, or no
            points that are held out.
    """
    if n < _FEWEST:
        raise ValueError(f"got n={n}; an error budget needs {_FEWEST} rows at least")
    dataset = _dataset(data, held_out, field.scaling)
    stages = stages_of(field, dataset, solver, n, seed, exact, nfe=nfe, steps=steps, grid=grid)
    return tabulate(stages, dataset, name or type(field).__name__)


def _dataset(data: Dataset | Tensor, held_out: Tensor | None, scaling: Scaling | None) -> Dataset:
    """The data set, or one of training points and others that are held out, in a field's units."""
    if isinstance(data, Dataset):
        if held_out is not None:
            raise ValueError("got held_out with a data set, which has its own test points")
        if not same_units(data.scaling, scaling):
            raise ValueError(
                f"{data.name} is in other units than the field: {data.scaling or 'none'}, not "
                f"{scaling or 'none'}; give the data that it was trained on"
            )
        dataset = data
    else:
        train = as_state(data, name="data", fewest=2)
        if held_out is None:
            raise ValueError(
                f"got {len(train)} training points alone; scores need real points that the field "
                "was not trained on: pass held_out=, or a Dataset"
            )
        test = as_state(held_out, train.shape[1:], "held_out", fewest=2)
        train, test = (model_units(x, scaling) for x in (train, test))
        dataset = Dataset("points", train, test, scaling=scaling)
    if equal(dataset.train, dataset.test):
        raise ValueError(
            f"{dataset.name}: the test points are the training points; scores need real points "
            "that the field was not trained on"
        )
    return dataset


def tabulate(stages: Stages, dataset: Dataset, name: str) -> ErrorBudget:
    """The two tables of end points.

    Raises:
        ValueError: end points that are not finite.
    """
    x = stages.x.flatten(2)
    lost = int((~x.isfinite().all(2)).any(0).sum())
    if lost:
        raise ValueError(f"{lost} of {x.shape[1]} samples are not finite after some stage")
    gaps = (x[1:4] - x[:3]).norm(dim=2)
    spread = float(whole(dataset.train).double().flatten(1).std(0).square().sum().sqrt())
    scores, changes, on_trained = _scored(x, whole(dataset.test))
    rows = Rng(0).permutation("real", len(dataset.train))[: x.shape[1]]
    real = dataset.train[rows]
    return ErrorBudget(
        name=name,
        solver=stages.solver,
        nfe=stages.nfe,
        count=x.shape[1],
        distances={p: _rms(g) for p, g in zip(PARTS, gaps, strict=True)},
        total=_rms((x[3] - x[0]).norm(dim=1)),
        medians={p: float(g.median()) for p, g in zip(PARTS, gaps, strict=True)},
        far={
            p: float((g > _FAR * spread).double().mean()) for p, g in zip(PARTS, gaps, strict=True)
        },
        accuracy=stages.accuracy,
        scores=scores,
        changes=changes,
        on_trained=on_trained,
        floor=sliced_wasserstein2(real, whole(dataset.test), _PROJECTIONS),
    )


def _rms(distance: Tensor) -> Estimate:
    square = distance.square()
    value = float(square.mean().sqrt())
    spread = float(square.std()) / math.sqrt(len(square))
    return Estimate(value, spread / (2 * value) if value > 0 else 0.0)


def _scored(x: Tensor, real: Tensor) -> tuple[list[Estimate], dict[str, Estimate], Estimate]:
    """Sliced W2 of the stages, its changes by part, and by the solver on the trained field.

    What each row adds to a distance is known from the potentials of the transport, so the errors
    of changes use that rows are paired, and that the real data are the same.
    """
    scores, rows, others = [], [], []
    for stage in x:
        square, phi, psi = sliced_potentials(stage, real, _PROJECTIONS)
        score = math.sqrt(square)
        scores.append(score)
        rows.append(phi / (2 * score))
        others.append(psi / (2 * score))

    def change(first: int, last: int) -> Estimate:
        moved, against = rows[last] - rows[first], others[last] - others[first]
        variance = moved.var() / len(moved) + against.var() / len(against)
        return Estimate(scores[last] - scores[first], float(variance.sqrt()))

    stages = [
        Estimate(v, float((a.var() / len(a) + b.var() / len(b)).sqrt()))
        for v, a, b in zip(scores, rows, others, strict=True)
    ]
    return stages[:4], {p: change(k, k + 1) for k, p in enumerate(PARTS)}, change(4, 3)


def budget_tables(budgets: Sequence[ErrorBudget]) -> tuple[Table, Table]:
    """Both tables of several budgets: how far parts move samples, what they do to the score."""
    moved, scored = [], []
    for b in budgets:
        how = [b.name, f"{b.solver}, {b.nfe:.0f}"]
        parts = [f"{plus_minus(e)} ({b.far[p]:.1%})" for p, e in b.distances.items()]
        total = sum(e.value for e in b.distances.values())
        moved.append([*how, *parts, plus_minus(b.total), f"{total:.3f}"])
        signed = [plus_minus(b.changes[p], signed=True) for p in PARTS]
        last = (plus_minus(b.scores[-1]), plus_minus(b.floor), plus_minus(b.on_trained, True))
        scored.append([*how, plus_minus(b.scores[0]), *signed, *last])
    head = ["field", "solver, evaluations"]
    return (
        Table([*head, *PARTS, "end to end", "sum"], moved),
        Table([*head, "exact", *PARTS, "trained", "real data", _AGAINST], scored),
    )


def plus_minus(estimate: Estimate, signed: bool = False) -> str:
    """A number and its 95 % interval."""
    sign = "+" if signed else ""
    return f"{estimate.value:{sign}.4f} ± {1.96 * estimate.stderr:.4f}"
