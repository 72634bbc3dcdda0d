r"""The times of a picture: some that show how a law changes, and what each is called."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.schedules import Karras
from diffode.viz.text import ALPHA, SIGMA

PANELS = 5  # beside each other, at most
MOST, LEAST = 4.0, 0.1  # noise over the data's standard deviation, at the first and last time


def times_of(
    field: Field, count: int, given: Sequence[float] | None = None, room: int = PANELS
) -> Tensor:
    r"""Times between prior and data, float64, shape (count,) or as many as are given.

    Those of an affine field are even in :math:`\log(\sigma / \alpha)`, from 4 to 0.1 standard
    deviations of the data; those of others are even between the ends of the span.

    Arguments:
        field: whose clock they are of.
        count: how many.
        given: these instead, from the prior to the data.
        room: how many can be given.

    Raises:
        ValueError: times outside the span or in another order, or too many.
    """
    start, end = field.span
    if given is not None:
        if len(given) > room:
            raise ValueError(f"got {len(given)} times, and a page has room for {room}")
        low, high = min(start, end), max(start, end)
        falls = sorted(given, reverse=start > end)
        if not given or list(given) != falls or not all(low <= t <= high for t in given):
            raise ValueError(
                f"got the times {', '.join(f'{t:g}' for t in given)}; wanted some from {start:g} "
                f"(the prior) to {end:g} (the data), in this order"
            )
        return torch.tensor(given, dtype=torch.float64)
    if not isinstance(field, AffineField):
        return torch.linspace(start, end, count, dtype=torch.float64)
    least, most = field.levels
    std = field.moments[1]
    high, low = min(most, MOST * std), max(least, LEAST * std)
    if not 0 < low < high:
        return torch.linspace(start, end, count, dtype=torch.float64)
    rho = torch.linspace(math.log(high), math.log(low), count, dtype=torch.float64).exp()
    ends = min(start, end), max(start, end)
    return field.schedule.time(rho).clamp(*ends)


def nearest(times: Tensor, wanted: Tensor) -> list[int]:
    """The places of the times that are nearest to those wanted, each once, in their order."""
    places = (times.double()[None] - wanted.double()[:, None]).abs().argmin(1).tolist()
    return list(dict.fromkeys(places))


def when(field: Field, t: float, between: str = "\n") -> str:
    """What a time is called: by the field's clock and, of an affine field, its noise.

    Arguments:
        field: whose clock it is of.
        t: the time.
        between: what stands between the two.
    """
    if not isinstance(field, AffineField):
        return f"t = {_short(t)}"
    if isinstance(field.schedule, Karras):
        return f"{SIGMA} = {_short(t)}"
    rho = float(field.schedule.rho(torch.tensor(t, dtype=torch.float64)))
    return f"t = {_short(t)}{between}{SIGMA}/{ALPHA} = {_short(rho)}"


def _short(value: float) -> str:
    if not math.isfinite(value):
        return "∞"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"


def factor(field: Field, t: float) -> float:
    """How much of the data a state at time t has, alpha; 1 for fields that are not affine."""
    if not isinstance(field, AffineField):
        return 1.0
    return float(field.schedule.alpha(torch.tensor(t, dtype=torch.float64)))
