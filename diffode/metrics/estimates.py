"""A measured number and how uncertain it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from diffode.doors import as_state

FEWEST = 30  # points of each set from which an error is stated
_Z = 1.96  # standard errors to the ends of a 95 % interval


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error.

    Attributes:
        value: the number; NaN where it cannot be had.
        stderr: its standard error over fresh samples, 1.96 of which make an interval of 95 %; NaN
            where it is not known.
        refused: why it cannot be had.
    """

    value: float
    stderr: float = math.nan
    refused: str = ""

    def asdict(self) -> dict[str, float | str | None]:
        """Both numbers for JSON, which knows no NaN and no infinity, and why there are none."""
        numbers = {"value": self.value, "stderr": self.stderr}
        known: dict[str, float | str | None]
        known = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        return known | ({"refused": self.refused} if self.refused else {})

    def __str__(self) -> str:
        if self.refused:
            return f"none ({self.refused})"
        if math.isnan(self.stderr):
            return f"{self.value:.4g}"
        return f"{self.value:.4g} +- {self.stderr:.2g}"


def figure(value: float, error: float) -> str:
    """A number with as many decimals as its error leaves."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1e5:
        return f"{value:.2g}"
    if error <= 0 or not math.isfinite(error):
        return f"{value:.3g}"
    places = max(0, min(6, 1 - math.floor(math.log10(error))))
    return f"{value:.{places}f}"


def stated(value: float, stderr: float, *counts: int) -> Estimate:
    """A number whose error was estimated from sets of these counts.

    Few points know little of their own spread: the error is larger by what Student's quantile is
    above the normal one, and none is stated for fewer than 30 points.
    """
    fewest = min(counts)
    if fewest < FEWEST:
        return Estimate(value)
    return Estimate(value, stderr * _wider(fewest))


def _wider(count: int) -> float:
    """By what Student's quantile of a count of draws is above the normal one."""
    return float(stdtrit(count - 1, 0.975)) / _Z


def mean(values: Tensor) -> Estimate:
    """The mean of independent values, shape (n,), and its standard error by Student's quantile."""
    v, n = values.double(), len(values)
    error = float(v.std()) / math.sqrt(n) * _wider(n) if n > 1 else math.nan
    return Estimate(float(v.mean()), error)


def mean_share(hit: Tensor) -> Estimate:
    """The share of rows that are true, from independent rows (n,), its error as of `fraction`."""
    p, n = float(hit.double().mean()), len(hit)
    return fraction(p, p * (1 - p) / n, n)


def fraction(p: float, variance: float, count: int) -> Estimate:
    r"""A share of draws with an error that does not end at 0 and 1.

    It is the larger of the plain one and of the one whose 1.96-fold reaches the farther end of
    Wilson's interval

    .. math:: \frac{p + z^2 / 2n \pm z \sqrt{p (1 - p) / n + z^2 / 4 n^2}}{1 + z^2 / n},

    z = 1.96 and n the count: 30 of 30 are 1 +- .058.

    Reference: Wilson (1927), Probable inference, the law of succession, and statistical inference.

    Arguments:
        p: the share, from 0 to 1.
        variance: of p, as it is estimated.
        count: how many draws p is the share of.
    """
    n = count
    middle, half = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    ends = [(middle + side * half) / (1 + _Z**2 / n) for side in (-1, 1)]
    return Estimate(p, max(math.sqrt(variance), *(abs(end - p) / _Z for end in ends)))


def root(square: float, stderr: float, *counts: int) -> Estimate:
    """The root of a square estimated from sets of these counts, its error by the delta method.

    That error has no bound as the root goes to 0; it is at most the root of the square's own.
    """
    value = math.sqrt(max(square, 0.0))
    error = min(stderr / (2 * value), math.sqrt(stderr)) if value > 0 else math.nan
    return stated(value, error, *counts)


def jackknife(measure: Callable[[Tensor], float], count: int, parts: int = 20) -> float:
    r"""The variance of a figure of independent rows, from its values without one part of them,

    .. math:: \frac{g - 1}{g} \sum_{k=1}^g \bigl( \hat\theta_{(k)} - \bar\theta \bigr)^2 .

    It holds for figures that change smoothly with the rows: not for a largest one.

    Reference: Shao and Tu (1995), The Jackknife and Bootstrap, section 2.3.

    Arguments:
        measure: the figure of the rows of these numbers, shape (k,).
        count: how many rows there are.
        parts: the number g of parts, at most one for each row.
    """
    rows, g = torch.arange(count), min(parts, count)
    values = torch.tensor([measure(rows[rows % g != k]) for k in range(g)], dtype=torch.float64)
    return float((g - 1) * values.var(correction=0))


def pair(x: Tensor, y: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    """Two sets of points as float64 matrices (n, d) and (m, d) on the CPU.

    Raises:
        ValueError: fewer than ``least`` points, points of different sizes, or not finite.
    """
    x, y = as_state(x, fewest=0), as_state(y, name="y", fewest=0)
    a, b = (_matrix(v) for v in (x, y))
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


def centred(x: Tensor, y: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    """What `pair` gives, from the mean of y on: distances far from the origin lose digits."""
    a, b = pair(x, y, least)
    centre = b.mean(0)
    return a - centre, b - centre


def _matrix(x: Tensor) -> Tensor:
    return (x[:, None] if x.ndim == 1 else x).detach().cpu().flatten(1).double()
