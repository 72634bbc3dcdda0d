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

from diffode.data.rows import some_rows
from diffode.fields.exact import squared_distances
from diffode.metrics.estimates import Estimate, centred, pair, root, stated

_MOST = 2000  # points whose distances give a width
_ROWS = 500  # of a cubic kernel computed at once
_SAME = 1e-12  # of the largest squared distance from the centre: what rounding leaves of 0


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
    own, other, between = (d.sqrt_().neg_() for d in _distances(a, b))
    bias = own.sum() / (len(a) ** 2 * (len(a) - 1)) + other.sum() / (len(b) ** 2 * (len(b) - 1))
    d2, stderr = _statistic(own, other, between)
    return root(d2 - float(bias), stderr, len(a), len(b))


def bandwidth(reference: Tensor) -> float:
    """The median distance of two different points of a set: the usual width of a Gaussian kernel.

    Raises:
        ValueError: points that are all equal.
    """
    flat, _ = centred(reference, reference)
    return _median(flat[some_rows(len(flat), _MOST)])[0]


def _median(flat: Tensor) -> tuple[float, Tensor]:
    """The median distance of two different points, and what each point adds to it, shape (n,).

    To first order that is :math:`2 (\tfrac12 - F_i(w)) / f(w)`, with :math:`F_i` the share of a
    point's distances below w and f the density of all distances there.
    """
    distances = squared_distances(flat, flat).fill_diagonal_(0)
    apart = distances > _SAME * float(flat.square().sum(1).max())
    if not bool(apart.any()):
        raise ValueError(
            f"got {len(flat)} points that are all equal; the width of a kernel is the median "
            "distance of points that differ"
        )
    distances.sqrt_()
    known = distances[apart.triu(1)].sort().values
    n = len(known)
    width = float(known[(n - 1) // 2])
    near = known[[int(q * (n - 1)) for q in (0.4, 0.6)]]
    slope = float(near[1] - near[0]) / 0.2
    below = ((distances <= width) & apart).sum(1).double() / apart.sum(1).clamp_min(1)
    return width, 2 * (0.5 - below) * slope


def mmd(x: Tensor, y: Tensor, width: float | None = None) -> Estimate:
    r"""The squared maximum mean discrepancy of the kernel :math:`\exp(-|u - v|^2 / (2 w^2))`.

    Unbiased, so that it may be a little below 0 for equal laws.

    Reference: Gretton et al. (2012), A kernel two-sample test, JMLR 13, eq. 3.

    Arguments:
        x, y: sets of points, shapes (n, *event) and (m, *event).
        width: the kernel's w; None is the median distance of two points of y, see `bandwidth`,
            and then the standard error has the width's share too.

    Raises:
        ValueError: sets that cannot be compared, or a width that is not positive.
    """
    a, b = centred(x, y)
    rows = some_rows(len(b), _MOST)
    w, moves = (width, None) if width is not None else _median(b[rows])
    if not 0 < w < math.inf:
        raise ValueError(f"got a kernel of width {w}; a width is a positive number")
    distances = list(_distances(a, b))
    kernels: list[Tensor] = []
    slopes: list[float] = []
    while distances:  # one after the other: each takes as much memory as all else
        d = distances.pop(0)
        kernels.append((d / (-2 * w**2)).exp_())
        slopes.append(float(d.mul_(kernels[-1]).sum()) / w**3)
    own, other, between = kernels
    if moves is None:
        return stated(*_statistic(own, other, between), len(a), len(b))
    n, m = len(a), len(b)
    rate = slopes[0] / (n * (n - 1)) + slopes[1] / (m * (m - 1)) - 2 * slopes[2] / (n * m)
    shift = torch.zeros(len(b), dtype=torch.float64)
    shift[rows] = rate * moves * (len(b) / len(rows))
    return stated(*_statistic(own, other, between, shift), len(a), len(b))


def kernel_distance(x: Tensor, y: Tensor) -> Estimate:
    r"""KID: the unbiased squared discrepancy of the kernel :math:`(u \cdot v / d + 1)^3`.

    Unlike the Frechet distance it has no bias, so that it may be compared between counts.

    Reference: Binkowski et al. (2018), https://arxiv.org/abs/1801.01401, section 4.

    Arguments:
        x, y: features, shapes (n, d) and (m, d).

    Raises:
        ValueError: sets that cannot be compared.
    """
    _, known = pair(x, y)
    a, b = centred(x, y)
    c = known.mean(0)
    own, other, between = (
        torch.cat([_cubic(rows, v, c) for rows in torch.split(u, _ROWS)])
        for u, v in ((a, a), (b, b), (a, b))
    )
    return stated(*_statistic(own, other, between), len(a), len(b))


def _cubic(u: Tensor, v: Tensor, centre: Tensor) -> Tensor:
    r"""The cubic kernel of points u + c and v + c, less what depends on one of the two alone.

    That part cancels in the statistic, and far from the origin it holds all the digits. With
    :math:`K = |c|^2 / d + 1`, :math:`p = u \cdot c / d`, :math:`r = v \cdot c / d` and
    :math:`q = u \cdot v / d` it is :math:`(K + p)^3 + (K + r)^3 - K^3` of the kernel
    :math:`(K + p + r + q)^3`.
    """
    d = len(centre)
    k, q = float(centre @ centre) / d + 1, u @ v.T / d
    p, r = (u @ centre / d)[:, None], (v @ centre / d)[None, :]
    by_q = 3 * (k + p) ** 2 + 3 * (k + p) * (2 * r + q) + 3 * r**2 + 3 * r * q + q**2
    return by_q * q + 3 * p * r * (2 * k + p + r)


def _distances(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances within a, within b and between them, from centred points."""
    centre = b.mean(0)
    a, b = a - centre, b - centre
    return (
        squared_distances(a, a).fill_diagonal_(0),
        squared_distances(b, b).fill_diagonal_(0),
        squared_distances(a, b),
    )


def _statistic(
    own: Tensor, other: Tensor, between: Tensor, shift: Tensor | None = None
) -> tuple[float, float]:
    """The statistic without pairs of a point with itself, and its error, from three matrices.

    The matrices are used up.

    Arguments:
        own, other, between: the kernel within x, within y, and between them.
        shift: what each point of y adds through the kernel's width, shape (m,).
    """
    (n, m), total, first, second = between.shape, 0.0, 0.0, 0.0
    for k, cross, more in ((own, between, None), (other, between.T, shift)):
        k.fill_diagonal_(0)
        size = len(k)
        rows = k.sum(1) / (size - 1)
        total += float(rows.mean())
        moved = 2 * (rows - cross.mean(1))
        first += float((moved if more is None else moved + more).var()) / size
        rest = k.sub_(rows[:, None]).sub_(rows[None, :]).add_(rows.mean()).fill_diagonal_(0)
        second += 2 * float(rest.square_().sum()) / (size**3 * (size - 1))
    by_column, by_row, middle = between.mean(0), between.mean(1, keepdim=True), between.mean()
    rest = between.sub_(by_column).sub_(by_row).add_(middle)
    second += 4 * float(rest.square_().mean()) / (n * m)
    variance = max(first - second, second)
    return total - 2 * float(middle), math.sqrt(variance)
