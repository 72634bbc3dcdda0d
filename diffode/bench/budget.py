r"""The error budget: how much of what is wrong with samples is the prior, the solver, the model.

Four stages are run in pairs, row i of each from the same random numbers (see
`diffode.bench.budget_stages`): the exact field from the exact :math:`p_T`, converged; from the
prior, converged; from the prior with the chosen solver; and the trained field likewise. Between
neighbours lie the prior's mismatch, the solver's error and the model's. Two tables tell them:

(i) the RMS distance of paired end points, each :math:`\ge 0`. The distance end to end is at most
their sum, and each bounds the W2 distance of the two stages' laws from above;

(ii) the sliced W2 to held-out data, signed: parts may cancel, and a better solver can look worse.

The converged trained field stands beside them, since a solver's error on the trained field is
not its error on the exact one: it can undo some of the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffode.bench import budget_tables
from diffode.bench.budget_chart import chart
from diffode.bench.budget_parts import Cloud, Part, between, nearest_mode, nearest_point, rms
from diffode.bench.budget_stages import Plan, Progress, Stages, affine_stages
from diffode.bench.estimates import Estimate
from diffode.bench.twin import Exact, exact_field, require_affine, require_same_path
from diffode.data import Dataset
from diffode.fields.base import AffineField, Field
from diffode.fields.generated import Generated
from diffode.fields.monoflow import MonoFlow
from diffode.sampling import solver_for
from diffode.solvers import Solver

PARTS = ("prior mismatch", "solver", "model")
WHOLE = "end to end"
ASIDE = ("model, converged", "solver, on the trained field")
_LEAST = 20  # rows


@dataclass(frozen=True, eq=False)
class ErrorBudget:
    """Both tables of an error budget, and the end points that they are made of.

    Attributes:
        parts: prior mismatch, solver and model, each from its stage to the next.
        whole: from the first stage to the last.
        aside: the other order of the last two: the model with both fields converged, then the
            solver on the trained field; empty where the trained field is a march.
        levels: the sliced W2 of each of the four stages to the data.
        trained: that of the trained field, converged, or None.
        floor: that of as many draws of the data's law.
        errors: RMS distances of converged end points from those of a looser solution, by name.
        about: what was run, for JSON.
        stages: the end points.
    """

    parts: tuple[Part, ...]
    whole: Part
    aside: tuple[Part, ...]
    levels: tuple[Estimate, ...]
    trained: Estimate | None
    floor: Estimate
    errors: dict[str, float]
    about: dict[str, Any]
    stages: Stages

    @property
    def largest(self) -> Part:
        """The part of the largest RMS distance."""
        return max(self.parts, key=lambda part: part.rms.value)

    @property
    def slack(self) -> float:
        """The sum of the parts' RMS distances less the distance end to end; never negative."""
        return sum(part.rms.value for part in self.parts) - self.whole.rms.value

    @property
    def helpful(self) -> tuple[Part, ...]:
        """The parts that bring the samples nearer to the data, their 95 % interval below 0."""
        return tuple(p for p in (*self.parts, *self.aside) if p.interval[1] < 0)

    def asdict(self) -> dict[str, Any]:
        """All figures for JSON."""
        return {
            "about": self.about,
            "errors": self.errors,
            "parts": [part.asdict() for part in self.parts],
            "whole": self.whole.asdict(),
            "aside": [part.asdict() for part in self.aside],
            "sliced_w2": [level.asdict() for level in self.levels],
            "trained_converged": None if self.trained is None else self.trained.asdict(),
            "floor": self.floor.asdict(),
        }

    def markdown(self) -> str:
        """Both tables as Markdown."""
        return budget_tables.markdown(self)

    def chart(self) -> str:
        """Both tables as an inline SVG."""
        return chart(self)

    def html(self) -> str:
        """The chart and both tables as a part of a page."""
        return budget_tables.html(self)

    def __str__(self) -> str:
        return self.markdown()


