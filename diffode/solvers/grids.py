r"""Time grids: where the steps of a solver end.

A grid is uniform in some function of the noise-to-signal ratio :math:`\rho = \sigma/\alpha` (or
in the schedule's own time), so it means the same for every schedule. Where rho starts above 999
(a path whose alpha reaches 0) the spacing is laid out from 999 and the first time is the prior's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffode import registry
from diffode.doors import as_count
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.schedules import VP
from diffode.solvers.mixed import FEW, Mixed, balance
from diffode.solvers.roughness import VERY, is_rough

_RHO_CAP = 999.0
_BESIDE = 1e-6  # of a jump: a time there is beyond it in any rounding
_FINEST = 1e-4  # of the data's standard deviation: below it nothing is left to find


class Spacing(NamedTuple):
    """A function of rho that a grid is uniform in.

    Attributes:
        warp, inverse: the function and its inverse.
        about: one line.
        bounded: whether the function is finite at rho = infinity, so that no rho is capped.
        jumps: levels just below which the grid shall have a time: the nearest one is moved there.
            For a function that grows with rho.
    """

    warp: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    about: str = ""
    bounded: bool = False
    jumps: tuple[float, ...] = ()


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


def native() -> None:
    """Uniform in the schedule's own time, which is no function of rho."""


def theta(field: AffineField) -> Spacing:
    """Uniform in the angle, which depends on the data's standard deviation."""
    std = field.moments[1]
    return Spacing(lambda rho: torch.atan(rho / std), lambda u: std * torch.tan(u), bounded=True)


def mixed(field: AffineField, steps: int) -> Spacing:
    """The default's own, by the data's main axes, see `diffode.solvers.mixed`."""
    made = warp(field, steps)
    return Spacing(made.warp, made.inverse, jumps=field.jumps or ())


def warp(field: AffineField, steps: int) -> Mixed:
    """The function of "mixed" for so many steps on a field."""
    rho = field.schedule.rho(_ends(field, None)).tolist()
    finest, highest = max(rho[1], _FINEST * field.moments[1]), min(rho[0], _RHO_CAP)
    guided, rough = field.guidance > 2, steps > FEW and is_rough(field)
    very = rough and is_rough(field, VERY)
    return Mixed.of(steps, finest, highest, balance(field), guided, rough, very)


registry.register("grid", "native", native)
for _name, _spacing in SPACINGS.items():
    registry.register("grid", _name, _spacing, about=_spacing.about)
registry.register("grid", "theta", theta)
registry.register("grid", "mixed", mixed)


def names() -> list[str]:
    """The kinds that `grid` knows, beside "own"."""
    return registry.names("grid")


def spacing(field: AffineField, kind: str, steps: int) -> Spacing:
    """The spacing of this name, which may depend on the field and, "mixed", on the steps.

    Raises:
        TypeError: what has this name gives no `Spacing`.
    """
    found: Any = registry.find("grid", kind).value
    if found is mixed:
        found = mixed(field, steps)
    chosen = found if isinstance(found, Spacing) else found(field)
    if not isinstance(chosen, Spacing):
        raise TypeError(f"grid {kind!r} gives a {type(chosen).__name__}; wanted a Spacing")
    return chosen


def grid(field: Field, steps: int, kind: str = "native", start: float | None = None) -> Tensor:
    """The steps + 1 times of a grid from t_prior to t_data, both ends exact, float64.

    Arguments:
        field: whose span and schedule are used.
        steps: the number of intervals, at least 1.
        kind: "native" (uniform in t), "logsnr", "karras", "t2", "f1.5", "theta" or "mixed",
            another registered name, or the place of a `Spacing`, as ``mine.py:spacing``; or
            "own", the times that the field was made for (``Field.sampling_defaults``), evenly
            thinned out or filled in where their number differs.
        start: the first time, in the place of t_prior.

    Raises:
        ValueError: an unknown kind, or fewer than one step.
        TypeError: "own" for a field without times of its own, or another kind than "native" for
            one without a schedule.
    """
    steps = as_count(steps, "steps")
    if steps < 1:
        raise ValueError(f"got {steps} steps; a grid has at least 1")
    if kind == "own":
        return _own(field, steps, start)
    chosen, ends = registry.find("grid", kind, run=True), _ends(field, start)
    if chosen.value is native:
        return torch.linspace(float(ends[0]), float(ends[1]), steps + 1, dtype=torch.float64)
    if not isinstance(field, AffineField):
        raise TypeError(
            f"grid {kind!r} needs a schedule, which {type(field).__name__} has not; use 'native'"
        )
    return _spaced(
        field, ends, field.schedule.rho(ends), steps, spacing(field, chosen.name, steps)
    )


