"""Intervals of noise levels rho = sigma / alpha, in which a field is guided."""

from __future__ import annotations

import math

from torch import Tensor


def as_interval(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """An interval of noise levels sigma / alpha, or None for all.

    Raises:
        ValueError: anything but two numbers, 0 <= lo < hi.
    """
    if interval is None:
        return None
    try:
        low, high = (float(v) for v in interval)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0 <= low < high:
        raise ValueError(
            f"got interval {interval!r:.40}; wanted two noise levels sigma / alpha, 0 <= lo < hi"
        )
    return low, high


def inside(interval: tuple[float, float] | None, rho: Tensor) -> Tensor:
    """Whether noise levels sigma / alpha lie in an interval, its ends included."""
    low, high = (0.0, math.inf) if interval is None else interval
    return (rho >= low) & (rho <= high)


def require_met(interval: tuple[float, float] | None, levels: tuple[float, float]) -> None:
    """Refuse an interval in which nothing is ever guided.

    Arguments:
        interval: of noise levels; None is all.
        levels: the least and the largest level at which a field can be guided.

    Raises:
        ValueError: it meets none of them.
    """
    low, high = as_interval(interval) or levels
    if low > levels[1] or high < levels[0]:
        least, most = (f"{v:.4g}" for v in levels)
        raise ValueError(
            f"got interval {interval}, where nothing is guided; wanted one that meets the noise "
            f"levels sigma / alpha of this field, {least} to {most}"
        )
