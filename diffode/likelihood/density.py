r"""The log-density of a flow, by the continuous change of variables.

Along a flow :math:`x' = f_t(x)` the density obeys :math:`d \log p_t(x_t) / dt = - \nabla \cdot
f_t(x_t)`, so that

.. math:: \log p_{t_{data}}(x) = \log p_{t_{prior}}(x_T)
          + \int_{t_{data}}^{t_{prior}} \nabla \cdot f_t(x_t) \, dt.

The point and the integral are one state with N + 1 numbers that a solver moves from t_data to
t_prior: an adaptive method controls the error of both. Affine fields are integrated in the
angle (`diffode.fields.rescheduled`), where the flow of one Gaussian stands still and only what
differs from it is left to integrate; the change of state by the factor c adds N log c.

References: Chen et al. (2018), https://arxiv.org/abs/1806.07366, eq. 8; FFJORD (Grathwohl et al.,
2019), https://arxiv.org/abs/1810.01367, section 3 (the estimated trace, its directions fixed
along a solve).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from diffode.doors import Numbers, as_count
from diffode.fields.base import Field
from diffode.fields.complete import require_field
from diffode.fields.corruption import Corrupting
from diffode.fields.reschedule import usual_clock
from diffode.likelihood.adjoint import Gradient, integrate
from diffode.likelihood.divergence import (
    PROBES,
    Trace,
    check,
    plain,
    sketch,
    stated_error,
)
from diffode.likelihood.products import WAYS, Known, Way
from diffode.likelihood.transport import Transport
from diffode.rng import Rng
from diffode.sampling.batches import by_batches
from diffode.solvers import get_solver
from diffode.solvers.base import Solver
from diffode.solvers.status import DONE, LOST, shortfall

TOLERANCE, STEPS, PILOT = 1e-6, 64, 16


@dataclass(frozen=True)
class LogProb:
    r"""Log-densities in nats, float64; each tensor has shape (B,), one number for each point.

    Attributes:
        nats: log p at the points, ``prior + divergence + units``.
        prior: the log-density of the prior, or of ``terminal``, where the points came from.
        divergence: the change on the way: the integral of the divergence.
        stderr: the error of ``nats`` by the probes' spread: nats +- 1.96 stderr covers the exact
            trace's answer in about 95 % of cases (`diffode.likelihood.divergence.stated_error`; 89
            to 98 % on exact fields); 0 for the exact trace, infinite for fewer than 10 probes,
            whose spread says too little. The solver's tolerance is not in it.
        nfe: evaluations of the velocity with its divergence, the most of any batch. Network calls
            are not told: most of the work is products with the Jacobian, N, K or 2 K of them an
            evaluation at once, and what they cost is no number of calls.
        latent: where the points came from, at t_prior, shape (B, *event).
        status: 0 for each row that got there with a finite answer; ``nats``, ``prior`` and
            ``divergence`` of rows that did not are NaN (see `Solution`).
        units: what the data's units add, ``Field.log_volume``: :math:`-\sum \log w` over the
            widths of ``Field.scaling``, and on another clock how much wider its state is. The same
            for all points: the density is per unit of the data.
        way: how the divergence's products were formed, see `diffode.likelihood.products`.
    """

    nats: Tensor
    prior: Tensor
    divergence: Tensor
    stderr: Tensor
    nfe: int
    latent: Tensor
    status: Tensor
    units: float = 0.0
    way: Way = WAYS[0]

    def rows(self, index: Tensor) -> LogProb:
        """The same for these points."""
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        parts |= {k: v[index] for k, v in parts.items() if isinstance(v, Tensor)}
        return LogProb(**parts)

    @property
    def nfe_per_row(self) -> Tensor:
        """The most that any row took, for each row."""
        return torch.full_like(self.status, self.nfe)

    def shortfall(self, what: str = "points") -> str:
        """One line on the points that did not get there; empty where all did."""
        return shortfall(self.status, self.nfe_per_row, what)


def log_prob(
    field: Field,
    x: Tensor,
    trace: Trace = "exact",
    terminal: Callable[[Tensor], Tensor] | None = None,
    solver: Solver | str | None = None,
    steps: int | None = None,
    y: Numbers | int | None = None,
    batch: int | None = None,
    seed: int = 0,
    probes: int = PROBES,
    gradient: Gradient | None = None,
    clock: str | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,  # noqa: ANN401
) -> LogProb:
    r"""The log-density that a field's flow gives to points, its noise at t_data included.

    It is the density of :math:`x_{t_{data}} = \alpha x_0 + \sigma n`, not of :math:`x_0`. The
    prior is not quite the law of :math:`x_{t_{prior}}` (VP: about 1e-2 nats); ``terminal`` takes
    its place. A `PoissonField` is evaluated in its plane form, whose prior has a density;
    samples started on its hemisphere follow that law as sigma_max grows.

    Arguments:
        field: an unbound field with a prior, its rows treated apart.
        x: points at t_data in the units of the data (``Field.scaling``), shape (B, *event);
            integrated in float64 whatever their type.
        trace: "exact" (N products with the Jacobian an evaluation), "hutchinson" (K) or
            "hutch++" (2 K; its range is found once, in a coarse solve before), see
            `diffode.likelihood.divergence`.
        terminal: a log-density at t_prior, (B, *event) -> (B,), in place of the prior's, such as
            ``lambda x: mixture.log_marginal(x, mixture.span[0])``.
        solver: a solver of any `Field`, or its name; None is dopri5 at rtol = atol = 1e-6.
        steps: of a solver with steps of its own, equal in the clock; 64 if None.
        y: labels, shape (B,): a tensor, an array or a list; one label stands for all.
        batch: rows held at once; None for all. A method that couples rows chooses its steps by
            the batch.
        seed: of the probes; row i of x depends on (seed, i) alone.
        probes: K, the number of independent estimates. From N on the trace is taken exactly, by
            the N products with the coordinates' directions.
        gradient: "direct" differentiates the solver's own operations; "adjoint" solves a second
            flow backwards, in memory that does not grow with the steps (torchdiffeq's adaptive
            Runge-Kutta methods); "none" neither. None is "direct" where x requires a gradient
            and "none" elsewhere: parameters get theirs where one of the two is asked for.
        clock: the time and state to integrate in, see `diffode.fields.rescheduled`; None is the
            solver's own where that is not the native one, else the angle for affine fields.
        progress: called with the number of points that are done after each batch.
        options: of the named solver, such as ``rtol``.

    Raises:
        ValueError: a bound Poisson field, a field without a prior and no ``terminal``, a count,
            shape or option that does not fit, or a solve that fails.
        TypeError: a solver that adds noise or cannot move a plain `Field`, or a field whose
            derivatives do not tell its divergence (``Field.smooth``).
    """
    require_field(field)
    if isinstance(field, Corrupting):
        raise TypeError(
            f"log_prob needs a velocity, and {type(field).__name__} has none: it is a corruption; "
            "diffode.likelihood.elbo bounds the log-probability of tokens from below"
        )
    if field.is_bound:
        raise ValueError(
            f"this {type(field).__name__} has no prior (a Poisson field bound to q gives x alone "
            "no density); use the plane form, q=None"
        )
    known_end = density_at_start(field, terminal)
    check(trace, field)
    x = field.as_state(x)
    y = field.as_labels(y, len(x))
    batch = None if batch is None else as_count(batch, "batch")
    probes = as_count(probes, "probes")
    if batch is not None and batch < 1:
        raise ValueError(f"got batch={batch}; it counts from 1")
    solver, clock = _chosen(field, solver, options, clock)
    if gradient is None:
        gradient = "direct" if x.requires_grad and torch.is_grad_enabled() else "none"
    x, y = x.to(field.device), None if y is None else y.to(field.device)
    units, known = field.log_volume, Known()

    def measured(rows: slice) -> LogProb:
        index = torch.arange(rows.start, rows.stop, device=x.device)
        points = field.from_data(x[index].double())
        labels = None if y is None else y[index]
        rng, transport = Rng(seed).rows(index), Transport(field, None, clock, known)
        transport, spent = _prepared(transport, points, labels, trace, probes, rng)
        times = transport.times(1 if solver.adaptive else steps or STEPS)
        end = integrate(solver, transport, transport.to_state(points), times, labels, gradient)
        latent, change = transport.from_state(end.x)
        prior, mean = known_end(latent), change.mean(1)
        exact = transport.probes is None
        error = torch.zeros_like(mean) if exact else stated_error(change.detach())
        done = end.status == DONE
        nats = (prior + mean + units).where(done, math.nan)
        return LogProb(
            nats=nats,
            prior=prior.where(done, math.nan),
            divergence=mean.where(done, math.nan),
            stderr=error,
            nfe=end.nfe + spent,
            latent=latent.to(x),
            status=end.status.masked_fill(done & ~nats.isfinite(), LOST),
            units=units,
            way=known.way,
        )

    with torch.set_grad_enabled(gradient != "none"):
        parts = by_batches(len(x), batch, measured, x.device, progress)
    names = ("nats", "prior", "divergence", "stderr", "latent", "status")
    joined = {name: torch.cat([getattr(p, name) for p in parts]) for name in names}
    return LogProb(nfe=max(p.nfe for p in parts), units=units, way=parts[0].way, **joined)


def density_at_start(
    field: Field, terminal: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """The log-density of a flow's starting points: what was given, or the prior's.

    Raises:
        ValueError: none was given, and the field starts from points without a known one.
    """
    if terminal is not None:
        return terminal
    if field.prior is None:
        raise ValueError(
            f"this {type(field).__name__} starts from points whose density is not known, so that "
            "it gives none; in Python pass terminal=, a log-density at t_prior"
        )
    return field.prior.log_prob


def _prepared(
    transport: Transport,
    points: Tensor,
    y: Tensor | None,
    trace: Trace,
    probes: int,
    rng: Rng,
) -> tuple[Transport, int]:
    """The flow with the directions of its estimate, and the evaluations that they cost."""
    if trace == "exact" or probes >= transport.dim:
        return transport, 0
    if trace == "hutchinson":
        return transport.estimated(plain(rng, points, probes)), 0
    directions = sketch(rng, points, probes)
    with torch.no_grad():
        pulled = transport.pulled(directions, points, transport.times(PILOT), y)
    return transport.estimated(
        plain(rng, points, probes, "sphere").beyond(directions, pulled)
    ), PILOT


def _chosen(
    field: Field, solver: Solver | str | None, options: dict[str, Any], clock: str | None
) -> tuple[Solver, str]:
    """The solver, set to integrate in the time it is given, and the clock of that time."""
    if isinstance(solver, Solver) and options:
        raise ValueError("solver options go with a solver's name, not with a solver")
    if solver is None:
        solver, options = "dopri5", {"rtol": TOLERANCE, "atol": TOLERANCE, **options}
    chosen = solver if isinstance(solver, Solver) else get_solver(solver, **options)
    if chosen.normal_only:
        raise TypeError(f"{chosen.name} adds noise; a density is carried by a flow: use dopri5")
    if clock is None:
        own = chosen.clock not in ("native", "auto")
        clock = chosen.clock if own else usual_clock(field)
    chosen = copy(chosen)
    chosen.clock = "native"
    return chosen, clock
