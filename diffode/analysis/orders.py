r"""The measured order of a solver: how fast its error falls with the steps.

With equal starts and the end points :math:`x_K` of K steps, the error is the rms of :math:`x_K -
x` over coordinates, averaged over rows, and the order p is the slope of its logarithm over that of
1 / K. Where the reference x is the solver's own result at :math:`K_0` steps, whose error is part
of the difference, :math:`K^{-p} - K_0^{-p}` takes the place of :math:`K^{-p}` (in squares for a
stochastic solver, whose errors on two grids differ by parts independent of each other).

A stochastic solver is measured along one Brownian path for each row, which fixes x: its strong
order, over all steps given, as the errors of a few paths are uneven.

Reference: Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, section
II.4; Kloeden and Platen (1992), Numerical Solution of Stochastic Differential Equations, section
9.6 (strong order).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.rng import Rng
from diffode.solvers import Solver, get_solver, grid

_FINER = 4  # steps of a reference by the same solver, for each of the finest grid
_TOLERANCE = 1e-11
_ABOVE = 5.0  # times the reference's own error, below which an error is round-off
_STEADY = 0.12  # of the order, by which successive orders may differ in the asymptotic part


@dataclass(frozen=True, repr=False)
class Convergence:
    """The errors of a solver on grids of more and more steps, and their order.

    Attributes:
        solver: the solver's repr.
        steps: of each grid.
        errors: the mean distance from the reference, rms over coordinates.
        nfe: evaluations spent.
        order: the slope over the steps in ``used``.
        used: the steps in the asymptotic part and above round-off.
        orders: between successive steps in ``used``.
        reference: how the exact end points were found.
        strong: whether this is the strong order of a stochastic solver.
    """

    solver: str
    steps: tuple[int, ...]
    errors: tuple[float, ...]
    nfe: tuple[int, ...]
    order: float
    used: tuple[int, ...]
    orders: tuple[float, ...]
    reference: str
    strong: bool = False

    @property
    def spread(self) -> float:
        """The largest difference between the orders of successive steps."""
        return max(self.orders) - min(self.orders)

    def __repr__(self) -> str:
        what = "strong order" if self.strong else "order"
        lines = [
            f"{self.solver}: {what} {self.order:.2f} over {self.used[0]} to {self.used[-1]} steps "
            f"(pairwise {min(self.orders):.2f} to {max(self.orders):.2f}), "
            f"against {self.reference}",
            f"{'steps':>8}{'nfe':>8}{'error':>12}{'order':>8}",
        ]
        between = dict(zip(self.used[1:], self.orders, strict=True))
        for k, n, e in zip(self.steps, self.nfe, self.errors, strict=True):
            order = f"{between[k]:.2f}" if k in between else "" if k in self.used else "left out"
            lines.append(f"{k:>8}{n:>8}{e:>12.3e}{order:>{max(8, len(order) + 2)}}")
        return "\n".join(lines)


def convergence(
    solver: Solver | str,
    field: Field,
    steps: Sequence[int] = (8, 16, 32, 64, 128),
    n: int = 32,
    seed: int = 0,
    kind: str | None = None,
    reference: Tensor | Solver | None = None,
    *,
    x: Tensor | None = None,
    times: Callable[[int], Tensor] | None = None,
) -> Convergence:
    r"""Measure the order of a solver on a field, in float64.

    Arguments:
        solver: of fixed steps, or its name.
        field: what moves the points, any; a smooth one shows the order that theory promises.
        steps: of the grids, at least two, rising.
        n: how many points.
        seed: of the points and of a stochastic solver.
        kind: of the grids; None is the solver's favourite.
        reference: the end points (n, \*event), or the solver to find them with; None is
            "dopri5-rows" at a tolerance of 1e-11 (the solver itself at 4 times the most steps
            where that fails or the solver is stochastic).
        x: the points at the first time, shape (n, \*event), in place of draws of the prior.
        times: the grid of so many steps, in place of ``kind``: the same ends for all.

    Raises:
        ValueError: steps that do not rise, a solver that chooses its own steps or whose noise
            changes with them, or errors that are all round-off.
        TypeError: a solver that cannot use the field.
    """
    solver = get_solver(solver) if isinstance(solver, str) else solver
    solver.check(field)
    if len(steps) < 2 or min(steps) < 1 or not all(a < b for a, b in pairwise(steps)):
        raise ValueError(f"got steps {tuple(steps)}; wanted two or more, rising")
    if solver.adaptive:
        raise ValueError(
            f"{solver.name} chooses its own steps; an order needs a fixed-step solver"
        )
    if x is None:
        drawn = field.start(n, Rng(seed))
        field, x = drawn.field, drawn.x
    kind = kind or (solver.grid if isinstance(field, AffineField) else "native")
    run = _Run(solver, field, x.double(), times or (lambda k: grid(field, k, kind)), seed)
    random = _is_random(run, steps[0])
    if random and not solver.along_a_path:
        raise ValueError(
            f"{solver.name} draws other noise for other steps, so its results have no limit to "
            "measure; use euler-maruyama, sde-dpm++ or sde-trig, which follow a Brownian path"
        )
    with torch.no_grad():
        exact = _exact(run, steps, reference, random)
        found = [run(k) for k in steps]
    errors = [_distance(end, exact.x) for end, _ in found]
    used, orders = _asymptotic(steps, errors, exact, math.inf if random else _STEADY)
    return Convergence(
        repr(solver),
        tuple(steps),
        tuple(errors),
        tuple(nfe for _, nfe in found),
        _slope([(k, e) for k, e in zip(steps, errors, strict=True) if k in used], exact),
        tuple(used),
        tuple(orders),
        exact.about,
        random,
    )


@dataclass(frozen=True)
class _Run:
    """A solver on a field from fixed points, in grids of so many steps."""

    solver: Solver
    field: Field
    x: Tensor
    times: Callable[[int], Tensor]
    seed: int

    def __call__(self, steps: int) -> tuple[Tensor, int]:
        """The end points and the evaluations spent."""
        done = self.solver(self.field, self.x, self.times(steps), rng=Rng(self.seed))
        return done.x, done.nfe

    def with_seed(self, seed: int) -> _Run:
        return _Run(self.solver, self.field, self.x, self.times, seed)


@dataclass(frozen=True)
class _Exact:
    """Reference end points, their own error, and the solver's steps that made them, if it did."""

    x: Tensor
    error: float
    steps: float
    about: str
    power: int = 1  # of the errors, whose difference is that from the reference


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).flatten(1).square().mean(1).sqrt().mean())


