r"""Curves between two points, and the noise that may be put on them: the parts of interpolants.

A curve I(t, x_0, x_1) is at x_0 at t = 0 and at x_1 at t = 1. Any function of tensors that
`torch.func.jvp` can differentiate in t is one. The noise level :math:`\gamma(t) \ge 0` is any
function of t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from diffode.doors import unwritten

Curve: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def linear(t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
    r"""The straight line :math:`(1 - t) x_0 + t x_1`."""
    return (1 - t) * x0 + t * x1


def trigonometric(t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
    r"""The arc :math:`\cos(\pi t / 2) x_0 + \sin(\pi t / 2) x_1`, which keeps a unit variance."""
    angle = math.pi / 2 * t
    return torch.cos(angle) * x0 + torch.sin(angle) * x1


def bridge(t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
    r"""A bridge that swings to one side, :math:`(1 - t) x_0 + t x_1 + t (1 - t) \tanh(R d)`.

    With :math:`d = x_1 - x_0`, R turns each pair of neighbouring coordinates by a right angle. It
    is not linear in the ends.
    """
    d = (x1 - x0).flatten(1)
    pairs = d.shape[1] // 2 * 2
    turned = torch.stack((-d[:, 1:pairs:2], d[:, 0:pairs:2]), -1).flatten(1)
    turned = torch.cat((turned, torch.zeros_like(d[:, pairs:])), 1)
    return linear(t, x0, x1) + t * (1 - t) * torch.tanh(turned).view_as(x0)


class Gamma:
    r"""A noise level :math:`\gamma(t)`; write ``__call__``.

    What is only finite as a square, such as the slope of :math:`\gamma^2` where :math:`\gamma` is
    0, follows from ``square``: write that too where it differs.
    """

    def __call__(self, t: Tensor) -> Tensor:
        r""":math:`\gamma` at times t, of the shape of t."""
        raise unwritten(self, "__call__")

    def square(self, t: Tensor) -> Tensor:
        r""":math:`\gamma^2` at times t."""
        return self(t).square()


class Sine(Gamma):
    r"""The level :math:`\gamma = a \sin(\pi t)`, whose slope is finite at both ends.

    Arguments:
        amplitude: a >= 0, the level in the middle.
    """

    def __init__(self, amplitude: float) -> None:
        self.amplitude = float(amplitude)

    def __call__(self, t: Tensor) -> Tensor:
        """The level at times t; exactly 0 at the ends."""
        return self.amplitude * torch.sin(math.pi * torch.minimum(t, 1 - t))

    def __repr__(self) -> str:
        return f"Sine({self.amplitude:g})"


class BrownianBridge(Gamma):
    r"""The level of a Brownian bridge, :math:`\gamma = a \sqrt{t (1 - t)}`.

    Its slope has no bound at the ends: a field needs a bandwidth there.

    Arguments:
        amplitude: a >= 0, twice the level in the middle.
    """

    def __init__(self, amplitude: float) -> None:
        self.amplitude = float(amplitude)

    def __call__(self, t: Tensor) -> Tensor:
        """The level at times t."""
        return self.square(t).clamp_min(0).sqrt()

    def square(self, t: Tensor) -> Tensor:
        r""":math:`a^2 t (1 - t)`."""
        return self.amplitude**2 * t * (1 - t)

    def __repr__(self) -> str:
        return f"BrownianBridge({self.amplitude:g})"


CURVES: dict[str, Curve] = {
    "linear": linear,
    "trigonometric": trigonometric,
    "bridge": bridge,
}
