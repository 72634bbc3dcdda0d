"""A measured number and how uncertain it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.doors import as_state


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error.

    Attributes:
        value: the number.
        stderr: its standard error over fresh samples; NaN where it is not known.
    """

    value: float
    stderr: float = math.nan

    def asdict(self) -> dict[str, float | None]:
        """Both numbers for JSON, which knows no NaN and no infinity."""
        return {k: v if math.isfinite(v) else None for k, v in vars(self).items()}

    def __str__(self) -> str:
        if math.isnan(self.stderr):
            return f"{self.value:.4g}"
        return f"{self.value:.4g} +- {self.stderr:.2g}"


def mean(values: Tensor) -> Estimate:
    """The mean of independent values, shape (n,), and its standard error."""
    v = values.double()
    return Estimate(float(v.mean()), float(v.std() / math.sqrt(len(v))))


def root(square: float, stderr: float) -> Estimate:
    """The root of an estimated square, its error by the delta method."""
    value = math.sqrt(max(square, 0.0))
    return Estimate(value, stderr / (2 * value) if value > 0 else math.nan)


def pair(x: Tensor, y: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    """Two sets of points as float64 matrices (n, d) and (m, d) on the CPU.

    Raises:
        ValueError: fewer than ``least`` points, points of different sizes, or not finite.
    """
    x, y = as_state(x, fewest=0), as_state(y, name="y", fewest=0)
    a, b = (v.detach().cpu().reshape(len(v), -1).double() for v in (x, y))
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"got points of {a.shape[1]} and of {b.shape[1]} coordinates; compare points of one "
            "space"
        )
    if min(len(a), len(b)) < least:
        raise ValueError(f"got {len(a)} and {len(b)} points; wanted {least} of each at least")
    for v in (a, b):
        bad = int((~torch.isfinite(v).all(1)).sum())
        if bad:
            raise ValueError(f"{bad} of {len(v)} points are not finite; drop them and say so")
    return a, b
