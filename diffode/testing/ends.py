"""The ends of a flow: where the prior is, where the data is, and whether it leads there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffode.data.scaling import model_units
from diffode.fields.base import Field
from diffode.fields.exact import Empirical
from diffode.fields.schedules import Schedule
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.solvers import get_solver
from diffode.testing.findings import Finding
from diffode.testing.mistakes import MISTAKES
from diffode.training.suitability import signal

_N, _DRAWS = 128, 1024
_PRIOR, _DATA = 1.4, 1.5  # ratios of scales that count as equal
_AWAY = 1.0  # an energy distance that no training explains: samples lie beside the data
_MOST = 300  # evaluations of a flow
_WHERE = "look at the sign, the units and the clock of the velocity, and whether it was trained"


def direction(field: Field, schedule: Schedule) -> Finding:
    """Whether the span leads from much noise to little."""
    levels = schedule.rho(torch.tensor(field.span, dtype=torch.float64)).tolist()
    words = f"rho = sigma/alpha goes from {levels[0]:.4g} to {levels[1]:.4g} along {field.span}"
    if levels[0] > levels[1]:
        return Finding("direction", True, "the span leads from the prior to the data", words)
    if tuple(field.span) != tuple(schedule.span):
        return Finding(
            "direction",
            False,
            "the span runs from the data to the prior",
            words,
            f"span is (t_prior, t_data), here {schedule.span}",
            "reversed time",
        )
    return Finding(
        "direction",
        False,
        "the span runs from the data to the prior, or alpha and sigma are swapped",
        words,
        "span is (t_prior, t_data); sigma is 0 and alpha 1 at the data",
        "reversed time",
        ("swapped alpha and sigma",),
    )


def prior(field: Field, exact: Empirical) -> Finding:
    """Whether the prior is as wide as the path at t_prior."""
    start = field.start(_DRAWS, Rng(3))
    t = field.span[0]
    centre = float(exact.schedule.alpha(torch.tensor(t, dtype=torch.float64))) * exact.moments[0]
    x = start.x.detach().double().cpu()
    q = start.field.latent(start.x).q
    path, _ = exact.corrupt(exact.sample(_DRAWS, Rng(4)), t, Rng(5))
    if q is not None:  # a hemisphere: compare radii in N + D dimensions
        dim = x[0].numel() + getattr(exact.noise, "dof", 0.0)
        height = q.detach().double().cpu() * float(t)
        found = float(((x - centre).flatten(1).square().sum(1) + height.square()).sqrt().median())
        wanted = math.sqrt(dim) * float(t)
    else:
        found, wanted = (float((p - centre).flatten(1).norm(dim=1).median()) for p in (x, path))
    ratio = found / max(wanted, 1e-300)
    words = f"median distance from the centre {found:.4g}, that of the path {wanted:.4g}"
    if 1 / _PRIOR < ratio < _PRIOR:
        return Finding("prior", True, "the prior is as wide as the path at t_prior", words)
    if q is None and ratio < 1 and (early := _early(exact, found, centre, t)) is not None:
        return early
    return Finding(
        "prior",
        False,
        f"the prior's scale is {ratio:.3g} times that of the path at t_prior",
        words,
        "start from noise.at(sigma(t_prior), alpha(t_prior) * mean)",
        "prior scale",
    )


def _early(exact: Empirical, found: float, centre: Tensor, t: float) -> Finding | None:
    """Where a prior has the noise's own width: that the path is wider, by what it still shows."""
    sigma = float(exact.schedule.sigma(torch.tensor(t, dtype=torch.float64)))
    noise = exact.noise.at(sigma).sample((_DRAWS, *centre.shape), Rng(4), dtype=torch.float64)
    own = float(noise.flatten(1).norm(dim=1).median())
    if not 1 / _PRIOR < found / own < _PRIOR:
        return None
    kept = signal(exact, exact.points)
    return Finding(
        "prior",
        False,
        "the schedule ends before the noise hides the data",
        f"alpha s / sigma is {kept:.2g} at t_prior, and the prior is as wide as the noise alone",
        "go on to more noise (sigma_max, beta_max, timesteps), or scale the data down",
        "short schedule",
    )


