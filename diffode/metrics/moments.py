"""Distances of means and covariances, and the laws that have none."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.data.source import Samples, chunks, width
from diffode.metrics.estimates import Estimate, pair, stated
from diffode.rng import Rng

MOST_COORDINATES = 2048  # beyond which covariances are not computed
_VALUES = 2**20  # of samples taken to float64 at once
_NULL = 1e-12  # of the largest variance, below which there is none


def frechet(x: Tensor, y: Tensor, law: object = None) -> Estimate:
    r"""The Frechet distance of the two sets' first two moments,

    .. math:: d^2 = |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x^{1/2} C_y C_x^{1/2})^{1/2}).

    It sees means and covariances only: a Gaussian fit of the data scores well. Quote it with
    `precision_recall`, with the space that the points are in, and with both counts: its bias
    falls as they grow.

    The standard error is the infinitesimal jackknife's: each point x moves the value by the
    potential of the optimal map A between the two Gaussians,
    :math:`\tilde x^T (I - A) \tilde x + 2 \tilde x \cdot (m_x - m_y)` with
    :math:`\tilde x = x - m_x`, and each y by the same with the inverse map. It errs to the large
    side, by up to :math:`\sqrt 2`, where the laws are equal or the counts small.

    Reference: Dowson and Landau (1982), The Frechet distance between multivariate normals.

    Arguments:
        x, y: sets of points, shapes (n, *event) and (m, *event).
        law: what they are drawn from, where it is known.

    Raises:
        ValueError: sets that cannot be compared, a law without a second moment, or more than
            2,048 coordinates.
    """
    a, b = pair(x, y)
    require_second_moment(law, "a Frechet distance", a.shape[1])
    if a.shape[1] > MOST_COORDINATES:
        raise ValueError(
            f"got points of {a.shape[1]} coordinates; a Frechet distance takes at most "
            f"{MOST_COORDINATES}: use a feature space, or the sliced distance"
        )
    shift = a.mean(0) - b.mean(0)
    ca, cb = (torch.cov(v.T, correction=1).reshape(v.shape[1], -1) for v in (a, b))
    cross, moved_a = _moved(a, ca, cb, shift)
    _, moved_b = _moved(b, cb, ca, -shift)
    value = float(shift.square().sum() + ca.trace() + cb.trace()) - 2 * cross
    variance = float(moved_a.var()) / len(a) + float(moved_b.var()) / len(b)
    return stated(value, math.sqrt(variance), len(a), len(b))


def _moved(x: Tensor, own: Tensor, other: Tensor, shift: Tensor) -> tuple[float, Tensor]:
    """The trace of (C^(1/2) other C^(1/2))^(1/2), and what each point adds to first order, (n,).

    C is the covariance of x; its null directions take no part.
    """
    values, vectors = torch.linalg.eigh(own)
    kept = values > values[-1] * _NULL
    values, vectors = values[kept], vectors[:, kept]
    root = vectors * values.sqrt()
    inner, turn = torch.linalg.eigh(root.T @ other @ root)
    inner = inner.clamp_min(0).sqrt()
    centred = x - x.mean(0)
    white = centred @ (vectors / values.sqrt()) @ turn
    quadratic = centred.square().sum(1) - (white.square() * inner).sum(1)
    return float(inner.sum()), quadratic + 2 * centred @ shift


def require_second_moment(law: object, what: str, dim: int = 1) -> None:
    """Refuse a law without a second moment to a measure that needs one.

    Arguments:
        law: a noise or prior such as `diffode.priors.StudentT`, or anything with its ``dof``, or
            with the ``rms`` of `diffode.priors.Radial`; a law without either is taken to have all
            its moments.
        what: the measure's name.
        dim: the number N of coordinates, on which those of a radial law depend.

    Raises:
        ValueError: a Student-t law of two degrees of freedom or less, or a radial law whose mean
            square is infinite.
    """
    if (rms := getattr(law, "rms", None)) is not None:
        try:
            rms(dim)
        except NotImplementedError:  # a law that states no density
            pass
        except ValueError as error:
            raise ValueError(f"{what} needs second moments; {error}") from None
    dof = getattr(law, "dof", None)
    if dof is not None and dof <= 2:
        raise ValueError(
            f"{what} needs second moments, and {law} has none (dof <= 2): its value would follow "
            "the largest draw; use MMD, or precision and recall, which need none"
        )


def mean_covariance(x: Samples) -> tuple[Tensor, Tensor]:
    r"""The mean (N,) and the covariance (N, N) of samples, some of which are held at once.

    Arguments:
        x: samples, shape (M, \*event), M >= 2.
    """
    n, mean = width(x), mean_of(x)
    covariance = torch.zeros(n, n, dtype=torch.float64)
    for part in chunks(x, _VALUES):
        u = part.reshape(-1, n).double() - mean
        covariance.addmm_(u.T, u)
    return mean, covariance / (len(x) - 1)


def mean_of(x: Samples) -> Tensor:
    """The mean (N,) of samples, float64."""
    total = torch.zeros(width(x), dtype=torch.float64)
    for part in chunks(x, _VALUES):
        total += part.reshape(len(part), -1).double().sum(0)
    return total / len(x)


def gaussian_fit(train: Samples, n: int, rng: Rng) -> Tensor:
    r"""Draws of the Gaussian with the data's mean and covariance: "nothing learned" looks like it.

    Beyond 2,048 coordinates no covariance is computed: a draw is the mean and

    .. math:: \frac{1}{\sqrt{M - 1}} \sum_i w_i (x_i - \bar x), \quad w \sim N(0, 1),

    which has the covariance of the data exactly.

    Arguments:
        train: the data, shape (M, \*event).
        n: how many.
        rng: of the draws.
    """
    if (dim := width(train)) <= MOST_COORDINATES:
        mean, covariance = mean_covariance(train)
        values, vectors = torch.linalg.eigh(covariance)
        noise = rng.normal("gaussian fit", (n, dim), torch.float64)
        draw: Tensor = noise * values.clamp_min(0).sqrt() @ vectors.T + mean
        return draw.float().view(n, *train.shape[1:])
    mean, first = mean_of(train), 0
    total = torch.zeros(n, dim)
    for part in chunks(train, _VALUES):
        weights = rng.normal(f"gaussian fit/{first}", (n, len(part)))
        total.addmm_(weights, (part.reshape(-1, dim).double() - mean).float())
        first += len(part)
    draw = total.div_(math.sqrt(len(train) - 1)).add_(mean.float())
    return draw.view(n, *train.shape[1:])
