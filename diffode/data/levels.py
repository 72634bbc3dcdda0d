"""The values that tokens stand for: V levels, evenly spaced."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.data.source import Samples, chunks
from diffode.doors import as_count

MOST, BINS = 256, 64
_NEAR = 1e-2  # of a step: single precision keeps 256 levels from -1 to 1 to far less


@dataclass(frozen=True)
class Levels:
    r"""The value :math:`l + k \, w` of each token :math:`k = 0, \dots, V - 1`.

    Attributes:
        count: V.
        low: l, the value of token 0.
        step: w > 0, the distance of two.
        bins: whether values between the levels are taken too, each as the nearest: the level is
            then the middle of a bin. If not, they are refused.

    Raises:
        ValueError: fewer than two levels, or a step that is not positive.
    """

    count: int
    low: float = 0.0
    step: float = 1.0
    bins: bool = False

    def __post_init__(self) -> None:
        as_count(self.count, "levels", 2)
        if not self.step > 0:
            raise ValueError(f"got levels {self.step} apart; wanted a positive distance")

    @classmethod
    def between(cls, count: int, low: float, high: float, bins: bool = False) -> Levels:
        """So many levels, from the lowest to the highest; or bins that fill the range.

        Raises:
            ValueError: as the class, or a range that is none.
        """
        if not high > low:
            raise ValueError(f"got levels from {low} to {high}; the highest is above the lowest")
        step = (high - low) / (count if bins else count - 1)
        return cls(count, low + step / 2 if bins else low, step, bins)

    @classmethod
    def of(cls, x: Samples, count: int | None = None) -> Levels:
        """The levels that samples have, if those lie evenly and are 256 at most; else bins.

        Arguments:
            x: samples, shape (M, \\*event).
            count: how many bins or levels are wanted; None is as many levels as there are, or 64
                bins from the least to the largest value.

        Raises:
            ValueError: samples that are all the same.
        """
        found = _values(x)
        low, high = float(found[0]), float(found[-1])
        if not high > low:
            raise ValueError("the data does not vary; tokens need at least two values")
        if len(found) <= MOST:
            step = float(found.diff().min())
            place = (found - low) / step
            own = round((high - low) / step) + 1
            if bool(((place - place.round()).abs() < _NEAR).all()) and count in (None, own):
                return cls.between(own, low, high)
        return cls.between(count or BINS, low, high, bins=True)

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return self.low == round(self.low) and self.step == round(self.step)

    def tokens(self, values: Tensor) -> Tensor:
        """The tokens of values, int64, of the same shape; the first and last bin have no end.

        Raises:
            ValueError: values that are none of the levels, or no numbers.
        """
        place = (values.double() - self.low) / self.step
        nearest = place.round().clamp(0, self.count - 1)
        off = ~place.isfinite()
        if not self.bins:
            off |= (place - nearest).abs() > _NEAR
        if bool(off.any()):
            raise ValueError(
                f"got the value {float(values[off][0]):.6g}; wanted {self}"
                f"{'' if self.bins else ', nothing between'}"
            )
        return nearest.long()

    def within(self, values: Tensor) -> bool:
        """Whether all values lie within half a step of a level: none is beyond the last bins."""
        place = (values.double() - self.low) / self.step
        return bool(((place > -0.5 - _NEAR) & (place < self.count - 0.5 + _NEAR)).all())

    def values(self, tokens: Tensor) -> Tensor:
        """The values of tokens: int64 where they are whole numbers, else float32."""
        if self.whole:
            return tokens * int(self.step) + int(self.low)
        return (tokens.double() * self.step + self.low).float()

    def __str__(self) -> str:
        last = self.low + (self.count - 1) * self.step
        kind = "bins about" if self.bins else "levels:"
        return f"{self.count} {kind} {self.low:.6g} to {last:.6g}"


def _values(x: Samples) -> Tensor:
    """The values that samples have, in order, float64; of more than 256 a few, with the ends."""
    found = torch.empty(0, dtype=torch.float64)
    for part in chunks(x):
        found = torch.unique(torch.cat((found, part.detach().double().cpu().flatten())))
        if len(found) > 2 * MOST:
            found = torch.cat((found[: MOST + 1], found[-1:]))
    return found
