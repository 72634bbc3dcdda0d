r"""Exact fields: no network, the true answer.

For known data the posterior mean is a sum. `Empirical` is the law of a data set, `Mixture` (its
own module) a mixture of Gaussians; each takes normal noise (diffusion) or Student-t noise
(Poisson flows) and any schedule. They are the oracles that trainers, solvers and guidance are
tested against.

References: Karras et al. (2022), https://arxiv.org/abs/2206.00364, eq. 57 (normal noise);
Xu et al. (2023), https://arxiv.org/abs/2302.04265 (Student-t noise, the PFGM++ kernel).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.fields.base import AffineField, right
from diffode.fields.schedules import Schedule
from diffode.priors import Normal, Spherical
from diffode.rng import Rng

_MEMORY = 2**26  # bytes of float64 logits and data held at once


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


def kernel_means(
    x: Tensor,
    y: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    noise: Spherical,
    log_prior: Tensor,
) -> Tensor:
    r"""The posterior mean of the points at queries x.

    .. math:: \sum_j w_j y_j, \qquad w_j \propto p_j \, g(|x - \alpha y_j|^2 / \sigma^2).

    The weights live in the log domain and the data is taken in chunks with a running softmax, so
    that memory stays bounded whatever the number of points.

    Arguments:
        x: queries, shape (B, N).
        y: points, shape (M, N), best centred.
        alpha, sigma: the level, each of shape () or (B,), float64.
        noise: the law whose radial density g is the kernel.
        log_prior: log p_j, shape (M,) or (B, M).
    """
    rows = max(1, _MEMORY // (8 * (len(x) + x.shape[1])))
    top = torch.full((len(x), 1), -math.inf, dtype=torch.float64, device=x.device)
    total = torch.zeros_like(top)
    mean = torch.zeros(len(x), y.shape[1], dtype=x.dtype, device=x.device)
    scale2 = sigma.square().reshape(-1, 1)
    for i in range(0, len(y), rows):
        part = y[i : i + rows]
        logits = noise.log_radial(squared_distances(x, part, alpha).div_(scale2), x.shape[1])
        logits = logits + log_prior[..., i : i + rows]
        new_top = torch.maximum(top, logits.amax(1, keepdim=True))
        shift = new_top.nan_to_num(neginf=0.0)
        weights, decay = (logits - shift).exp(), (top - shift).exp()
        total = total * decay + weights.sum(1, keepdim=True)
        mean = mean * decay.to(mean) + weights.to(mean) @ part.to(mean)
        top = new_top
    return mean / total.to(mean)


def normalised_log(weights: Tensor | None, count: int) -> Tensor:
    """The logarithms of weights scaled to sum to 1 (equal if None), shape (count,), float64."""
    if weights is None:
        return torch.full((count,), -math.log(count), dtype=torch.float64)
    w = torch.as_tensor(weights, dtype=torch.float64)
    if w.shape != (count,) or not bool((w >= 0).all()) or not float(w.sum()) > 0:
        raise ValueError(
            f"got weights of shape {tuple(w.shape)}; wanted {count} non-negative numbers"
        )
    return (w / w.sum()).log()


class Empirical(AffineField):
    r"""The exact field of a data set, :math:`E[x_0|x] = \sum_i w_i y_i`, w a softmax.

    Arguments:
        data: the points y, shape (M, \*event).
        schedule: alpha, sigma and the span.
        noise: `Normal()` or `StudentT(dof)`.
        weights: a probability for each point, shape (M,); equal if None.
        labels: a class for each point, shape (M,); then y selects the points of its class.
        bandwidth: the standard deviation of a Gaussian put on every point (normal noise only).

    Raises:
        ValueError: no points, or weights or labels that do not fit them.
    """

    def __init__(
        self,
        data: Tensor,
        schedule: Schedule,
        noise: Spherical | None = None,
        weights: Tensor | None = None,
        labels: Tensor | None = None,
        bandwidth: float = 0.0,
    ) -> None:
        if data.ndim < 2 or len(data) == 0:
            raise ValueError(
                f"got data of shape {tuple(data.shape)}; wanted (M, *event) with M > 0"
            )
        if labels is not None and labels.shape != data.shape[:1]:
            raise ValueError(
                f"got {tuple(labels.shape)} labels for {len(data)} points; pass one each"
            )
        noise = noise or Normal()
        if bandwidth and not isinstance(noise, Normal):
            raise ValueError("a bandwidth needs Normal() noise; use Mixture for StudentT noise")
        log_w = normalised_log(weights, len(data))
        flat, w = data.flatten(1).double(), log_w.exp().to(data.device)
        mean = w @ flat
        variance = (w @ (flat - mean).square().sum(1)) / flat.shape[1] + bandwidth**2
        super().__init__(
            schedule, noise, mean.to(data).view(data.shape[1:]), float(variance.sqrt())
        )
        self.bandwidth = bandwidth
        self.register_buffer("points", (flat - mean).to(data))
        self.register_buffer("log_weights", log_w.to(data.device))
        self.register_buffer("labels", labels)

    points: Tensor
    log_weights: Tensor
    labels: Tensor | None

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x]."""
        alpha, sigma = self.level(t, x)
        u = x - right(alpha, x) * self.mean.to(x)
        spread = self._spread(alpha, sigma)
        prior = self._log_prior(y, len(x))
        near = kernel_means(u.flatten(1), self.points, alpha, spread, self.noise, prior).view_as(x)
        rest = u - right(alpha, x) * near  # of the noise, and of the bandwidth's jitter
        jitter, noise = alpha * self.bandwidth**2 / spread.square(), sigma / spread.square()
        return self.mean.to(x) + near + right(jitter, x) * rest, right(noise, x) * rest

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw n points of the law, shape (n, *event)."""
        index = choose(self.log_weights, n, rng)
        x = self.points[index] + self.mean.flatten()
        if self.bandwidth:
            x = x + self.bandwidth * rng.normal("exact/jitter", x.shape, x.dtype, x.device)
        return x.view(n, *self.event_shape)

    def log_marginal(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The log-density of x_t at each row of x, in nats, shape (B,)."""
        alpha, sigma = self.level(t, x)
        spread = self._spread(alpha, sigma).reshape(-1, 1)
        u = (x - right(alpha, x) * self.mean.to(x)).flatten(1)
        r2 = squared_distances(u, self.points, alpha) / spread.square()
        logits = self.noise.log_radial(r2, u.shape[1]) + self.log_weights
        constant = self.noise.log_norm(u.shape[1]) - u.shape[1] * spread.log().squeeze(1)
        return (torch.logsumexp(logits, 1) + constant).to(x)

    def _spread(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return (sigma.square() + (alpha * self.bandwidth).square()).sqrt()

    def _log_prior(self, y: Tensor | None, rows: int) -> Tensor:
        if y is None:
            return self.log_weights
        if self.labels is None:
            raise ValueError("got labels y, but this field was built without labels")
        if len(y) != rows:
            raise ValueError(f"got {rows} points and {len(y)} labels; pass one label per point")
        match = y[:, None] == self.labels[None, :]
        if not bool(match.any(1).all()):
            raise ValueError(
                f"label {int(y[~match.any(1)][0])} has no points in this field's data"
            )
        return self.log_weights.where(match, -math.inf)


def choose(log_weights: Tensor, n: int, rng: Rng) -> Tensor:
    """Draw n indices with these log-probabilities."""
    edges = log_weights.exp().cumsum(0)
    u = rng.uniform("exact/component", (n,), device=log_weights.device)
    return torch.searchsorted(edges, u * edges[-1]).clamp_max(len(edges) - 1)
