"""Which units rows are learned in: what is measured of them, and the rule that chooses.

================ ==================================================== =========================
scale            of                                                   model units
================ ==================================================== =========================
auto             bytes                                                0 ... 255 as [-1, 1];
                                                                      0 and 1 alone so too
auto             images whose values fill 0 ... 1, whole numbers      that range as [-1, 1]
                 that fill 0 ... 255, uint16 that fills its range
auto             points with a column of standard deviation below     each column (x - mean) / std
                 .02 or above 10, of standard deviations that differ
                 ten times, or of a mean 1e5 times as large; or with
                 a constant column of size 10 or more
auto             images and signals of such a standard deviation or   the same for each channel
                 mean over all
auto             others                                               the same numbers
pixels           bytes, numbers from 0 to 1, whole numbers from 0 to  that range as [-1, 1]
                 255, uint16
standard         all                                                  each column or channel
                                                                      (x - mean) / std
none             all                                                  the same numbers
================ ==================================================== =========================

To *fill* a range is to come within a twentieth of both of its ends. A column that does not vary is
learned as 0. Mean and standard deviation are those of the training rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffode.data.layout import Layout, Numbers
from diffode.data.npy import Array
from diffode.data.scaling import FAR, Scaling
from diffode.data.source import CHUNK
from diffode.options import counted

SMALLEST, LARGEST = 0.02, 10.0  # standard deviations that noise levels and networks are made for
UNEQUAL = 10.0  # of columns: the narrow one is drawn nearly four times worse than it could be
_MOMENTS = np.mean, np.var, np.min, np.max
_END = 0.05  # of a range: how near to its ends values come that fill it


@dataclass(frozen=True)
class Measured:
    """What is found of the rows to train on.

    Attributes:
        mean, std, low, high: of each column or channel, float64, shaped to broadcast with events.
        whole: whether all are whole numbers.
    """

    mean: Array
    std: Array
    low: Array
    high: Array
    whole: bool

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value."""
        return float(self.low.min()), float(self.high.max())

    @property
    def constant(self) -> Array:
        """Which columns or channels do not vary."""
        return np.equal(self.low, self.high)


