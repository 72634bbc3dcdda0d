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

from torch import Tensor

from diffode.doors import Numbers, as_count, as_state
from diffode.fields.base import expand_like
from diffode.fields.decay import Decay
from diffode.fields.kernels import (
    Points,
    Queries,
    centred_squares,
    kernel_means,
    log_kernel_sums,
    squared_distances,
)
from diffode.fields.labelled import Labelled, normalised_log
from diffode.fields.schedules import Schedule
from diffode.priors import Normal, Spherical, is_normal
from diffode.rng import Rng

__all__ = ["Empirical", "squared_distances"]


class Empirical(Labelled):
    r"""The exact field of a data set, :math:`E[x_0|x] = \sum_i w_i y_i`, w a softmax.

    A call takes the data in chunks, so that memory does not grow with it. Squared distances are
    float64 whatever the dtype of x; the mean is summed in the dtype of x, float32 at least.

    Arguments:
        data: the points y, shape (M, \*event), floating-point; kept as they are, not copied.
        schedule: alpha, sigma and the span.
        noise: `Normal()`, `StudentT(dof)` or any other spherical law.
        weights: a probability for each point, shape (M,); equal if None.
        labels: a class for each point, shape (M,); then y selects the points of its class.
        bandwidth: the standard deviation of a Gaussian put on every point (normal noise only).
        resident: make the data a buffer, which moves with the field. False leaves it where it is
            (the CPU, a memory map) and moves each chunk to the queries as it is used; the data is
            then no part of the field's state.
        keep_float64: keep a float64 copy besides (8 bytes a number): calls on float32 queries
            take less time where most points carry weight.
        decay: a factor of each coordinate beside alpha; the data are then coordinates in its
            basis (`diffode.fields.blurred` takes them as they are).

    Raises:
        TypeError: data that is not floating-point.
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
        *,
        resident: bool = True,
        keep_float64: bool = False,
        decay: Decay | None = None,
    ) -> None:
        if isinstance(data, Tensor) and not data.is_floating_point():
            raise TypeError(f"got data of type {data.dtype}; scale it to floating-point numbers")
        data = as_state(data, name="data")
        if data.ndim < 2:
            raise ValueError(f"got data of shape {tuple(data.shape)}; wanted (M, *event)")
        noise = noise or Normal()
        if bandwidth and not is_normal(noise):
            raise ValueError("a bandwidth needs Normal() noise; use Mixture for StudentT noise")
        if bandwidth and decay is not None:
            raise ValueError("got a bandwidth and a decay, under which no kernel stays round")
        points, log_w = data.detach().flatten(1), normalised_log(weights, len(data))
        log_w = log_w.to(data.device)
        mean, centre, squares = centred_squares(points, log_w.exp())
        if not bool(mean.isfinite().all()):
            raise ValueError("got data with values that are not finite; leave those points out")
        off = mean if centre is None else mean - centre
        total = log_w.exp() @ squares - off.square().sum()
        std = math.sqrt(max(float(total), 0.0) / points.shape[1] + bandwidth**2)
        super().__init__(
            schedule, noise, mean.to(data.dtype).view(data.shape[1:]), std, log_w, labels, decay
        )
        self.bandwidth = bandwidth
        if resident:
            self.register_buffer("points", points)
        else:
            self.points = points
        self.register_buffer("wide", points.double() if keep_float64 else None, persistent=False)
        self.register_buffer("centre", centre)
        self.register_buffer("squares", squares)

    points: Tensor
    centre: Tensor | None
    wide: Tensor | None
    squares: Tensor

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x]."""
        x = self.as_state(x)
        alpha, sigma = self.level(t, x)
        spread = self._spread(alpha, sigma)
        labels = self.as_labels(y, len(x))
        queries = Queries(x.flatten(1), self._flat(alpha), spread, self.noise, labels)
        near = kernel_means(self._points(), queries).view_as(x)
        rest = x - expand_like(alpha, x) * near  # of the noise, and of the bandwidth's jitter
        noise = sigma / spread.square()
        if self.decay is not None:
            return near, expand_like(noise, x) * rest
        jitter = alpha * self.bandwidth**2 / spread.square()
        return near + expand_like(jitter, x) * rest, expand_like(noise, x) * rest

    def sample(self, n: int, rng: Rng, y: Numbers | int | None = None) -> Tensor:
        """Draw n points of the law, or of the class of each label, shape (n, *event)."""
        n = as_count(n, "n")
        index = self._draw(n, rng, y).to(self.points.device)
        x = self.points[index].to(self.log_weights.device)
        if self.bandwidth:
            x = x + self.bandwidth * rng.normal("exact/jitter", x.shape, x.dtype, x.device)
        return x.view(n, *self.event_shape)

    def log_marginal(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """The log-density of x_t, given its class y if labels are given, in nats, shape (B,)."""
        return self._log_density(x, t, y)

    def log_potential(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """The log of the potential of x_t, see `Labelled.log_potential`, in nats, shape (B,)."""
        return self._log_density(x, t, y, potential=True) + 2 * self.level(t, x)[1].log().to(x)

    def _log_density(
        self, x: Tensor, t: Tensor | float, y: Tensor | int | None, potential: bool = False
    ) -> Tensor:
        x = self.as_state(x)
        alpha, sigma = self.level(t, x)
        spread, dim = self._spread(alpha, sigma), self.points.shape[1]
        y = self.as_labels(y, len(x))
        queries = Queries(x.flatten(1), self._flat(alpha), spread, self.noise, y, potential)
        log = log_kernel_sums(self._points(), queries)
        log = log - self._log_share(y)
        return (log + self.noise.log_norm(dim) - dim * spread.log()).to(x)

    def _points(self) -> Points:
        return Points(
            self.points, self.squares, self.log_weights, self.centre, self.labels, self.wide
        )

    def _flat(self, alpha: Tensor) -> Tensor:
        """Alpha as a kernel sum takes it: for each coordinate of a row where it differs."""
        if self.decay is None:
            return alpha
        return alpha.expand(len(alpha), *self.event_shape).flatten(1)

    def _spread(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        if self.decay is not None:
            return sigma
        return (sigma.square() + (alpha * self.bandwidth).square()).sqrt()
