r"""Sums over points under a spherical kernel, with bounded memory.

The posterior mean of a data set is :math:`\sum_j w_j y_j` with :math:`w_j \propto p_j \,
g(|x - \alpha y_j|^2 / \sigma^2)`. In high dimension g is far below the smallest number and its
logarithm steep, so three things decide the accuracy: the weights live in the log domain (a
Student-t kernel through log1p), squared distances are float64, and points and queries are
measured from a common centre. Points are taken in chunks with a running softmax; they may lie on
another device than the queries, or in a memory map, and are moved as they are used.

Float32 queries are screened first: a float32 matmul and the bound of its error show which points
can carry weight at all, and the others (at low noise nearly all of them) are left out of what
follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.priors import Spherical

_MEMORY = 2**24  # bytes of float64 points and logits held at once
_QUERIES = 1024  # of which points are shared with at a time
_FLOOR = -64.0  # of logits under their largest: smaller weights make slow denormal numbers
_WORTH_SCREENING = 256  # coordinates, below which a matmul costs less than its logits
_TERMS = 64  # of a float32 sum: a long one drops what is small beside its largest term
_TOLERANCE = 1e-8  # of the weight that screening may leave out


def squared_distances(x: Tensor, y: Tensor, alpha: Tensor | float = 1.0) -> Tensor:
    r"""Squared distances :math:`|x_i - \alpha_i y_j|^2`, shape (B, M), by one matmul.

    In float64: the matmul form cancels, and a distance enters the logits of an exact field times
    N/2.

    Arguments:
        x: queries, shape (B, N).
        y: points, shape (M, N).
        alpha: the factor of the points, a number or one for each query.
    """
    x, y = x.double(), y.double()
    a = torch.as_tensor(alpha, dtype=torch.float64, device=x.device).reshape(-1, 1)
    product = torch.addmm(x.square().sum(1, keepdim=True), x * a, y.T, alpha=-2)
    return product.add_(a.square() * y.square().sum(1)).clamp_min_(0)


class Points(NamedTuple):
    """Points of a kernel sum and what is known of them.

    Attributes:
        y: the points, shape (M, N), on any device.
        squares: their squared distances from the centre, shape (M,), float64.
        log_prior: the logarithms of their weights, shape (M,), float64.
        centre: what they are measured from, shape (N,), float64; None for the origin.
        labels: their classes, shape (M,), or None.
        wide: the points in float64, where such a copy is kept.
    """

    y: Tensor
    squares: Tensor
    log_prior: Tensor
    centre: Tensor | None = None
    labels: Tensor | None = None
    wide: Tensor | None = None

    def take(self, index: slice | Tensor, device: torch.device) -> Points:
        """Some of the points, on a device."""
        y, squares, log_prior, labels, wide = (
            None if v is None else v[index].to(device)
            for v in (self.y, self.squares, self.log_prior, self.labels, self.wide)
        )
        assert y is not None and squares is not None and log_prior is not None
        return Points(y, squares, log_prior, self.centre, labels, wide)

    def from_centre(self, u: Tensor, factor: Tensor | float = 1.0) -> Tensor:
        """U less a multiple of the centre's first coordinates."""
        return u if self.centre is None else u - factor * self.centre[: u.shape[1]].to(u)


