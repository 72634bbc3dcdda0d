"""What nearest neighbours tell: which points look real, which are missed, which are copies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.data.source import CHUNK, Samples, Source, chunks, width
from diffode.doors import as_count, as_state
from diffode.fields.exact import squared_distances
from diffode.metrics.estimates import FEWEST, Estimate, centred, fraction, pair, stated
from diffode.rng import Rng

_SPLITS, _ROWS = 5, 1000  # into halves, for standard errors, and more of them for few rows
_SAME = 1e-12  # of the largest square: what rounding makes of equal distances
_EXACT = 256  # coordinates up to which distances are searched in float64
_AT_ONCE = 4096  # reference points whose distances are held


def precision_recall(x: Tensor, reference: Tensor, k: int = 5) -> dict[str, Estimate]:
    r"""Shares of the two sets inside the other's k-nearest-neighbour balls.

    With the balls :math:`B(r)` around reference points and :math:`B(x)` around samples,

    * precision: the share of x in the union of the :math:`B(r)`;
    * recall: the share of the reference in the union of the :math:`B(x)`;
    * density: the mean over x of :math:`\#\{r : x \in B(r)\} / k`, about 1 for real data;
    * coverage: the share of the reference whose :math:`B(r)` holds a sample.

    The standard errors count both sets, since each makes the balls of the other: a quarter of the
    squared difference between the halves of a set, averaged over some splits, is its variance.
    Near 0 and 1 they are Wilson's, see `diffode.metrics.estimates.fraction`.

    References: Kynkaanniemi et al. (2019), https://arxiv.org/abs/1904.06991, eq. 2; Naeem et al.
    (2020), https://arxiv.org/abs/2002.09797, eqs. 3 and 4.

    Arguments:
        x: samples, shape (n, *event).
        reference: real data, shape (m, *event).
        k: the neighbour whose distance is a ball's radius, the point itself not counted; fewer in
            sets of k points or less.

    Raises:
        ValueError: sets that cannot be compared.
    """
    a, b = centred(x, reference)
    if (k := as_count(k, "k")) < 1:
        raise ValueError(f"got k={k}; neighbours count from 1")
    k = min(k, len(a) - 1, len(b) - 1)
    between, of_a, of_b = (squared_distances(*v) for v in ((a, b), (a, a), (b, b)))
    same = _SAME * float(max(v.square().sum(1).max() for v in (a, b)))
    between -= same  # rows that are equal, or equally far, are inside
    radius_a, radius_b = _radii(of_a, k), _radii(of_b, k)
    values = _shares(between, radius_a, radius_b, k)
    variance = torch.zeros_like(values)
    splits = max(_SPLITS, _ROWS // max(len(a), len(b)))
    for of_ours, of_theirs in zip(_halves(splits, len(a)), _halves(splits, len(b)), strict=True):
        ours = [
            _shares(between[rows], _radii(of_a[rows][:, rows], k), radius_b, k) for rows in of_ours
        ]
        theirs = [
            _shares(between[:, rows], radius_a, _radii(of_b[rows][:, rows], k), k)
            for rows in of_theirs
        ]
        for one, other in (ours, theirs):
            variance += (one - other).square() / (4 * splits)
    names, counts = ("precision", "recall", "coverage"), (len(a), len(b), len(b))
    parts = zip(names, values.tolist(), variance.tolist(), counts, strict=False)
    found = {name: fraction(p, v, count) for name, p, v, count in parts}
    value, error = float(values[3]), float(variance[3].sqrt())
    return {k: found[k] for k in ("precision", "recall")} | {
        "density": stated(value, error, len(a), len(b)) if value > 0 else found["precision"],
        "coverage": found["coverage"],
    }


def _radii(distances: Tensor, k: int) -> Tensor:
    """Each row's k-th smallest, itself at 0 not counted; the largest where there are fewer."""
    return distances.topk(min(k + 1, len(distances)), 1, largest=False).values[:, -1]


def _halves(splits: int, size: int) -> list[tuple[Tensor, Tensor]]:
    orders = Rng(0).uniform("halves", (size, splits)).argsort(dim=0, stable=True).unbind(1)
    half = size // 2
    return [(order[:half], order[half : 2 * half]) for order in orders]


