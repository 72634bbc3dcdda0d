"""The likelihood card: a log-likelihood with everything that it is made of and uncertain by."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.exact import Empirical
from diffode.fields.mixture import Mixture
from diffode.fields.poisson import PoissonField
from diffode.likelihood.density import STEPS, TOLERANCE, LogProb, log_prob
from diffode.likelihood.dequantisation import Quantisation, bits_per_dim
from diffode.likelihood.divergence import FEWEST, PROBES, Trace
from diffode.likelihood.products import MEANT
from diffode.solvers import Solver, get_solver
from diffode.solvers.status import DONE

LOOSER = 10.0


@dataclass(frozen=True)
class LikelihoodCard:
    """Log-likelihoods of points, and what they are made of.

    Attributes:
        result: the log-densities of the points, with the prior; figures leave out the points that
            did not finish, and say how many.
        dim: the number N of coordinates.
        levels: the values that the data took before they were dequantised; None if they are as
            they came.
        mismatch: log p(x) - log prior(x) at t_prior, shape (B,): what the prior costs beside the
            true law there; ``nats + mismatch`` is the log-density with that law. None: not known.
        effect: what ten times the tolerance (half the steps) changes, shape (B,).
        trace, solver: how the trace was taken, and by what.
        level: alpha and sigma at t_data, where the density is that of the points with their
            noise; None for a field without a schedule.
        signal: alpha s / sigma at t_prior, s the data's rms standard deviation: what the path
            still shows of the data there, and the prior does not; None without a schedule.
        taken: which moments of the data the field takes because nobody stated them.
    """

    result: LogProb
    dim: int
    levels: Quantisation | None
    mismatch: Tensor | None
    effect: Tensor
    trace: Trace
    solver: str
    level: tuple[float, float] | None
    signal: float | None = None
    taken: str = ""

    def figures(self) -> dict[str, Any]:
        """The means over the points that finished, in nats where nothing else is said."""
        done = self.result.status == DONE
        r, count = self.result.rows(done), int(done.sum())
        mismatch = None if self.mismatch is None else float(self.mismatch[done].mean())
        effect = self.effect[self.effect.isfinite()].abs()  # of rows that finished both times
        bits = bits_per_dim(r.nats, self.dim, self.levels)
        spread = float(r.nats.std()) if count > 1 else math.inf
        return {
            "points": count,
            "unfinished": len(done) - count,
            "dim": self.dim,
            "nats": float(r.nats.mean()),
            "nats_stderr": spread / math.sqrt(count),
            "bits_per_dim": float(bits.mean()),
            "bits_stderr": spread / math.sqrt(count) / (self.dim * math.log(2)),
            "levels": None if self.levels is None else self.levels.count,
            "offset_bits": 0.0 if self.levels is None else 0.0 - math.log2(self.levels.width),
            "prior": float(r.prior.mean()),
            "divergence": float(r.divergence.mean()),
            "units": r.units,
            "prior_mismatch": mismatch,
            "signal_at_prior": self.signal,
            "tolerance_effect": float(effect.mean()),
            "tolerance_effect_max": float(effect.max()) if len(effect) else math.nan,
            "estimator_error": float(r.stderr.square().sum().sqrt() / count),
            "estimator_error_each": float(r.stderr.square().mean().sqrt()),
            "nfe": r.nfe,
            "trace": self.trace,
            "products": r.way,
            "solver": self.solver,
            "alpha": None if self.level is None else self.level[0],
            "sigma": None if self.level is None else self.level[1],
        }

    def rows(self) -> list[tuple[str, str, str]]:
        """The card's lines: what, how much, and what it means."""
        f = self.figures()
        quantised = "of the density itself, not of quantised data"
        if self.levels is not None:
            quantised = (
                f"{self.levels.count} values, dequantised uniformly over their distance "
                f"{self.levels.width:.4g}: offset {f['offset_bits']:+.3f}"
            )
        where = "at t_data"
        if self.level is not None:
            where += f" (alpha {self.level[0]:.4g}, sigma {self.level[1]:.4g})"
        mismatch = "not known: no data or exact law to compare with"
        if self.mismatch is not None:
            mismatch = "log p - log prior at t_prior: add it for the true law's likelihood"
        error, each = f["estimator_error"], f"{f['estimator_error_each']:.2g} for one point"
        estimated = f"of the mean ({self.trace}), {each}; about 95 % within 1.96 of it"
        if not math.isfinite(error):
            estimated = f"not stated of fewer than {FEWEST} probes ({self.trace})"
        elif not error:
            estimated = "exact trace"
        units = []
        if f["units"]:
            units = [("units term", f"{f['units']:+.4f}", "per unit of the data, not the model")]
        moments = []
        if self.taken:
            moments = [("moments", "taken", f"{self.taken}, as nobody stated those of the data")]
        way = self.result.way
        products = [("products", way, MEANT[way])] if way in MEANT else []
        return [
            ("nats", f"{f['nats']:.4f}", f"+- {f['nats_stderr']:.2g} over the points, {where}"),
            ("bits per dimension", f"{f['bits_per_dim']:.4f}", quantised),
            ("prior term", f"{f['prior']:.4f}", "log prior where the points came from"),
            ("divergence term", f"{f['divergence']:.4f}", "the change on the way"),
            *units,
            (
                "prior mismatch",
                "-" if self.mismatch is None else f"{f['prior_mismatch']:+.2g}",
                mismatch,
            ),
            (
                "signal at t_prior",
                "-" if self.signal is None else f"{self.signal:.2g}",
                "alpha s / sigma, s of the data: what the prior does not know",
            ),
            (
                "tolerance effect",
                f"{f['tolerance_effect']:.2g}",
                f"at most {f['tolerance_effect_max']:.2g}, of ten times the tolerance or half "
                "the steps",
            ),
            (
                "estimator error",
                f"{error:.2g}" if math.isfinite(error) else "-",
                estimated,
            ),
            *moments,
            *products,
            ("evaluations", f"{f['nfe']}", self.solver),
        ]

    def __str__(self) -> str:
        count = int((self.result.status == DONE).sum())
        title = f"likelihood of {count} points of {self.dim} coordinates, means in nats"
        if said := self.result.shortfall():
            title += f"; left out: {said}"
        return "\n".join([title, *(f"  {a:<19} {b:>12}  {c}" for a, b, c in self.rows())])


