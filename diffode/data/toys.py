r"""Toys in the plane: laws that can be drawn from, and whose log-density is known exactly.

Four of the six are the same object, a (perhaps continuous) mixture of round Gaussians,

.. math:: p(x) = \int N(x;\, m(u),\, s^2 I) \, w(u) \, du,

with finitely many centres for `eight_gaussians` and `blobs`, and centres along a curve for `moons`
and `swiss_roll`. A Gauss-Legendre rule turns the integral along a curve into a finite mixture too,
good to 1e-9, so `laws.Gaussians` is all that their densities need.

A toy is a function of (n, rng) that returns points (n, 2), float32, and labels (n,) or None. Row i
depends on the generator's seed and on i alone: ten points are the first ten of a hundred.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffode.data.base import Dataset
from diffode.data.laws import Gaussians, noisy, pick
from diffode.doors import as_state
from diffode.rng import Rng

Points = tuple[Tensor, Tensor | None]  # and their labels


def _polar(angle: Tensor) -> Tensor:
    """Points of the unit circle, (...,) -> (..., 2)."""
    return torch.stack((angle.cos(), angle.sin()), dim=-1)


def _legendre(start: float, stop: float, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the mean over u uniform in (start, stop)."""
    u, w = map(torch.from_numpy, np.polynomial.legendre.leggauss(nodes))
    return start + (stop - start) * (u + 1) / 2, w / 2


EIGHT_GAUSSIANS = Gaussians(
    weights=torch.full((8,), 1 / 8, dtype=torch.float64),
    means=2 * _polar(torch.arange(8, dtype=torch.float64) * (math.pi / 4)),
    std=0.2,
)


def eight_gaussians(n: int, rng: Rng) -> Points:
    r"""Eight equal Gaussians on a ring; the label is the component.

    .. math:: x = 2 (\cos \tfrac{\pi k}{4}, \sin \tfrac{\pi k}{4}) + 0.2 \, \epsilon,
              \quad k \sim U\{0, \dots, 7\}

    Reference: the ring of Unrolled GANs (Metz et al., 2017), https://arxiv.org/abs/1611.02163.
    """
    return EIGHT_GAUSSIANS.sample(n, rng)


BLOBS = Gaussians(
    weights=torch.tensor([0.50, 0.25, 0.15, 0.10], dtype=torch.float64),
    means=torch.tensor([[0, 0], [3, 0], [0, 3], [-4, -4]], dtype=torch.float64),
    std=0.2,
)


def blobs(n: int, rng: Rng) -> Points:
    r"""Four Gaussians far apart and of unequal weight; the label is the component.

    .. math:: x = m_k + 0.2 \, \epsilon, \quad P(k) = .50, .25, .15, .10,
              \quad m = (0, 0), (3, 0), (0, 3), (-4, -4)

    A model that draws pretty clusters in the wrong proportions is found out here.
    """
    return BLOBS.sample(n, rng)


def _moon(angle: Tensor) -> Tensor:
    return 2 * _polar(angle) - angle.new_tensor([1.0, 0.5])


_U, _W = _legendre(0, math.pi, 256)
MOONS = Gaussians(torch.cat((_W, _W)) / 2, torch.cat((_moon(_U), -_moon(_U))), std=0.15, modes=2)


def moons(n: int, rng: Rng) -> Points:
    r"""Two interleaved half circles, symmetric about the origin; the label is the moon.

    .. math:: x = \pm \left[ 2 (\cos u, \sin u) - (1, \tfrac12) \right] + 0.15 \, \epsilon,
              \quad u \sim U(0, \pi)

    Reference: the two moons of scikit-learn (Pedregosa et al., 2011), centred and twice as large.
    """
    arc = _moon(math.pi * rng.uniform("angle", (n,)))
    moon = pick(n, rng, arc.new_tensor([0.5, 0.5]))
    return noisy(arc * (1 - 2 * moon[:, None]), MOONS.std, rng), moon


def _spiral(angle: Tensor) -> Tensor:
    return angle[:, None] / 5 * _polar(angle)


_U, _W = _legendre(1.5 * math.pi, 4.5 * math.pi, 640)
SWISS_ROLL = Gaussians(_W, _spiral(_U), std=0.1, modes=1)


def swiss_roll(n: int, rng: Rng) -> Points:
    r"""A spiral of one and a half turns, denser towards its middle.

    .. math:: x = \tfrac{u}{5} (\cos u, \sin u) + 0.1 \, \epsilon,
              \quad u \sim U(\tfrac{3\pi}{2}, \tfrac{9\pi}{2})

    Reference: Sohl-Dickstein et al. (2015), https://arxiv.org/abs/1503.03585, figure 1.
    """
    angle = math.pi * (1.5 + 3 * rng.uniform("angle", (n,)))
    return noisy(_spiral(angle), SWISS_ROLL.std, rng), None


