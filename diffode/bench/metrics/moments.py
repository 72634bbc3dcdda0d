"""How good samples are: distances between two sets of points, in the space of the data itself.

Each number means little alone: read it beside the same number for two sets of real data.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from diffode.fields.exact import squared_distances


def frechet(x: Tensor, y: Tensor) -> float:
    r"""The Frechet distance of the two sets' first two moments.

    .. math:: |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x^{1/2} C_y C_x^{1/2})^{1/2}).

    It sees means and covariances only: a Gaussian fit of the data scores well. Quote it with
    `precision_recall`.

    Reference: Dowson and Landau (1982), The Frechet distance between multivariate normals.

    Arguments:
        x, y: sets of points, shapes (n, *event) and (m, *event).
    """
    a, b = x.flatten(1).double(), y.flatten(1).double()
    ca, cb = (torch.cov(v.T, correction=1).reshape(v.shape[1], -1) for v in (a, b))
    values, vectors = torch.linalg.eigh(ca)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cb @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + ca.trace() + cb.trace() - 2 * cross)


def precision_recall(x: Tensor, reference: Tensor, k: int = 5) -> tuple[float, float]:
    """The share of x inside the reference's k-nearest-neighbour balls, and the converse.

    Reference: Kynkaanniemi et al. (2019), https://arxiv.org/abs/1904.06991, eq. 2.

    Arguments:
        x: samples, shape (n, *event).
        reference: real data, shape (m, *event).
        k: the neighbour whose distance is a ball's radius, the point itself not counted; fewer in
            sets of k points or less.
    """
    a, b = x.flatten(1), reference.flatten(1)
    k = min(k, len(a) - 1, len(b) - 1)
    between = squared_distances(a, b)
    radius_a = squared_distances(a, a).kthvalue(k + 1, 1).values
    radius_b = squared_distances(b, b).kthvalue(k + 1, 1).values
    precision = (between <= radius_b[None, :]).any(1).double().mean()
    recall = (between <= radius_a[:, None]).any(0).double().mean()
    return float(precision), float(recall)


def nearest(x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of each sample to its nearest reference point, and which one that is."""
    flat, best, where = x.flatten(1), torch.full((len(x),), torch.inf), torch.zeros(len(x)).long()
    for first in range(0, len(reference), 4096):
        part = reference[first : first + 4096].flatten(1)
        distance, index = squared_distances(flat, part).min(1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        where = torch.where(closer, index + first, where)
    return best.sqrt(), where


MOST_COORDINATES = 2048  # beyond which covariances are not computed


@dataclass(frozen=True)
class Quality:
    """The figures that a run prints about its samples.

    Attributes:
        frechet: to the held-out split, in the space of the data; NaN beyond 2,048 coordinates.
        precision, recall: to the training split, k = 5.
        nearest: the median distance to the nearest training sample.
        count: how many samples were measured.
    """

    frechet: float
    precision: float
    recall: float
    nearest: float
    count: int

    def asdict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


def quality(x: Tensor, train: Tensor, test: Tensor, most: int = 2000) -> Quality:
    """Measure samples against a training and a held-out split.

    Arguments:
        x: samples, shape (n, *event).
        train, test: the two splits of the data.
        most: the most training samples that balls are laid around (the first ones).
    """
    precision, recall = precision_recall(x, train[:most])
    distance = float(nearest(x, train)[0].median())
    return Quality(moments_distance(x, test), precision, recall, distance, len(x))


def floor(train: Tensor, test: Tensor, most: int = 2000) -> Quality:
    """The same figures for real data: the training split's moments, and the held-out samples."""
    precision, recall = precision_recall(test, train[:most])
    distance = float(nearest(test, train)[0].median())
    return Quality(moments_distance(train, test), precision, recall, distance, len(test))


def moments_distance(x: Tensor, y: Tensor) -> float:
    """`frechet`, or NaN where the covariances are too large to be worth their time."""
    return frechet(x, y) if x[0].numel() <= MOST_COORDINATES else math.nan


def gaussian_fit(train: Tensor, n: int, noise: Tensor) -> Tensor:
    """Draws of the full-covariance Gaussian fitted to the data: what "nothing learned" looks like.

    Arguments:
        train: the data, shape (M, *event).
        n: how many.
        noise: standard normal numbers, shape (n, N).
    """
    flat = train.flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T).reshape(flat.shape[1], -1))
    draw = noise.double() * values.clamp_min(0).sqrt() @ vectors.T + flat.mean(0)
    samples: Tensor = draw.to(train).view(n, *train.shape[1:])
    return samples
