"""The values that tokens stand for: V levels, evenly spaced."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffode.doors import as_count

_NEAR = 1e-3  # of a step: single precision keeps levels to far less


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

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return self.low == round(self.low) and self.step == round(self.step)

    def tokens(self, values: Tensor) -> Tensor:
        """The tokens of values, int64, of the same shape.

        Raises:
            ValueError: values that are none of the levels, or beyond all bins.
        """
        place = (values.double() - self.low) / self.step
        nearest = place.round()
        if self.bins:
            nearest = nearest.clamp(0, self.count - 1)
        off = (place - nearest).abs() > (0.5 + _NEAR if self.bins else _NEAR)
        off |= (nearest < 0) | (nearest > self.count - 1) | ~place.isfinite()
        if bool(off.any()):
            raise ValueError(
                f"got the value {float(values[off][0]):.6g}; wanted {self}"
                f"{'' if self.bins else ', nothing between'}"
            )
        return nearest.long()

    def values(self, tokens: Tensor) -> Tensor:
        """The values of tokens: int64 where they are whole numbers, else float32."""
        if self.whole:
            return tokens * int(self.step) + int(self.low)
        return (tokens.double() * self.step + self.low).float()

    def __str__(self) -> str:
        last = self.low + (self.count - 1) * self.step
        kind = "bins about" if self.bins else "levels:"
        return f"{self.count} {kind} {self.low:.6g} to {last:.6g}"