def pieces(rows: Numbers) -> Iterator[tuple[int, Array]]:
    """All rows in order, a piece at a time, each with the place of its first."""
    count, size = rows.shape[0], max(1, CHUNK // max(1, math.prod(rows.shape[1:])))
    for first in range(0, count, size):
        yield first, rows[np.arange(first, min(count, first + size))]


def finite(rows: Numbers) -> Iterator[tuple[int, Array]]:
    """The same pieces in float64.

    Raises:
        ValueError: after the last one, if a value was no number in single precision.
    """
    count, where = 0, -1
    for first, piece in pieces(rows):
        x = piece.astype(np.float64)
        bad = ~(np.abs(x).reshape(len(x), -1) <= np.finfo(np.float32).max)
        if bad.any():
            where = where if count else first + int(bad.any(1).argmax())
            count += int(bad.sum())
        yield first, x
    if count:
        raise ValueError(
            f"got {count} values that are NaN or infinite in float32, the first in row {where}; "
            "wanted finite numbers; drop those rows"
        )


def varies(rows: Numbers) -> bool:
    """Whether any row is another than the first."""
    one = rows[np.arange(1)]
    return any(bool((piece != one).any()) for _, piece in pieces(rows))


def gray_levels(rows: Numbers) -> tuple[float, float] | None:
    """The least gray level and the step between two that half precision has rounded, if it has.

    It moves the levels k/255 and k/127.5 - 1 by up to an eighth of their distance.
    """
    for low, step in ((0.0, 1 / 255), (-1.0, 1 / 127.5)):
        if all(_are_levels(piece.astype(np.float64), low, step) for _, piece in pieces(rows)):
            return low, step
    return None


def _are_levels(x: Array, low: float, step: float) -> bool:
    if not np.isfinite(x).all():
        return False
    k = np.rint((x - low) / step)
    gap = np.abs(x - (k * step + low)).max()
    return bool(k.min() >= 0 and k.max() <= 255 and gap <= step / 8)


@np.errstate(invalid="ignore", over="ignore")
def measured(rows: Numbers, train: Array, layout: Layout) -> Measured:
    """Measure rows in one pass.

    Arguments:
        rows: all of them, events in order.
        train: which of them are trained on, shape (M,), bool.
        layout: says what shares a unit.

    Raises:
        ValueError: a value that is not finite.
    """
    axes = (0, *(axis + 1 for axis in layout.axes))
    found, sizes, whole = [], [], True
    for place, piece in finite(rows):
        x = piece[train[place : place + len(piece)]]
        if len(x):
            found.append([f(x, axis=axes, keepdims=True)[0] for f in _MOMENTS])
            sizes.append(len(x))
            whole = whole and bool((x == np.rint(x)).all())
    means, variances, lows, highs = (np.stack(parts) for parts in zip(*found, strict=True))
    share = np.reshape(sizes, (-1, *(1,) * (means.ndim - 1))) / sum(sizes)
    mean = (share * means).sum(0)
    variance = (share * (variances + np.square(means - mean))).sum(0)
    return Measured(mean, np.sqrt(variance), lows.min(0), highs.max(0), whole)


def scaling_of(scale: str, rows: Numbers, train: Array, layout: Layout) -> Scaling | None:
    """The units that rows are learned in; None are their own. Their values are checked.

    Arguments:
        scale: "auto", "pixels", "standard" or "none".
        rows, train, layout: as for `measured`.

    Raises:
        ValueError: values that are not finite, or that have no range as gray levels.
    """
    is_bytes = rows.dtype == np.uint8
    if is_bytes and scale != "standard":
        return None if scale == "none" else Scaling.pixels(high=_highest(rows))
    found = measured(rows, train, layout)
    levels = _range(found, rows.dtype)
    if scale == "pixels":
        return Scaling.pixels(*_required(levels, found))
    if scale == "auto" and layout.kind == "images" and levels and _fills(found.ends, levels):
        return Scaling.pixels(*levels)
    if scale == "standard" or (scale == "auto" and _is_unfit(found, layout)):
        return standard(found, layout)
    return None


def _highest(rows: Numbers) -> float:
    """The white of bytes: 1 of masks, which are 0 and 1 alone, else 255."""
    return 255.0 if any(bool((piece > 1).any()) for _, piece in pieces(rows)) else 1.0


def standard(found: Measured, layout: Layout) -> Scaling:
    """Each column or channel as (x - mean) / std; a constant one as 0, with the width 1."""
    width = np.where(found.constant, 1.0, found.std)
    kind = "column" if layout.kind == "points" else "channel"
    if not (width > 0).all():
        raise ValueError(
            f"got a {kind} whose standard deviation rounds to 0 in double precision; multiply it "
            "by a power of ten"
        )
    kept = found.std[~found.constant]
    note = f"{counted(width.size, kind)}, each as (x - mean) / std"
    if kept.size:
        note += f", std {kept.min():.4g} to {kept.max():.4g}"
    if found.constant.any():
        note += f"; {counted(int(found.constant.sum()), kind)} constant, learned as 0"
    shift = np.where(found.constant, found.low, found.mean)
    return Scaling("standard", torch.from_numpy(shift), torch.from_numpy(width), note)


def _range(found: Measured, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """The range of gray levels that values lie in, if they do."""
    low, high = found.ends
    if low < 0:
        return None
    if high <= 1:
        return 0.0, 1.0
    if found.whole and high <= 255:
        return 0.0, 255.0
    return (0.0, 65535.0) if dtype == np.uint16 else None


def _fills(ends: tuple[float, float], levels: tuple[float, float]) -> bool:
    """Whether values come near to both ends of their range."""
    near = _END * (levels[1] - levels[0])
    return ends[0] <= levels[0] + near and ends[1] >= levels[1] - near


def _required(levels: tuple[float, float] | None, found: Measured) -> tuple[float, float]:
    if levels is None:
        low, high = found.ends
        raise ValueError(
            f"got scale='pixels' for values from {low:.6g} to {high:.6g}; wanted bytes, uint16, "
            "numbers from 0 to 1, or whole numbers from 0 to 255; for others there are 'standard' "
            "and 'none'"
        )
    return levels


def _is_unfit(found: Measured, layout: Layout) -> bool:
    """Whether a network would learn these numbers badly as they are."""
    mean, std = found.mean[~found.constant], found.std[~found.constant]
    if not std.size:
        return False
    if (np.abs(found.low[found.constant]) >= LARGEST).any():
        return True
    if layout.kind != "points":  # one scale for all channels
        std = np.sqrt(np.square(std).mean(keepdims=True))
    unequal = layout.kind == "points" and std.max() >= UNEQUAL * std.min()
    outside = std.min() <= SMALLEST or std.max() >= LARGEST
    return bool(unequal or outside or (np.abs(mean) >= FAR * std).any())
