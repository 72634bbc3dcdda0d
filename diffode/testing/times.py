"""How a field takes its time: the shape of t, and the precision that it is held in."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.turned import Turned, by_coordinate
from diffode.rng import Rng
from diffode.testing.findings import Mistake

_PLACES = 8  # at which rounding is looked for
_JUMP = 8.0  # of the velocity at a rounding boundary, against its change beside it
_APPEND = "append the event's axes: t.reshape(-1, *[1] * (x.ndim - 1)) where t.ndim == 1"


def points(field: Field, t: float, n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Points where the flow passes at time t: of the Gaussian fit's path, or the prior's draws."""
    if not isinstance(field, AffineField):
        return field.start(n, Rng(7)).x.to(dtype)
    view, mean = by_coordinate(field, field.moments[0][None])
    assert isinstance(view, AffineField)
    mean, std = mean[0], field.moments[1]
    time = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = view.level(time, time)
    z = Rng(7).normal("near", (n, *field.event_shape), torch.float64)
    spread = (sigma**2 + (alpha * std) ** 2) ** 0.5
    x: Tensor = (mean.cpu() * alpha + z * spread).to(field.device, dtype)
    return view.from_state(x) if isinstance(view, Turned) and view is not field else x


def vector_fails(x: Tensor, error: Exception | str) -> Mistake:
    """The mistake of a field that takes one time for all rows only."""
    what = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return Mistake(
        "wrong t shape",
        f"a t of shape ({len(x)},) fails, only () works",
        " ".join(what.split())[:160],
        _APPEND,
    )


def scalar_fails(error: Exception) -> Mistake:
    """The mistake of a field that takes a time for each row only."""
    what = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    return Mistake(
        "wrong t shape",
        "a t of shape () fails, only (B,) works",
        what,
        "expand it first: t = t.expand(len(x))",
    )


def explain(field: Field, x: Tensor, t: Tensor, whole: Tensor, gap: str) -> Mistake | None:
    """Why rows with times of their own differ from the rows alone, if the shape of t is why.

    Arguments:
        field: the field that moves x.
        x: points, shape (B, *event).
        t: a time for each row, shape (B,).
        whole: the velocity at x and t.
        gap: the failed check's words.
    """
    n = len(t)
    more = torch.cat((torch.arange(n), torch.zeros(1, dtype=torch.long))).to(x.device)
    try:
        field.rows(more).velocity(x[more], t[more])
    except (RuntimeError, IndexError) as error:
        what = " ".join(str(error).split())[:120]
        return Mistake(
            "wrong t shape",
            "a t of shape (B,) is broadcast against the event's last axis",
            f"{gap}; with {n + 1} rows it fails: {what}",
            _APPEND,
        )
    each = torch.stack([field.velocity(x, s) for s in t])  # times, rows, *event
    right = torch.stack([each[i, i] for i in range(n)])
    for words, value in (("first", each[0]), ("last", each[-1])):
        if _near(whole, value) and not _near(right, value):
            return Mistake(
                "wrong t shape",
                f"all rows move by the {words} row's time",
                f"{gap}; t has shape (B,)",
                _APPEND,
            )
    mean = field.velocity(x, t.mean())
    if _near(whole, mean) and not _near(right, mean):
        return Mistake(
            "wrong t shape", "all rows move by the mean time", f"{gap}; t has shape (B,)", _APPEND
        )
    return None


def _near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * b.abs().max().clamp_min(1e-9))


def rounding(field: Field) -> Mistake | None:
    """Whether the velocity jumps where float16 or bfloat16 would round the time.

    Halfway between two neighbours r and r' of a type with few digits a rounded time jumps; at r
    itself it does not, and neither does the velocity of a time that is kept.
    """
    first, last = field.span
    shares = torch.linspace(0.13, 0.87, _PLACES, dtype=torch.float64)
    for dtype, name in ((torch.float16, "float16"), (torch.bfloat16, "bfloat16")):
        if max(abs(first), abs(last)) > torch.finfo(dtype).max:
            continue
        jumps = [_jump(field, float(first + s * (last - first)), dtype) for s in shares]
        found = [j for j in jumps if j is not None]
        if found and sum(j > _JUMP for j, _ in found) >= 0.75 * len(found):
            count = sum(j > _JUMP for j, _ in found)
            step = max(found, key=lambda j: j[1])[1]
            return Mistake(
                f"{name} time",
                f"the time is rounded to {name}",
                f"the velocity jumps, by up to {100 * step:.2g} %, at {count} of {len(found)} "
                f"times halfway between neighbours of {name}",
                "keep t in float64 until it is scaled, float32 at least; never t.to(x.dtype)",
            )
    return None


def _jump(field: Field, t: float, dtype: torch.dtype) -> tuple[float, float] | None:
    """A jump halfway between neighbours against the change beside it, and its relative size."""
    low = torch.tensor(t, dtype=dtype)
    high = torch.nextafter(low, torch.tensor(torch.inf, dtype=dtype))
    centre, step = float(low), float(high) - float(low)
    middle, e = centre + step / 2, step / 64
    inside = min(field.span) < centre - 4 * e and middle + 4 * e < max(field.span)
    if not inside or middle == round(middle):  # a schedule of a chain has kinks at integers
        return None
    x = points(field, t, 4)
    moved = field.start(4, Rng(7)).field

    at = (centre - e, centre + e, middle - 3 * e, middle - e, middle + e, middle + 3 * e)
    v = [moved.velocity(x, torch.tensor(s, dtype=torch.float64)) for s in at]
    size = v[0].norm().clamp_min(1e-12)
    centred, before, across, after = (
        float((v[j] - v[i]).norm() / size) for i, j in ((0, 1), (2, 3), (3, 4), (4, 5))
    )
    return across / max(centred, before, after, 1e-6), across
