"""How wide data are along their main axes."""

from __future__ import annotations

import math

from torch import Tensor

MOST, LEAST, VALUES = 1024, 16, 2**24  # rows looked at, and numbers in them


def rows_for(values: int) -> int:
    """From how many rows of so many numbers the width is estimated."""
    return max(LEAST, min(MOST, VALUES // values))


def principal_std(x: Tensor, mean: Tensor, std: float) -> float:
    r"""The standard deviation along the main axes of a law, by independent draws of it.

    .. math:: \bar s^2 = \frac{\operatorname{tr} C^2}{\operatorname{tr} C}, \qquad
              \operatorname{tr} C^2 = E[(u^T v)^2], \qquad \operatorname{tr} C = N s^2

    for two independent centred draws u and v: the variances on the principal axes, each weighted
    with itself. It is s where all are the same, and up to :math:`\sqrt N s` where one has all.

    Arguments:
        x: the draws, shape (M, N), M >= 2.
        mean: of the law, shape (N,).
        std: s, the law's rms standard deviation over all coordinates.
    """
    u = x.double() - mean.to(x.device).double()
    products = (u @ u.T).square()
    pairs = float(products.sum() - products.diagonal().sum()) / (len(u) * (len(u) - 1))
    size = u.shape[1]
    return min(max(math.sqrt(pairs / size) / std, std), math.sqrt(size) * std) if std else 0.0