ARMS, TWIST = 5, 0.6
ARM_MEAN, ARM_STD = (2.0, 0.0), (0.6, 0.2)


def _turn(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate points (..., 2) by angles (...,), anticlockwise."""
    (a, b), c, s = x.unbind(-1), angle.cos(), angle.sin()
    return torch.stack((c * a - s * b, s * a + c * b), dim=-1)


def pinwheel(n: int, rng: Rng) -> Points:
    r"""Five Gaussian arms, long along the radius and twisted by it; the label is the arm.

    .. math:: x = R\!\left( \tfrac{2 \pi k}{5} + 0.6 \, \|z\| \right) z,
              \quad z \sim N\!\left( (2, 0), \operatorname{diag}(0.6^2, 0.2^2) \right)

    The angle depends on the radius alone, so the twist preserves area and the density is closed.

    Reference: after the pinwheel of Johnson et al. (2016), https://arxiv.org/abs/1603.06277.
    """
    arm = pick(n, rng, torch.full((ARMS,), 1 / ARMS, dtype=torch.float64))
    noise = rng.normal("noise", (n, 2), torch.float64)
    z = noise * noise.new_tensor(ARM_STD) + noise.new_tensor(ARM_MEAN)
    return _turn(z, arm * (2 * math.pi / ARMS) + TWIST * z.norm(dim=-1)).float(), arm


def pinwheel_log_density(x: Tensor) -> Tensor:
    """Log-density of `pinwheel`, (B, 2) -> (B,): turn x back to each arm, average Gaussians."""
    x = as_state(x, (2,))
    points = x.double()[:, None]
    arms = torch.arange(ARMS, dtype=torch.float64, device=x.device) * (2 * math.pi / ARMS)
    z = _turn(points, -arms - TWIST * points.norm(dim=-1))
    r2 = ((z - z.new_tensor(ARM_MEAN)) / z.new_tensor(ARM_STD)).square().sum(-1)
    log_p = (-r2 / 2).logsumexp(-1) - math.log(2 * math.pi * math.prod(ARM_STD) * ARMS)
    return log_p.to(x.dtype)


def checkerboard(n: int, rng: Rng) -> Points:
    r"""Uniform on the dark squares of a board of four by four, of side 4 around the origin.

    .. math:: p(x) = \tfrac18 \quad \text{where } \lfloor x_1 \rfloor + \lfloor x_2 \rfloor
              \text{ is even}, \quad x \in (-2, 2)^2

    Reference: FFJORD (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367.
    """
    square, place = rng.uniform("square", (n, 2)), rng.uniform("place", (n, 2))
    column, row = (square * square.new_tensor([4, 2])).floor().unbind(-1)
    corner = torch.stack((column, 2 * row + column % 2), dim=-1) - 2
    place = ((place * 2**20).floor() + 0.5) / 2**20  # exact in float32: none leaves its square
    return (corner + place).float(), None


def checkerboard_log_density(x: Tensor) -> Tensor:
    """Log-density of `checkerboard`, (B, 2) -> (B,): -log 8 on a dark square, -inf elsewhere."""
    x = as_state(x, (2,))
    dark = (x.floor().sum(-1) % 2 == 0) & (x.abs().amax(-1) < 2)
    return torch.where(dark, x.new_tensor(-math.log(8)), -math.inf)


class Toy(NamedTuple):
    """How to draw a toy's points, their log-density, the number of classes, and the mixture."""

    sample: Callable[[int, Rng], Points]
    log_density: Callable[[Tensor], Tensor]
    classes: int | None
    law: Gaussians | None = None


TOYS = {
    "eight-gaussians": Toy(eight_gaussians, EIGHT_GAUSSIANS.log_density, 8, EIGHT_GAUSSIANS),
    "blobs": Toy(blobs, BLOBS.log_density, 4, BLOBS),
    "moons": Toy(moons, MOONS.log_density, 2, MOONS),
    "swiss-roll": Toy(swiss_roll, SWISS_ROLL.log_density, None, SWISS_ROLL),
    "pinwheel": Toy(pinwheel, pinwheel_log_density, ARMS),
    "checkerboard": Toy(checkerboard, checkerboard_log_density, None),
}


def dataset(name: str, seed: int = 0, train: int = 20_000, test: int = 4_000) -> Dataset:
    """The first `train` points of a toy, and the next `test` points to test with."""
    toy = TOYS[name]
    x, labels = toy.sample(train + test, Rng(seed))
    y, y_test = (None, None) if labels is None else (labels[:train], labels[train:])
    points = (x[:train], x[train:], y, y_test)
    return Dataset(name, *points, toy.classes, toy.log_density, toy.law)
