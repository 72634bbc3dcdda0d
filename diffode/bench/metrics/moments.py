"""Distances of means and covariances, and the laws that have none."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from diffode.bench.estimates import Estimate, pair

MOST_COORDINATES = 2048  # beyond which covariances are not computed


def frechet(x: Tensor, y: Tensor) -> Estimate:
    r"""The Frechet distance of the two sets' first two moments,

    .. math:: d^2 = |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x^{1/2} C_y C_x^{1/2})^{1/2}).

    It sees means and covariances only: a Gaussian fit of the data scores well. Quote it with
    `precision_recall`, with the space that the points are in, and with both counts: it is biased
    upwards by about their inverses.

    The standard error is the infinitesimal jackknife's: each point x moves the value by the
    potential of the optimal map A between the two Gaussians,
    :math:`\tilde x^T (I - A) \tilde x + 2 \tilde x \cdot (m_x - m_y)` with
    :math:`\tilde x = x - m_x`, and each y by the same with the inverse map.

    Reference: Dowson and Landau (1982), The Frechet distance between multivariate normals.

    Arguments:
        x, y: sets of points, shapes (n, *event) and (m, *event).

    Raises:
        ValueError: sets that cannot be compared, or more than 2,048 coordinates.
    """
    a, b = pair(x, y)
    if a.shape[1] > MOST_COORDINATES:
        raise ValueError(
            f"got points of {a.shape[1]} coordinates; a Frechet distance takes at most "
            f"{MOST_COORDINATES}: use a feature space, or the sliced distance"
        )
    shift = a.mean(0) - b.mean(0)
    ca, cb = (torch.cov(v.T, correction=1).reshape(v.shape[1], -1) for v in (a, b))
    value = float(shift.square().sum() + ca.trace() + cb.trace() - 2 * _cross(ca, cb).sum())
    moved = [_influence(a, ca, cb, shift), _influence(b, cb, ca, -shift)]
    return Estimate(value, math.sqrt(sum(float(v.var()) / len(v) for v in moved)))


def _cross(ca: Tensor, cb: Tensor) -> Tensor:
    """The eigenvalues of the root of Ca^(1/2) Cb Ca^(1/2)."""
    root = _power(ca, 0.5)
    values: Tensor = torch.linalg.eigvalsh(root @ cb @ root)
    return values.clamp_min(0).sqrt()


def _power(c: Tensor, exponent: float) -> Tensor:
    """A power of a covariance on the span of its eigenvectors that are not null."""
    values, vectors = torch.linalg.eigh(c)
    kept = values > values[-1].clamp_min(1e-300) * 1e-12
    powers = torch.where(kept, values.clamp_min(1e-300) ** exponent, 0.0)
    power: Tensor = vectors * powers @ vectors.T
    return power


def _influence(x: Tensor, own: Tensor, other: Tensor, shift: Tensor) -> Tensor:
    """What each point adds to the distance, to first order, shape (n,)."""
    centred = x - x.mean(0)
    root, inverse = _power(own, 0.5), _power(own, -0.5)
    back = centred @ inverse
    moved = back @ _power(root @ other @ root, 0.5)
    return centred.square().sum(1) - (back * moved).sum(1) + 2 * centred @ shift


def require_second_moment(law: Any, what: str) -> None:  # noqa: ANN401
    """Refuse a law without a second moment to a measure that needs one.

    Arguments:
        law: a noise or prior such as `diffode.priors.StudentT`, or anything with its ``dof``; a
            law without one is taken to have all its moments.
        what: the measure's name.

    Raises:
        ValueError: a Student-t law of two degrees of freedom or less.
    """
    dof = getattr(law, "dof", None)
    if dof is not None and dof <= 2:
        raise ValueError(
            f"{what} needs second moments, and {law} has none (dof <= 2): its value would follow "
            "the largest draw; use the energy distance of bounded features, or MMD"
        )


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