def _is_random(run: _Run, steps: int) -> bool:
    with torch.no_grad():
        one, two = (run.with_seed(run.seed + k)(steps)[0] for k in (0, 1))
    return not torch.equal(one, two)


def _exact(
    run: _Run, steps: Sequence[int], reference: Tensor | Solver | None, random: bool
) -> _Exact:
    size = 1e-13 * float(run.x.abs().max())
    if isinstance(reference, Tensor):
        return _Exact(reference.double(), size, math.inf, "given end points")
    if not random:
        ends = run.times(1)[[0, -1]]
        tight = reference or get_solver("dopri5-rows", rtol=_TOLERANCE, atol=_TOLERANCE)
        end = tight(run.field, run.x, ends if tight.adaptive else run.times(_FINER * steps[-1]))
        if reference is not None and repr(reference) != repr(run.solver):
            return _Exact(end.x, size, math.inf, repr(reference))
        if reference is None and not bool(end.status.any()):
            loose = get_solver("dopri5-rows", rtol=10 * _TOLERANCE, atol=10 * _TOLERANCE)
            gap = _distance(loose(run.field, run.x, ends).x, end.x)
            return _Exact(end.x, max(size, gap), math.inf, repr(tight))
    finest = _FINER * steps[-1]
    where = "along the same Brownian path" if random else "of its own"
    return _Exact(run(finest)[0], size, finest, f"{finest} steps {where}", 2 if random else 1)


def _asymptotic(
    steps: Sequence[int], errors: Sequence[float], exact: _Exact, steady: float
) -> tuple[list[int], list[float]]:
    """The steps from the finest above round-off back to where the order is no longer steady."""
    points = [
        (k, e) for k, e in zip(steps, errors, strict=True)
        if math.isfinite(e) and e > _ABOVE * exact.error
    ]  # fmt: skip
    if len(points) < 2:
        raise ValueError(
            f"the errors {', '.join(f'{e:.1e}' for e in errors)} are not above the reference's "
            f"own, {exact.error:.1e}, at two grids; use fewer steps"
        )
    orders = [_slope(list(pair), exact) for pair in pairwise(points)]
    first = len(orders) - 1
    while first > 0 and abs(orders[first - 1] - orders[-1]) < steady * max(1.0, orders[-1]):
        first -= 1
    return [k for k, _ in points[first:]], orders[first:]


def _slope(points: Sequence[tuple[int, float]], exact: _Exact) -> float:
    """The p that fits log error^q = c + log(K^-qp - K_0^-qp) best, q the reference's power."""
    finest, q = exact.steps, exact.power

    def misfit(p: float) -> float:
        rest = [q * math.log(e) - math.log(k ** (-q * p) - finest ** (-q * p)) for k, e in points]
        middle = sum(rest) / len(rest)
        return sum((r - middle) ** 2 for r in rest)

    if math.isinf(finest):
        u = [math.log(k) for k, _ in points]
        v = [math.log(e) for _, e in points]
        mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
        top = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
        return -top / sum((a - mean_u) ** 2 for a in u)
    low, high = 1e-3, 12.0
    for _ in range(80):  # golden section: the misfit has one minimum
        a, b = high - 0.618034 * (high - low), low + 0.618034 * (high - low)
        low, high = (low, b) if misfit(a) < misfit(b) else (a, high)
    return (low + high) / 2
