"""Laws of points in the plane that can be drawn from, and whose density is known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.doors import as_state
from diffode.rng import Rng


@dataclass(frozen=True, eq=False)
class Gaussians:
    r"""A mixture of round Gaussians, :math:`p(x) = \sum_k w_k N(x; m_k, s^2 I)`.

    Arguments:
        weights: :math:`w_k`, shape (K,), float64, of sum 1.
        means: :math:`m_k`, shape (K, 2), float64.
        std: :math:`s`.
        modes: how many clusters they form, each a run of K / modes successive components; None is
            one for each component.
    """

    weights: Tensor
    means: Tensor
    std: float
    modes: int | None = None

    def sample(self, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Points (n, 2), float32, and the component that each came from (n,)."""
        k = pick(n, rng, self.weights)
        return noisy(self.means[k], self.std, rng), k

    @property
    def mode_weights(self) -> Tensor:
        """The weight of each mode, shape (modes,)."""
        return self.weights.view(self.modes or len(self.weights), -1).sum(1)

    def nearest_mode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mode of the centre that each point is nearest to, and its distance, both (B,)."""
        plain = "donot_use_mm_for_euclid_dist"  # a product loses the digits of small distances
        distance, k = torch.cdist(x.double(), self.means, compute_mode=plain).min(1)
        return k // (len(self.weights) // len(self.mode_weights)), distance

    def log_density(self, x: Tensor) -> Tensor:
        """Log-density in nats, (B, 2) -> (B,)."""
        x = as_state(x, (2,))
        log_p = torch.cat([self._log_density(rows) for rows in torch.split(x.double(), 4096)])
        return log_p.to(x.dtype)

    def _log_density(self, x: Tensor) -> Tensor:
        weights, means, x = self.weights.to(x.device), self.means.to(x) / self.std, x / self.std
        bias = weights.log() - means.square().sum(-1) / 2
        log_p = torch.addmm(bias, x, means.T).logsumexp(-1) - x.square().sum(-1) / 2
        return log_p - math.log(2 * math.pi * self.std**2)


def pick(n: int, rng: Rng, weights: Tensor) -> Tensor:
    """Which component each point comes from, (n,): k with probability w_k."""
    edges = weights.cumsum(0)[:-1]
    return torch.searchsorted(edges, rng.uniform("component", (n,)))


def noisy(centre: Tensor, std: float, rng: Rng) -> Tensor:
    """Centres (n, 2) with normal noise of that standard deviation added, float32."""
    noise = rng.normal("noise", centre.shape, torch.float64)
    return (centre + std * noise).float()
