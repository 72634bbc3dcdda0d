r"""Distances by kernels: the energy distance, MMD and the kernel distance (KID).

All three are one statistic of a kernel k,

.. math:: \hat D^2 = \overline{k(x, x')} + \overline{k(y, y')} - 2 \overline{k(x, y)},

and have one standard error. To first order a point x moves the value by 2 p(x),
:math:`p(x) = \overline{k(x, x')} - \overline{k(x, y)}`; where the two laws are equal that vanishes
and what is left is of second order. The variance has both parts: 4 Var(p) / n over each set counts
the first once and the second twice, so the second is subtracted once.

References: Gretton et al. (2012), A kernel two-sample test, JMLR 13; Hoeffding (1948), A class of
statistics with asymptotically normal distribution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.bench.estimates import Estimate, pair, root
from diffode.data.base import some_rows
from diffode.fields.exact import squared_distances

_MOST = 2000  # points whose distances give a width


def energy_distance(x: Tensor, y: Tensor) -> Estimate:
    r"""The energy distance, the root of

    .. math:: D^2 = 2 E|x - y| - E|x - x'| - E|y - y'|,

    its means over all pairs, a point with itself among them: never negative. It needs first
    moments only.

    Reference: Szekely and Rizzo (2013), https://doi.org/10.1016/j.jspi.2013.03.018, eq. 5.

    Arguments:
        x, y: sets of points, shapes (n, *event) and (m, *event).

    Raises:
        ValueError: sets that cannot be compared.
    """
    a, b = pair(x, y)
    own, other, between = (-d.sqrt() for d in _distances(a, b))
    d2 = _statistic(own, other, between)
    bias = own.sum() / (len(a) ** 2 * (len(a) - 1)) + other.sum() / (len(b) ** 2 * (len(b) - 1))
    return root(d2.value - float(bias), d2.stderr)


def bandwidth(reference: Tensor) -> float:
    """The median distance of two points of a set: the usual width of a Gaussian kernel."""
    flat = pair(reference, reference)[0]
    flat = flat[some_rows(len(flat), _MOST)]
    distances = squared_distances(flat, flat).sqrt()
    above = torch.ones_like(distances, dtype=torch.bool).triu(1)
    return float(distances[above].median())


def mmd(x: Tensor, y: Tensor, width: float | None = None) -> Estimate:
    r"""The squared maximum mean discrepancy of the kernel :math:`\exp(-|u - v|^2 / (2 w^2))`.

    Unbiased, so that it may be a little below 0 for equal laws.

    Reference: Gretton et al. (2012), A kernel two-sample test, JMLR 13, eq. 3.

    Arguments:
        x, y: sets of points, shapes (n, *event) and (m, *event).
        width: the kernel's w; None is the median distance of two points of y, see `bandwidth`.

    Raises:
        ValueError: sets that cannot be compared, or a width that is not positive.
    """
    a, b = pair(x, y)
    w = bandwidth(b) if width is None else width
    if not 0 < w < math.inf:
        raise ValueError(f"got a kernel of width {w}; a width is a positive number")
    return _statistic(*((d / (-2 * w**2)).exp() for d in _distances(a, b)))


def kernel_distance(x: Tensor, y: Tensor) -> Estimate:
    r"""KID: the unbiased squared discrepancy of the kernel :math:`(u \cdot v / d + 1)^3`.

    Unlike the Frechet distance it has no bias, so that it may be compared between counts.

    Reference: Binkowski et al. (2018), https://arxiv.org/abs/1801.01401, section 4.

    Arguments:
        x, y: features, shapes (n, d) and (m, d).

    Raises:
        ValueError: sets that cannot be compared.
    """
    a, b = pair(x, y)
    return _statistic(*((u @ v.T / a.shape[1] + 1) ** 3 for u, v in ((a, a), (b, b), (a, b))))


def _distances(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances within a, within b and between them, from centred points."""
    centre = b.mean(0)
    a, b = a - centre, b - centre
    return (
        squared_distances(a, a).fill_diagonal_(0),
        squared_distances(b, b).fill_diagonal_(0),
        squared_distances(a, b),
    )


def _statistic(own: Tensor, other: Tensor, between: Tensor) -> Estimate:
    """The statistic without the pairs of a point with itself, from the kernel's three matrices."""
    (n, m), total, first, second = between.shape, 0.0, 0.0, 0.0
    for k, cross in ((own, between), (other, between.T)):
        k = k.clone().fill_diagonal_(0)
        size = len(k)
        rows = k.sum(1) / (size - 1)
        total += float(rows.mean())
        first += 4 * float((rows - cross.mean(1)).var()) / size
        rest = k - rows[:, None] - rows[None, :] + rows.mean()
        rest.fill_diagonal_(0)
        second += 2 * float(rest.square().sum()) / (size**3 * (size - 1))
    rest = between - between.mean(0) - between.mean(1, keepdim=True) + between.mean()
    second += 4 * float(rest.square().mean()) / (n * m)
    variance = max(first - second, second)
    return Estimate(total - 2 * float(between.mean()), math.sqrt(variance))
