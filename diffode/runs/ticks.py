"""Round numbers on an axis."""

from __future__ import annotations

import math

_COUNT = 5  # of ticks, about


def ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from low to high; low alone where they agree.

    >>> ticks(10, 990), ticks(0.12, 0.31), ticks(3, 3)
    ([200.0, 400.0, 600.0, 800.0], [0.15, 0.2, 0.25, 0.3], [3])
    """
    if not math.isfinite(high - low):
        return []
    if not low < high:
        return [low]
    rough = (high - low) / _COUNT
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def loss_ticks(low: float, high: float, log: bool) -> list[float]:
    """Ticks of a loss: as `ticks`, on a logarithmic axis powers of ten and 2 and 5 times them.

    >>> loss_ticks(0.03, 0.9, True), loss_ticks(0.5, 2e4, True)
    ([0.05, 0.1, 0.2, 0.5], [1.0, 10.0, 100.0, 1000.0, 10000.0])
    """
    if not log or not math.isfinite(high - low):
        return ticks(low, high)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    found = [float(f"{m * 10.0**k:.12g}") for k in powers for m in factors]
    return [v for v in found if low <= v <= high]