def _shares(between: Tensor, radius_a: Tensor, radius_b: Tensor, k: int) -> Tensor:
    """Precision, recall, coverage and density, from squared distances and radii."""
    inside = between <= radius_b[None, :]
    found = (between <= radius_a[:, None]).any(0)
    shares = (inside.any(1), found, inside.any(0), inside.sum(1) / k)
    return torch.stack([v.double().mean() for v in shares])


def nearest(x: Tensor, reference: Samples) -> tuple[Tensor, Tensor]:
    r"""The distance of each sample to its nearest reference point, and which one that is.

    Arguments:
        x: samples, shape (n, \*event).
        reference: the points, shape (M, \*event), of which some are held at once.

    Raises:
        ValueError: points of different shapes.
    """
    x = as_state(x)
    if not isinstance(reference, Source):
        reference = as_state(reference, x.shape[1:], "reference")
    flat, first, centre = x.reshape(len(x), -1), 0, None
    best, where = torch.full((len(x),), torch.inf).double(), torch.zeros(len(x)).long()
    for part in chunks(reference, min(CHUNK, _AT_ONCE * width(reference))):
        known = part.reshape(len(part), -1)
        centre = known.double().mean(0) if centre is None else centre
        distance, index = _search(flat, known, centre).min(1)
        closer = distance < best
        best = torch.where(closer, distance.double(), best)
        where = torch.where(closer, index + first, where)
        first += len(part)
    found = reference[where].reshape(len(x), -1)
    return (flat.double() - found.double()).norm(dim=1), where


def _search(x: Tensor, y: Tensor, centre: Tensor) -> Tensor:
    """Squared distances, in single precision where there are many coordinates.

    They are taken about the centre: far from the origin the products lose all digits.
    """
    x, y = x.double() - centre, y.double() - centre
    if x.shape[1] <= _EXACT:
        return squared_distances(x, y)
    x, y = x.float(), y.float()
    product = torch.addmm(x.square().sum(1, keepdim=True), x, y.T, alpha=-2)
    return product.add_(y.square().sum(1))


def copying(x: Tensor, train: Tensor, held_out: Tensor) -> Estimate:
    r"""The nearest-neighbour copying test,

    .. math:: P\bigl( d(x, train) < d(h, train) \bigr)
              + \tfrac12 P\bigl( d(x, train) = d(h, train) \bigr),

    x a sample, h a held-out point, d the distance to the nearest training point. 0.5 is fair, 1
    is a copy of the training set, and less than 0.5 lies further away than real data.

    The standard error is that of the Mann-Whitney statistic, and at 0 and 1 that of a share.

    Reference: Meehan et al. (2020), A non-parametric test to detect data-copying in generative
    models, https://arxiv.org/abs/2004.05675, section 3, with the whole space as the one cell.

    Arguments:
        x: samples, shape (n, *event).
        train: what they may be copies of, shape (M, *event).
        held_out: real points that are not in it, shape (m, *event).

    Raises:
        ValueError: sets that cannot be compared.
    """
    pair(x, train, least=1)
    pair(x, held_out)
    return nearer(nearest(x, train)[0], nearest(held_out, train)[0])


def nearer(a: Tensor, b: Tensor) -> Estimate:
    """The Mann-Whitney probability that a is less than b, ties half, from draws (n,) and (m,).

    Where all pairs agree, 0 or 1, the error is that of a share of the smaller set.
    """
    over_a, over_b = _share_above(a, b), 1 - _share_above(b, a)
    variance = over_a.var() / len(a) + over_b.var() / len(b)
    if not variance and min(len(a), len(b)) >= FEWEST:
        return fraction(float(over_a.mean()), 0.0, min(len(a), len(b)))
    return stated(float(over_a.mean()), math.sqrt(float(variance)), len(a), len(b))


def _share_above(values: Tensor, draws: Tensor) -> Tensor:
    """The share of draws that each value is less than, ties half."""
    ordered = draws.sort().values
    upto = torch.searchsorted(ordered, values, right=True)
    below = torch.searchsorted(ordered, values, right=False)
    return 1 - (upto + below).double() / (2 * len(draws))
