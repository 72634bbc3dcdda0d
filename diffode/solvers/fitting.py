r"""Times fitted to one field: the best grid for a solver and a number of steps.

A few pilot flows are solved tightly; then the interior times, and on request the weights of a
multistep method, are moved until the solver's end points lie closest to theirs. The loss of a row
at RMS distance e is :math:`\log(1 + e^2/\delta^2)`, with delta the first median distance, so that
a sample that ends in another mode does not decide. Half of the pilots are held out to say what
was gained.

References: Watson et al. (2022), https://arxiv.org/abs/2202.05830 (times by gradient descent);
Shaul et al. (2024), https://arxiv.org/abs/2403.01329 (times and weights against exact pilots).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.rng import Rng
from diffode.solvers import get_solver, grid
from diffode.solvers.base import Solver
from diffode.solvers.fitted import FittedGrid, probe_of
from diffode.solvers.grids import spacing
from diffode.solvers.multistep import Multistep
from diffode.solvers.scaled import Scaled
from diffode.warned import warn

Array = np.ndarray
_BASE = 5.0  # of the fitted numbers: finite differences are relative to them


def fit_grid(
    field: AffineField,
    solver: str = "trig",
    steps: int = 10,
    pilot: int = 512,
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    weights: bool = False,
    rounds: int = 40,
    progress: Callable[[float], None] | None = None,
) -> FittedGrid:
    """Fit the times of a solver, and perhaps its weights, to a field.

    Arguments:
        field: exact or trained.
        solver: the name of a solver of fixed steps, and its ``options``.
        steps: the number of steps.
        pilot: how many flows are solved tightly; half of them are held out.
        seed: of their starting points.
        weights: fit the weights of a multistep method too. Where that does not help the held-out
            pilots it is undone, with a warning.
        rounds: of the optimiser, at most.
        progress: called with the loss relative to its first value, after each round
            of the times, then of the weights.

    Raises:
        TypeError: a field without a schedule, a solver that adds noise, or weights of one that
            has none.
        ValueError: fewer than 2 steps or 8 pilots, or flows that are not finite.
    """
    if not isinstance(field, AffineField):
        raise TypeError(f"{type(field).__name__} has no schedule to place times on")
    if steps < 2 or pilot < 8:
        raise ValueError(f"got steps={steps}, pilot={pilot}; wanted at least 2 and 8")
    chosen = get_solver(solver, **(options or {}))
    if chosen.adaptive:
        raise ValueError(f"{solver} chooses its own steps; fit a grid to a solver of fixed steps")
    if chosen.normal_only:
        raise TypeError(f"{solver} adds noise; a grid is fitted to the ends of a flow: take trig")
    if weights and not isinstance(chosen, Multistep):
        raise TypeError(f"{solver} has no weights to fit; use trig or another multistep method")
    task = _Task(field, chosen, steps, pilot, seed)
    with torch.no_grad():
        times = task.fit_times(rounds, progress)
        before, after = task.held_out(task.own, None), task.held_out(times, None)
    if after > before:
        times, after = task.own, before
    scales = None
    if weights:
        assert isinstance(chosen, Multistep)
        scales = task.fit_scales(chosen, times, rounds, progress)
        better = task.held_out(times, scales)
        if better < after:
            after = better
        else:
            scales = None
            warn(
                f"fitted weights raise the held-out error from {after:.3g} to {better:.3g}: they "
                "overfit, and are left out; give more pilots"
            )
    return FittedGrid(
        times=times.tolist(),
        solver=solver,
        options=dict(options or {}),
        scales=scales,
        before=before,
        after=after,
        probe=probe_of(field),
    )


class _Task:
    """The pilots, and what is minimised over them."""

    def __init__(
        self, field: AffineField, solver: Solver, steps: int, pilot: int, seed: int
    ) -> None:
        self.solver, self.field = solver, field
        start = field.start(pilot, Rng(seed))
        assert isinstance(start.field, AffineField)
        x = start.x.double()
        self.own = grid(field, steps, solver.grid)
        with torch.no_grad():
            tight = get_solver("trig")
            pilots = tight(start.field, x, grid(field, max(200, 10 * steps), tight.grid))
            first = solver(start.field, x, self.own)
        for made in (pilots, first):
            if said := made.shortfall("pilot flows"):
                raise ValueError(f"a grid is fitted to flows that reach the data: {said}")
        half = pilot // 2
        self.parts = []
        for index in (torch.arange(half), torch.arange(half, pilot)):
            index = index.to(x.device)
            self.parts.append((start.field.rows(index), x[index], pilots.x[index]))
        self.delta = float(self.errors(self.own, self.solver, 0).median())
        self.spacing = spacing(field, "mixed", steps)
        self.schedule = field.schedule

    def errors(self, times: Tensor, solver: Solver, part: int) -> Tensor:
        """The RMS distance of each row's end to its pilot's."""
        field, x, end = self.parts[part]
        gap = solver(field, x, times).x - end
        return gap.flatten(1).square().mean(1).sqrt()

    def loss(self, times: Tensor, solver: Solver) -> Tensor:
        """The mean over pilots of log(1 + e^2 / delta^2)."""
        ratio = self.errors(times, solver, 0) / self.delta
        return ratio.square().log1p().mean()

    def held_out(self, times: Tensor, scales: list[list[float]] | None) -> float:
        """The RMS distance over the held-out pilots, in the loss's own robust mean."""
        solver = self.solver
        if scales is not None:
            assert isinstance(solver, Multistep)
            solver = Scaled(solver, scales)
        ratio = self.errors(times, solver, 1) / self.delta
        return self.delta * float(ratio.square().log1p().mean().expm1().sqrt())

    def fit_times(self, rounds: int, progress: Callable[[float], None] | None) -> Tensor:
        """Times that are positive fractions of the grid's variable, by least squares."""
        from scipy.optimize import least_squares

        warped = self.spacing.warp(self.schedule.rho(self.own).clamp_max(1e12))
        gaps = warped.diff()
        logits = (gaps / gaps.sum()).log().numpy()

        def times(point: Array) -> Tensor:
            fraction = torch.softmax(torch.from_numpy(logits + point - _BASE), 0).cumsum(0)
            u = warped[0] + (warped[-1] - warped[0]) * fraction
            out = self.own.clone()
            out[1:-1] = self.schedule.time(self.spacing.inverse(u[:-1])).to(out)
            return out

        def residuals(point: Array) -> Array:
            ratio = self.errors(times(point), self.solver, 0) / self.delta
            return ratio.square().log1p().sqrt().cpu().double().numpy()

        start = np.full_like(logits, _BASE)
        first = float(np.square(residuals(start)).sum())

        def tell(intermediate_result: Any) -> None:  # noqa: ANN401
            if progress is not None:
                progress(2 * float(intermediate_result.cost) / first)

        best = least_squares(
            residuals,
            start,
            bounds=(_BASE - 3, _BASE + 3),
            diff_step=1e-3 / _BASE,
            max_nfev=rounds,
            ftol=1e-4,
            callback=tell,
        )
        return times(best.x)

    def fit_scales(
        self,
        solver: Multistep,
        times: Tensor,
        rounds: int,
        progress: Callable[[float], None] | None,
    ) -> list[list[float]]:
        """Factors of the multistep weights, by L-BFGS on gradients through the solve."""
        order = solver.rule(len(times) - 1, self.field).order
        steps = len(times) - 1
        factors = torch.zeros(steps, order, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [factors], max_iter=rounds, line_search_fn="strong_wolfe", history_size=20
        )

        losses: list[float] = []

        def closure() -> Tensor:
            optimiser.zero_grad()
            with torch.enable_grad():
                rows = [[1 + c for c in row] for row in factors]
                loss = self.loss(times, Scaled(solver, rows))
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
            if progress is not None:
                progress(losses[-1] / losses[0])
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return [[1 + float(c) for c in row] for row in factors.detach()]