def _ends(field: Field, start: float | None) -> Tensor:
    """The times that a grid goes from and to."""
    first = field.span[0] if start is None else start
    return torch.tensor((first, field.span[1]), dtype=torch.float64)


def own_times(field: Field, start: float | None = None) -> Tensor:
    """The times that a field was made for, float64; of those after ``start``, with it in front.

    Raises:
        TypeError: a field without times of its own.
    """
    if field.sampling_defaults is None:
        raise TypeError(
            f"grid 'own' needs a field with times of its own, which {type(field).__name__} has "
            "not; use 'native'"
        )
    times = torch.tensor(field.sampling_defaults.times, dtype=torch.float64)
    if start is None:
        return times
    way = field.span[1] - field.span[0]
    first = torch.tensor([start], dtype=torch.float64)
    return torch.cat((first, times[(times - start) * way > 0]))


def _own(field: Field, steps: int, start: float | None) -> Tensor:
    times = own_times(field, start)
    place = torch.arange(steps + 1, dtype=torch.float64) * ((len(times) - 1) / steps)
    left = place.floor().clamp_max(len(times) - 2).long()
    return torch.lerp(times[left], times[left + 1], place - left)


def zero_noise_times(
    field: AffineField, steps: int, kind: str, start: float | None = None
) -> Tensor | None:
    """The times of a grid whose last step ends at the data itself, rho = 0.

    The last time is t_data's all the same: it stands for the end. None where the grid has no such
    end, or would have a step begin beyond t_data: more steps than reach t_data's own level.
    """
    if kind in ("own", "native"):
        return None
    chosen = spacing(field, kind, steps)
    if not bool(chosen.warp(torch.zeros(1)).isfinite()):
        return None
    ends = _ends(field, start)
    rho = field.schedule.rho(ends)
    times = _spaced(field, ends, rho * torch.tensor([1.0, 0.0]), steps, chosen)
    beyond = field.schedule.rho(times)[-2] <= rho[1]
    return None if bool(beyond) else times


def _spaced(field: AffineField, ends: Tensor, rho: Tensor, steps: int, chosen: Spacing) -> Tensor:
    """Times between two ends at which rho is spaced evenly between two values."""
    vanishes = float(field.schedule.alpha(ends[0])) < 0.01
    capped = vanishes and not chosen.bounded
    warped = chosen.warp(rho.clamp_max(_RHO_CAP) if capped else rho)
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    inner = chosen.inverse(_moved(warped[0] + (warped[1] - warped[0]) * u, chosen)[1:-1])
    return torch.cat((ends[:1], field.schedule.time(inner), ends[1:]))


def _moved(u: Tensor, chosen: Spacing) -> Tensor:
    """The values between two ends, for each jump the nearest one moved to just below it."""
    if not chosen.jumps:
        return u
    u, free = u.clone(), torch.ones_like(u, dtype=torch.bool)
    free[[0, -1]] = False
    for jump in chosen.jumps:
        place = chosen.warp(u.new_tensor(jump * (1 - _BESIDE)))
        if bool(free.any()) and u[-1] < place < u[0]:
            nearest = int((u - place).abs().where(free, u.new_tensor(math.inf)).argmin())
            u[nearest], free[nearest] = place, False
    return u.sort(descending=True).values
