"""The mixtures that solvers are measured on, and their exact field as a few matmuls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.fields import Mixture
from diffode.fields.schedules import Schedule
from diffode.rng import Rng


class Law(NamedTuple):
    """A mixture's weights (M,), means (M, N) and diagonal standard deviations (M, N)."""

    weights: Tensor
    means: Tensor
    stds: Tensor


class DiagonalMixture(Mixture):
    """A `Mixture` of diagonal Gaussians under normal noise, by five matmuls where t is one number.

    With v = alpha^2 s^2 + sigma^2, E[x_0 | x] = w @ (m sigma^2 / v) + alpha x (w @ (s^2 / v)) and
    E[n | x] = sigma (x (w @ (1 / v)) - alpha w @ (m / v)); nothing is divided by alpha or sigma.
    """

    def __init__(self, law: Law, schedule: Schedule) -> None:
        super().__init__(*law, schedule)
        self.law = law

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x]."""
        alpha, sigma = self.level(t, x)
        if alpha.ndim or y is not None:
            return super().posterior(x, t, y)
        weights, means, stds = self.law
        spread, noise = stds.square(), sigma.square()
        inverse = 1 / (alpha.square() * spread + noise)
        pull = means * inverse
        z = x.double()
        logits = z @ (alpha * pull).T - z.square() @ (inverse / 2).T
        offset = (alpha.square() * means * pull - inverse.log()).sum(1) / 2
        w = torch.softmax(logits + weights.log() - offset, 1)
        x0 = w @ (pull * noise) + alpha * z * (w @ (spread * inverse))
        n = sigma * (z * (w @ inverse) - alpha * (w @ pull))
        return x0.to(x), n.to(x)


def ring(count: int, radius: float, low: float, high: float, seed: int, even: bool) -> Law:
    """Isotropic components at equal angles on a circle."""
    rng = Rng(seed)
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    stds = low + (high - low) * rng.uniform("stds", (count, 1))
    return Law(_weights(count, rng, even), means, stds.expand(-1, 2).clone())


def cloud(
    dim: int, count: int, scale: float, low: float, high: float, seed: int, even: bool
) -> Law:
    """Diagonal components about normal means."""
    rng = Rng(seed)
    means = scale * rng.normal("means", (count, dim), torch.float64)
    stds = low + (high - low) * rng.uniform("stds", (count, dim))
    return Law(_weights(count, rng, even), means, stds)


def _weights(count: int, rng: Rng, even: bool) -> Tensor:
    w = torch.ones(count, dtype=torch.float64)
    if not even:
        w = 0.3 + rng.uniform("weights", (count,))
    return w / w.sum()


LAWS: dict[str, Callable[[], Law]] = {
    "2d": lambda: ring(8, 2.0, 0.1, 0.3, 1, True),
    "64d": lambda: cloud(64, 20, 1.0, 0.1, 0.5, 2, True),
    "held/ring5": lambda: ring(5, 1.5, 0.05, 0.4, 11, False),
    "held/cloud12-2d": lambda: cloud(2, 12, 1.2, 0.05, 0.3, 12, False),
    "held/cloud16-3d": lambda: cloud(3, 16, 1.0, 0.08, 0.3, 13, False),
    "held/16d": lambda: cloud(16, 10, 1.0, 0.1, 0.5, 14, False),
    "held/32d": lambda: cloud(32, 30, 0.6, 0.05, 0.4, 15, False),
    "held/128d": lambda: cloud(128, 12, 0.8, 0.1, 0.5, 16, False),
    "fresh/ring7": lambda: ring(7, 1.7, 0.05, 0.3, 31, False),
    "fresh/cloud20-2d": lambda: cloud(2, 20, 1.1, 0.05, 0.25, 32, False),
    "fresh/6d": lambda: cloud(6, 14, 0.9, 0.08, 0.4, 33, False),
    "fresh/24d": lambda: cloud(24, 18, 0.8, 0.1, 0.4, 34, False),
    "fresh/48d": lambda: cloud(48, 8, 1.1, 0.1, 0.5, 35, False),
    "fresh/96d": lambda: cloud(96, 25, 0.7, 0.05, 0.4, 36, False),
}
