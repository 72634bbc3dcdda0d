r"""Time grids: where the steps of a solver end.

A grid is uniform in some function of the noise-to-signal ratio :math:`\rho = \sigma/\alpha` (or
in the schedule's own time), so it means the same for every schedule. Where rho starts above 999
(a path whose alpha reaches 0) the spacing is laid out from 999 and the first time is the prior's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.doors import as_count
from diffode.fields.base import AffineField, Field
from diffode.fields.schedules import VP
from diffode.inputs import quoted

_RHO_CAP = 999.0


class Spacing(NamedTuple):
    """A function of rho that a grid is uniform in, its inverse, and one line about it."""

    warp: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    about: str


_BETAS = (0.1, 20.0)  # of the VP schedule that "t2" refers to


def _vp_time(rho: Tensor) -> Tensor:
    """The square root of the VP schedule's time at this rho, carried on beyond its t = 1."""
    return VP(*_BETAS).time(rho).sqrt()


def _vp_rho(u: Tensor) -> Tensor:
    return VP(*_BETAS).rho(u * u)


SPACINGS = {
    "logsnr": Spacing(torch.log, torch.exp, "uniform in log-SNR, -2 log rho"),
    "karras": Spacing(
        lambda rho: rho ** (1 / 7),
        lambda u: u**7,
        "uniform in rho^(1/7) (Karras et al., 2022, eq. 5)",
    ),
    "t2": Spacing(
        _vp_time, _vp_rho, "quadratic in the time of the VP schedule (DPM-Solver's time_quadratic)"
    ),
    "f1.5": Spacing(
        lambda rho: (rho / (1 + rho)) ** (2 / 3),
        lambda u: u**1.5 / (1 - u**1.5),
        "uniform in (rho / (1 + rho))^(2/3): more steps where data and noise balance",
    ),
}
KINDS = ("native", *SPACINGS, "theta")


def spacing(field: AffineField, kind: str) -> Spacing:
    """The spacing of this name; "theta" depends on the data's standard deviation."""
    if kind != "theta":
        return SPACINGS[kind]
    std = field.moments[1]
    return Spacing(
        lambda rho: torch.atan(rho / std), lambda u: std * torch.tan(u), "uniform in the angle"
    )


def grid(field: Field, steps: int, kind: str = "native") -> Tensor:
    """The steps + 1 times of a grid from t_prior to t_data, both ends exact, float64.

    Arguments:
        field: whose span and schedule are used.
        steps: the number of intervals, at least 1.
        kind: "native" (uniform in t), "logsnr", "karras", "t2", "f1.5" or "theta"; or "own",
            the times that the field was made for (``Field.sampling_defaults``), evenly thinned
            out or filled in where their number differs.

    Raises:
        ValueError: an unknown kind, or fewer than one step.
        TypeError: "own" for a field without times of its own, or another kind than "native" for
            one without a schedule.
    """
    steps = as_count(steps, "steps")
    if steps < 1:
        raise ValueError(f"got {steps} steps; a grid has at least 1")
    if kind == "own":
        return _own(field, steps)
    if kind not in KINDS:
        raise ValueError(f"no grid named {quoted(kind)}; grids: {', '.join(KINDS)}, own")
    if kind == "native":
        return torch.linspace(*field.span, steps + 1, dtype=torch.float64)
    if not isinstance(field, AffineField):
        raise TypeError(
            f"grid {kind!r} needs a schedule, which {type(field).__name__} has not; use 'native'"
        )
    return _spaced(field, steps, kind, float(_rho(field)[1]))


def _own(field: Field, steps: int) -> Tensor:
    if field.sampling_defaults is None:
        raise TypeError(
            f"grid 'own' needs a field with times of its own, which {type(field).__name__} has "
            "not; use 'native'"
        )
    times = torch.tensor(field.sampling_defaults.times, dtype=torch.float64)
    place = torch.arange(steps + 1, dtype=torch.float64) * ((len(times) - 1) / steps)
    left = place.floor().clamp_max(len(times) - 2).long()
    return torch.lerp(times[left], times[left + 1], place - left)


def zero_noise_times(field: AffineField, steps: int, kind: str) -> Tensor | None:
    """The times of a grid whose last step ends at the data itself, rho = 0.

    The last time is t_data's all the same: it stands for the end. None where the grid has no such
    end, or would have a step begin beyond t_data: more steps than reach t_data's own level.
    """
    spaced = kind in (*SPACINGS, "theta")
    if not spaced or not bool(spacing(field, kind).warp(torch.zeros(1)).isfinite()):
        return None
    times = _spaced(field, steps, kind, 0.0)
    beyond = field.schedule.rho(times)[-2] <= _rho(field)[1]
    return None if bool(beyond) else times


def _rho(field: AffineField) -> Tensor:
    return field.schedule.rho(torch.tensor(field.span, dtype=torch.float64))


def _spaced(field: AffineField, steps: int, kind: str, end: float) -> Tensor:
    warp, inverse, _ = spacing(field, kind)
    first = _rho(field)[0]
    vanishes = float(field.schedule.alpha(torch.tensor(field.span[0]).double())) < 0.01
    rho = torch.stack((first, torch.tensor(end, dtype=torch.float64)))
    warped = warp(rho.clamp_max(_RHO_CAP) if vanishes and kind != "theta" else rho)
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    inner = inverse(warped[0] + (warped[1] - warped[0]) * u)[1:-1]
    ends = torch.tensor(field.span, dtype=torch.float64)
    return torch.cat((ends[:1], field.schedule.time(inner), ends[1:]))
