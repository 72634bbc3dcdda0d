r"""The four stages of an error budget, run in pairs: row i of each starts from the same numbers.

Stages 0 and 1 start from the exact :math:`p_T` and from the prior and follow the exact flow,
converged, until no noise is left; stage 2 starts as stage 1 does and takes the chosen solver's
steps; stage 3 takes the same steps through the trained field. Beside them the trained field is
solved to convergence: the solver's part as it is on that field.

The pairing of the starts: with n the noise that the prior's draw is made of, :math:`\alpha m +
\sigma n`, stage 0 starts from :math:`\alpha x_0 + \sigma n`, :math:`x_0` a draw of the data's
law. A Poisson flow starts on the hemisphere; the direction of its start, continued to the plane
:math:`\sigma = \sigma_{max}`, is :math:`n = \sqrt{D} \, (x - m) / (\sigma_{max} q)`, a Student-t
draw of D degrees of freedom, so that :math:`x_0 + \sigma_{max} n` is the exact plane law.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.bench.twin import Exact, twin
from diffode.fields.base import AffineField, Field, right
from diffode.fields.poisson import PoissonField
from diffode.rng import Rng
from diffode.sampling import sample
from diffode.solvers import Solution, Solver, get_solver

STAGES = (
    "exact field from the exact p_T, converged",
    "exact field from the prior, converged",
    "exact field from the prior, chosen solver",
    "trained field from the prior, chosen solver",
)
ASIDE = "trained field from the prior, converged"
METHOD = "dopri5-rows"
_NETWORK = 1e-5  # the tightest tolerance for a trained field, whose numbers are float32
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Plan:
    """What is asked of a budget.

    Attributes:
        solver: the chosen solver.
        nfe, steps, grid: its evaluations or steps, and its grid, as for `diffode.sample`.
        n, seed, batch: how many rows, of which seed, held how many at once.
        tolerance: of the converged stages.
        particles, refine: of a march, see `diffode.bench.budget`.
        progress: called with the share that is done.
    """

    solver: Solver
    nfe: int | None
    steps: int | None
    grid: str | None
    n: int
    seed: int
    batch: int
    tolerance: float
    particles: int
    refine: int
    progress: Progress

    def sample(self, field: Field) -> Solution:
        """What `diffode.sample` draws of a field by the chosen solver."""
        return sample(
            field,
            self.n,
            self.solver,
            self.nfe,
            self.steps,
            self.seed,
            batch=self.batch,
            grid=self.grid,
        )


@dataclass(frozen=True)
class Stages:
    """The end points of all stages.

    Attributes:
        points: the estimates of the data of stages 0 to 3, shape (4, n, *event), float64.
        aside: those of the trained field, converged, shape (n, *event), or None.
        checks: by name, pairs of end points, shape (2, n, *event), whose distance shows how far
            the first is from convergence.
        real: draws of the data's law, which stage 0 starts from, shape (n, *event).
        nfe: evaluations of the chosen solver.
        converged: how the converged stages were found, in a line.
    """

    points: Tensor
    aside: Tensor | None
    checks: dict[str, Tensor]
    real: Tensor
    nfe: int
    converged: str


def partner(field: AffineField, x: Tensor, q: Tensor | None, x0: Tensor) -> Tensor:
    """The start from the exact p_T with the noise of the start (x, q) from the prior.

    Arguments:
        field: the field.
        x, q: the start that it drew; q is None where all rows share one noise level.
        x0: draws of the data's law.
    """
    mean = field.mean.to(x)
    alpha, sigma = field.level(field.span[0], x)
    if q is not None:
        assert isinstance(field, PoissonField)
        return x0 + math.sqrt(field.dof) * (x - mean) / right(q, x)
    n = (x - alpha * mean) / sigma
    cap = getattr(field, "max_radius", None)
    return alpha * x0 + sigma * (n if cap is None else n * right(_uncapped(field, n, cap), n))


def _uncapped(field: AffineField, n: Tensor, cap: float) -> Tensor:
    """What stretches draws within a radius to draws of the whole law, row by row."""
    assert field.prior is not None
    cap = cap / field.prior.scale
    length = n.flatten(1).norm(dim=1)
    dim = n[0].numel()
    below = [field.noise.radius_cdf(float(r), dim) for r in length]
    u = torch.tensor(below, dtype=torch.float64) / field.noise.radius_cdf(cap, dim)
    stretch: Tensor = field.noise.radius_icdf(u, dim) / length
    return stretch


def affine_stages(field: AffineField, exact: Exact, plan: Plan) -> Stages:
    """The four stages of an affine field; stage 3 is what `diffode.sample` draws.

    Raises:
        ValueError: rows on which the converged solver stopped.
    """
    longer = twin(field, exact, to_the_end=True)
    plane = twin(field.inner if isinstance(field, PoissonField) else field, exact, True)
    tight, loose = (_Converged(factor * plan.tolerance) for factor in (1, 10))
    learned, rough = (_Converged(factor * max(plan.tolerance, _NETWORK)) for factor in (1, 10))
    parts: list[tuple[Tensor, ...]] = []
    for first in range(0, plan.n, plan.batch):
        index = torch.arange(first, min(plan.n, first + plan.batch))
        rng = Rng(plan.seed).rows(index)
        start, own = longer.start(len(index), rng), field.start(len(index), rng)
        x = start.x.double()
        x0 = exact.sample(len(index), rng).to(x)
        from_data = partner(field, x, getattr(start.field, "q", None), x0)
        parts.append(
            (
                tight(plane, from_data),
                tight(start.field, x),
                loose(plane, from_data),
                loose(start.field, x),
                learned(own.field, x),
                rough(own.field, x),
                x0,
            )
        )
        plan.progress(0.9 * min(plan.n, first + plan.batch) / plan.n)
    joined = [torch.cat(part) for part in zip(*parts, strict=True)]
    first_stage, second, *again, aside, aside_again, real = joined
    chosen, trained = (plan.sample(f) for f in (twin(field, exact), field))
    plan.progress(1.0)
    return Stages(
        torch.stack((first_stage, second, chosen.x.double(), trained.x.double())),
        aside,
        {
            "stage 0": torch.stack((first_stage, again[0])),
            "stage 1": torch.stack((second, again[1])),
            "trained field": torch.stack((aside, aside_again)),
        },
        real,
        trained.nfe,
        f"{METHOD} in the angle at tolerance {plan.tolerance:g}, on to the end of the noise",
    )


class _Converged:
    """The end of a flow, by a solver that holds every row to a tolerance."""

    def __init__(self, tolerance: float) -> None:
        self.solver = get_solver(METHOD, rtol=tolerance, atol=tolerance, max_nfe=100_000)

    @torch.no_grad()
    def __call__(self, field: Field, x: Tensor) -> Tensor:
        assert isinstance(field, AffineField)
        solution = self.solver(field, x, torch.tensor(field.span, dtype=torch.float64))
        stopped = int((solution.status != 0).sum())
        if stopped:
            raise ValueError(
                f"{self.solver} stopped before the end on {stopped} of {len(x)} rows; pass a "
                "larger tolerance"
            )
        x0: Tensor = field.denoise(solution.x, solution.t_end)
        return x0