def centred_squares(y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """The mean of points, where to measure them from, and their squared distances from there.

    That is the origin, unless the mean is further out than the points lie apart: sums of
    coordinates that have a large part in common lose digits.

    Arguments:
        y: shape (M, N), on any device; it is read in chunks.
        weights: they sum to 1, shape (M,), float64; the results are float64 on their device.

    Returns:
        The mean (N,), the centre (N,) or None for the origin, the squared distances (M,).
    """
    size = max(1, _MEMORY // (64 * y.shape[1]))
    chunks = [slice(i, i + size) for i in range(0, len(y), size)]

    def squares_from(c: Tensor | float) -> Tensor:
        norms = [torch.linalg.vector_norm(y[k].to(weights) - c, dim=1) for k in chunks]
        return torch.cat(norms).square()

    mean = sum((weights[k] @ y[k].to(weights) for k in chunks), weights.new_zeros(y.shape[1]))
    squares, out = squares_from(0.0), float(mean.square().sum())
    if out <= 4 * (float(weights @ squares) - out):
        return mean, None, squares
    centre = mean.to(y.dtype).double()
    return mean, centre, squares_from(centre)


class Queries(NamedTuple):
    r"""Where sums over points are wanted, and under which kernel.

    Attributes:
        x: the queries, shape (B, N).
        alpha, sigma: the noise level, each of shape () or (B,), float64; an alpha of each
            coordinate is of shape (1, N) or (B, N).
        noise: the law whose radial density g is the kernel, taken without its ``log_norm``.
        labels: a class for each query, shape (B,): points of other classes have no weight.
        potential: take the potential of the law's density for a kernel, not the density.
    """

    x: Tensor
    alpha: Tensor
    sigma: Tensor
    noise: Spherical
    labels: Tensor | None = None
    potential: bool = False

    def blocks(self, size: int) -> Iterator[Queries]:
        """The same in parts of this many queries, alpha and sigma of shape (b, 1) or (b, N)."""
        sigma = self.sigma.reshape(-1, 1).expand(len(self.x), 1)
        alpha = self.alpha if self.alpha.ndim == 2 else self.alpha.reshape(-1, 1)
        alpha = alpha.expand(len(self.x), alpha.shape[1])
        for i in range(0, len(self.x), size):
            k = slice(i, i + size)
            labels = None if self.labels is None else self.labels[k]
            yield Queries(self.x[k], alpha[k], sigma[k], self.noise, labels, self.potential)


def kernel_means(points: Points, queries: Queries) -> Tensor:
    r"""The mean of the points under a kernel at each query, shape (B, N), in the dtype of x.

    .. math:: \sum_j w_j y_j, \qquad w_j \propto p_j \, g(|x - \alpha y_j|^2 / \sigma^2).

    Where a kernel with an edge is 0 at every point, its continuation weighs them
    (`Spherical.log_weight`).
    """
    return _sums(points, queries, queries.x.shape[1])[1]


def log_kernel_sums(points: Points, queries: Queries) -> Tensor:
    r"""The logarithm of a kernel sum at each query, shape (B,), float64.

    .. math:: \log \sum_j p_j \, g(|x - \alpha y_j|^2 / \sigma^2)
    """
    return _sums(points, queries, 0)[0]


def _sums(points: Points, queries: Queries, width: int) -> tuple[Tensor, Tensor]:
    """Log-sums (B,) and means (B, width) of the points' first coordinates, by blocks of x."""
    kind = queries.x.dtype
    dtype = torch.float64 if kind == torch.float64 else torch.float32
    with torch.autocast(queries.x.device.type, enabled=False):
        blocks = [
            _softmax(_Logits(points, part, means=width > 0), points, width, dtype)
            for part in queries.blocks(_QUERIES)
        ]
    logs, means = (torch.cat(v) for v in zip(*blocks, strict=True))
    return logs, points.from_centre(means, -1.0).to(kind)


def _softmax(
    logits_at: _Logits, points: Points, width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The log-sums of a block of queries and its means from the centre, by a running softmax."""
    top = torch.full_like(logits_at.base, -math.inf)
    total, mean = torch.zeros_like(top), top.new_zeros(len(top), width, dtype=dtype)
    for logits, part in _chunks(logits_at, points, dtype):
        new_top = torch.maximum(top, logits.detach().amax(1, keepdim=True))
        shift = new_top.nan_to_num(neginf=0.0)
        weights = (logits - shift).to(dtype).clamp_min_(_FLOOR).exp_()
        decay = (top - shift).exp()
        total = total * decay + weights.sum(1, keepdim=True, dtype=torch.float64)
        y, mean = part.from_centre(part.y[:, :width].to(dtype)), mean * decay.to(dtype)
        step = _TERMS if dtype == torch.float32 else len(y)
        for k in range(0, len(y), step):
            mean += weights[:, k : k + step] @ y[k : k + step]  # addmm would start at the mean
        top = new_top
    log = (top + total.log()).squeeze(1)
    return log, mean / total.where(top > -math.inf, math.nan)  # no point of weight: no mean


class _Logits:
    r"""Logits of a block of queries x (B, N) at points, from inner products q.y.

    With :math:`u = x - \alpha c`, c the centre, and :math:`q = 2 \alpha u / \sigma^2`,

    .. math:: |x - \alpha y|^2 / \sigma^2
              = |u|^2 / \sigma^2 + q.c + \alpha^2 |y - c|^2 / \sigma^2 - q.y.
    """

    def __init__(self, points: Points, queries: Queries, means: bool) -> None:
        x, alpha, sigma, noise, self.labels, potential = queries
        density = noise.log_weight if means else noise.log_radial
        self.log_kernel = noise.log_potential if potential else density
        u, rate = points.from_centre(x.double(), alpha), 1 / sigma.square()
        self.query = 2 * alpha * rate * u
        self.base = u.square().sum(1, keepdim=True) * rate
        if points.centre is not None:
            self.base = self.base + (self.query @ points.centre)[:, None]
        self.factor, self.dim = alpha.square() * rate, x.shape[1]
        self.by_coordinate = self.factor.shape[1] > 1

    def __call__(self, product: Tensor, points: Points, margin: Tensor | float = 0.0) -> Tensor:
        """The logits (B, c), of squared distances over sigma^2 that are smaller by a margin."""
        if self.by_coordinate:
            squares = points.from_centre(points.y.double()).square()
            r2 = (self.base - margin + self.factor @ squares.T).sub_(product)
        else:
            r2 = torch.addcmul(self.base - margin, self.factor, points.squares).sub_(product)
        logits = self.log_kernel(r2.clamp_min_(0), self.dim).add_(points.log_prior)
        if self.labels is None or points.labels is None:
            return logits
        return logits.where(self.labels[:, None] == points.labels, -math.inf)


class _Screen:
    """Leaves out the points that carry no weight at any query, by a float32 matmul and its bound.

    Where most points carry weight screening costs more than it saves: it then pauses for some
    chunks, longer each time.
    """

    def __init__(self, logits_at: _Logits, points: Points) -> None:
        self.logits_at, self.query = logits_at, logits_at.query.detach().float()
        self.length = logits_at.query.detach().norm(dim=1, keepdim=True)
        self.offset = 0.0 if points.centre is None else float(points.centre.norm())
        self.low = torch.full_like(self.length, -math.inf)  # the least that the largest logit is
        self.window = math.log(len(points.y) / _TOLERANCE)
        self.pause, self.skip = 1, 0

    @torch.no_grad()
    def __call__(self, points: Points) -> Points:
        """Those of a chunk of points that matter."""
        if self.skip:
            self.skip -= 1
            return points
        device = self.query.device
        product = (self.query @ points.y.float().T).double()
        longest = points.squares.max().sqrt() + self.offset
        margin = (self.query.shape[1] + 2) * 2.0**-24 * self.length * longest
        high = self.logits_at(product, points, margin)
        best = high.argmax(1).unique()  # type: ignore[no-untyped-call]
        low = self.logits_at(product[:, best], points.take(best, device), -margin)
        self.low = torch.maximum(self.low, low.amax(1, keepdim=True))
        outside = (high < self.low - self.window) | (high == -math.inf)  # nan stays
        keep = outside.all(0).logical_not().nonzero().squeeze(1)
        if 2 * len(keep) <= len(points.y):
            return points.take(keep, device)
        self.pause *= 8
        self.skip = self.pause - 1
        return points


def _chunks(
    logits_at: _Logits, points: Points, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Points]]:
    """Logits (B, c), float64, and the points that they belong to, chunk by chunk."""
    query = logits_at.query
    size = max(1, _MEMORY // (8 * (logits_at.dim + 4 * len(query))))
    screen = (
        _Screen(logits_at, points)
        if dtype == torch.float32
        and logits_at.dim >= _WORTH_SCREENING
        and torch.get_float32_matmul_precision() == "highest"
        and not torch._C._are_functorch_transforms_active()  # these take no branch on values
        else None
    )
    for i in range(0, len(points.y), size):
        part = points.take(slice(i, i + size), query.device)
        if screen is not None:
            part = screen(part)
        if len(part.y):
            wide = part.y.double() if part.wide is None else part.wide
            yield logits_at(query @ wide.T, part), part