@dataclass(frozen=True)
class _Flow:
    """Where a flow ends: the energy distance to the data, in units of its scatter, and scale."""

    distance: float
    std: float


def _ended(field: Field, x: Tensor, data: Tensor) -> _Flow:
    """The rows that arrived, against the data."""
    rows = x.detach().double().cpu().flatten(1)
    whole = rows.isfinite().all(1)
    if int(whole.sum()) < _N // 2:
        return _Flow(math.inf, math.inf)
    rows, points = rows[whole], data.flatten(1)
    scatter = _apart(points, points)
    near = 2 * _apart(rows, points) - _apart(rows, rows) - scatter
    centred = rows - points.mean(0)
    spread = centred.square().mean(1).sqrt().quantile(torch.tensor(0.5).double())
    usual = (points - points.mean(0)).square().mean(1).sqrt().median()
    return _Flow(near / scatter, float(spread / usual))


def _apart(x: Tensor, y: Tensor) -> float:
    """The mean distance of two sets, from differences: a product of far points loses digits."""
    return float(torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").mean())


class Turned(Field):
    """A field with the velocity turned, with time reversed, or both."""

    def __init__(self, inner: Field, how: Literal["sign", "reversed time", "other clock"]) -> None:
        super().__init__()
        self.inner, self.how = inner, how
        self.prior, self.span, self.event_shape = inner.prior, inner.span, inner.event_shape
        self.sampling_defaults, self.smooth = inner.sampling_defaults, inner.smooth

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The inner velocity, turned, or at the mirrored time."""
        if self.how != "sign":
            t = self.span[0] + self.span[1] - torch.as_tensor(t, dtype=torch.float64)
        v = self.inner.velocity(x, t, y)
        return v if self.how == "reversed time" else -v


def _run(field: Field, data: Tensor) -> _Flow:
    loose = get_solver("dopri5-rows", rtol=1e-2, atol=1e-2, max_nfe=_MOST)
    try:
        solution = sample(
            field, _N, None if field.sampling_defaults else loose, seed=6, final="none"
        )
    except (ValueError, RuntimeError):
        return _Flow(math.inf, math.inf)
    return _ended(field, model_units(solution.x, field.scaling), data)


def flow(field: Field, data: Tensor, learned: bool, known: bool) -> Finding:
    """Whether the flow takes the prior to the data.

    Arguments:
        field: with a prior.
        data: points, shape (M, *event), float64.
        learned: whether the field has parameters, so that it may be untrained.
        known: whether its velocity has been compared with the exact one already.
    """
    points = data[Rng(8).permutation("flow", len(data))[:1000]]
    end = _run(field, points)
    words = (
        f"samples end at {end.std:.3g} times the data's scale, energy distance {end.distance:.2g}"
    )
    if not math.isfinite(end.distance):
        words = f"half of the samples or more have no finite end, or need over {_MOST} evaluations"
    if end.distance < 0.1 and 1 / _DATA < end.std < _DATA:
        return Finding("flow", True, "the flow takes the prior to the data", words)
    if not known:
        ways: tuple[Literal["sign", "reversed time", "other clock"], ...] = (
            "sign", "reversed time", "other clock",
        )  # fmt: skip
        ends = [(_run(Turned(field, how), points), how) for how in ways]
        best, how = min(ends, key=lambda e: e[0].distance)
        if best.distance < 0.1 and best.distance < 0.25 * end.distance:
            message, advice = MISTAKES[how]
            first, last = field.span
            return Finding(
                "flow",
                False,
                message,
                f"{words}; so turned, {best.std:.3g} and {best.distance:.2g}",
                advice.format(first=first, last=last),
                how,
            )
    if learned and end.distance < _AWAY:
        return Finding("flow", None, "the flow does not end at the data, not trained yet?", words)
    if not math.isfinite(end.distance) and (learned or not known):
        return Finding("flow", None, "the flow could not be followed to its end", words)
    return Finding("flow", False, "the flow ends away from the data", words, _WHERE)