def likelihood_card(
    field: Field,
    x: Tensor,
    trace: Trace = "exact",
    solver: Solver | str | None = None,
    steps: int | None = None,
    y: Tensor | None = None,
    levels: Quantisation | None = None,
    terminal: Callable[[Tensor], Tensor] | None = None,
    batch: int | None = None,
    seed: int = 0,
    probes: int = PROBES,
    progress: Callable[[int], None] | None = None,
    **options: Any,  # noqa: ANN401
) -> LikelihoodCard:
    """Measure the likelihood of points, the same with a looser solver, and the prior's mismatch.

    Arguments:
        field: an unbound field with a prior.
        x: points in the units of the data, shape (B, *event), dequantised already where ``levels``
            is given.
        levels: the values that the data took before, in their units.
        terminal: the true log-density at t_prior, as `diffode.likelihood.law_at_prior` gives it
            from training data; by default that of an exact field, which knows it.
        trace, solver, steps, y, batch, seed, probes, options: as for `diffode.log_prob`.
        progress: called with the number of points done, up to 2 B: each is solved twice.

    Raises:
        ValueError, TypeError: as `diffode.log_prob`; a ValueError if no point gets there.
    """
    x = field.as_state(x)
    y = field.as_labels(y, len(x))
    if isinstance(solver, Solver) and options:
        raise ValueError("solver options go with a solver's name, not with a solver")
    if solver is None:
        solver, options = "dopri5", {"rtol": TOLERANCE, "atol": TOLERANCE, **options}
    solver = solver if isinstance(solver, Solver) else get_solver(solver, **options)
    shared: dict[str, Any] = {"y": y, "batch": batch, "seed": seed, "probes": probes}
    shared["gradient"] = "none"
    result = log_prob(field, x, trace, None, solver, steps, progress=progress, **shared)
    if not bool((result.status == DONE).any()):
        raise ValueError(f"there is no likelihood: {result.shortfall()}")

    def second(done: int) -> None:
        if progress is not None:
            progress(len(x) + done)

    other, fewer = _looser(solver, steps)
    rough = log_prob(field, x, trace, None, other, fewer, progress=second, **shared)
    known = terminal or _law(field, y)
    mismatch = None
    if known is not None and field.prior is not None:
        latent = result.latent.double()
        with torch.no_grad():
            mismatch = known(latent) - field.prior.log_prob(latent)
    level = signal = None
    if isinstance(field, AffineField):
        level, signal = field.schedule.ends()[1], field.signal
    effect = rough.nats - result.nats
    dim = x[0].numel()
    return LikelihoodCard(
        result, dim, levels, mismatch, effect, trace, repr(solver), level, signal,
        getattr(field, "taken", ""),
    )  # fmt: skip


def _looser(solver: Solver, steps: int | None) -> tuple[Solver, int | None]:
    """A solver of ten times the tolerances, or half the steps."""
    tolerances = [name for name in ("rtol", "atol") if hasattr(solver, name)]
    if not tolerances:
        return solver, max(1, (steps or STEPS) // 2)
    other = copy(solver)
    for name in tolerances:
        setattr(other, name, getattr(solver, name) * LOOSER)
    return other, steps


def _law(field: Field, y: Tensor | None) -> Callable[[Tensor], Tensor] | None:
    """The exact log-density at t_prior of a field that knows it, of each point's class."""
    exact = field.inner if isinstance(field, PoissonField) else field  # its plane form
    if not isinstance(exact, Empirical | Mixture):
        return None
    return lambda x: exact.log_marginal(x, field.span[0], y)