def error_budget(
    field: Field,
    data: Dataset | Tensor,
    solver: Solver | str = "default",
    *,
    nfe: int | None = None,
    steps: int | None = None,
    grid: str | None = None,
    n: int = 1000,
    seed: int = 0,
    batch: int = 250,
    exact: Exact | None = None,
    tolerance: float = 1e-6,
    particles: int = 1000,
    refine: int = 4,
    progress: Progress | None = None,
) -> ErrorBudget:
    """Tell apart what the prior, the solver and the model do to a field's samples.

    Labels are left out: a field that takes them is measured without. The exact field is that of
    the mixture that a planar data set is drawn from, else that of the training points; such a
    field ends on training points, so that small shifts can lead to another one (the share of such
    rows is given), and a model that does not copy them lies far from it.

    Arguments:
        field: an affine field, or a `MonoFlow` march on a mixture.
        data: a data set, or points, shape (M, *event), which then are both the law and what the
            samples are compared with.
        solver: the chosen solver or its name.
        nfe, steps, grid: its evaluations or steps, and its grid, as for `diffode.sample`.
        n: rows.
        seed: of all draws; row i depends on it and i alone.
        batch: rows held at once, which change nothing.
        exact: the exact field, on the field's schedule and noise, if it is another one.
        tolerance: of the converged solver.
        particles: of the exact ratios of a march, beside the rows; its time grows with their
            square.
        refine: steps of the converged march for each stage.
        progress: called with the share that is done.

    Raises:
        TypeError: a field without an exact twin, such as a generator's.
        ValueError: data, counts or a solver that do not fit.
    """
    if n < _LEAST or batch < 1 or refine < 2 or particles < 2:
        raise ValueError(
            f"got n={n}, batch={batch}, refine={refine}, particles={particles}; wanted at least "
            f"{_LEAST}, 1, 2 and 2"
        )
    if isinstance(field, Generated):
        raise TypeError(
            "a generator makes its samples in one step and follows no flow, so that there is no "
            "exact field to compare it with; take a flow, such as monoflow or edm"
        )
    chosen = solver_for(field, solver, {})
    chosen.check(field)
    counts = (nfe, steps, grid, n, seed, batch, tolerance, particles, refine)
    plan = Plan(chosen, *counts, progress or _silent)
    law = data.law if isinstance(data, Dataset) else None
    if isinstance(field, MonoFlow):
        from diffode.bench.budget_march import march_stages

        if law is None:
            raise ValueError(
                "the exact ratios of a MonoFlow are known where the data set is a mixture of "
                "Gaussians, such as moons; this one is not"
            )
        stages, name = march_stages(field, law, plan), "exact ratios of mixture and particles"
    else:
        affine = require_affine(field)
        known = exact_field(affine, data) if exact is None else exact
        require_same_path(affine, known)
        stages, name = affine_stages(affine, known, plan), type(known).__name__
    if isinstance(data, Dataset):
        train, test, title = data.train, data.test, data.name
    else:
        train, test, title = data, data, f"{len(data)} points"
    place = nearest_point(train) if law is None else nearest_mode(law)
    about = {
        "field": _about(field),
        "data": title,
        "solver": repr(chosen),
        "grid": grid or "its own",
        "nfe": stages.nfe,
        "n": n,
        "seed": seed,
        "exact": name,
        "converged": stages.converged,
        "reference_count": len(test),
        "place": "training point" if law is None else "mode",
    }
    return _measured(stages, test, place, about)


def _measured(
    stages: Stages, test: Tensor, place: Callable[[Tensor], Tensor], about: dict[str, Any]
) -> ErrorBudget:
    clouds = [Cloud.of(x, test, place) for x in stages.points]
    floor = Cloud.of(stages.real, test, place)
    aside: tuple[Part, ...] = ()
    trained = None
    if stages.aside is not None:
        converged = Cloud.of(stages.aside, test, place)
        pairs = ((clouds[1], converged), (converged, clouds[3]))
        aside = tuple(between(name, *pair) for name, pair in zip(ASIDE, pairs, strict=True))
        trained = converged.level.estimate
    return ErrorBudget(
        parts=tuple(
            between(name, a, b) for name, a, b in zip(PARTS, clouds, clouds[1:], strict=False)
        ),
        whole=between(WHOLE, clouds[0], clouds[3]),
        aside=aside,
        levels=tuple(cloud.level.estimate for cloud in clouds),
        trained=trained,
        floor=floor.level.estimate,
        errors={name: rms(pair) for name, pair in stages.checks.items()},
        about=about,
        stages=stages,
    )


def _about(field: Field) -> str:
    name = type(field).__name__
    if not isinstance(field, AffineField):
        return name
    return f"{name} on {field.schedule} with {field.noise} noise"


def _silent(share: float) -> None:
    """Tell nobody."""
