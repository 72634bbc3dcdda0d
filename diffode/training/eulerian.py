r"""Objectives of flow maps by how a jump depends on where it begins.

Along the flow :math:`Z_{s \to t}(z_s)` does not change with s. In the angle, with d = s - t and
F' the derivative of :math:`F(z_s, s, t)` along the flow,

.. math:: g = \cos d \, (F + \dot z) + \sin d \, (F' - z) = 0 .

References: Lu and Song (2024), https://arxiv.org/abs/2410.11081 (g); Geng
et al. (2025), https://arxiv.org/abs/2505.13447 (mean flows); Geng et al. (2024),
https://arxiv.org/abs/2406.14548 (the gap of consistency in proportion to s).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.fields.learnedmap import LearnedMap

_LARGE = 4.0  # a g of this size is halved; one of unit size at all times learned less


class Jumps(NamedTuple):
    """Jumps to learn: the map of these rows, states z at angles s, the angles t, and labels.

    Attributes:
        rate: how z changes with s: the teacher's velocity, or that of data and noise.
    """

    map: LearnedMap
    z: Tensor
    s: Tensor
    t: Tensor
    y: Tensor | None
    rate: Tensor


def mean_flow_loss(jumps: Jumps, along: Tensor | None, reach: float) -> Tensor:
    """The loss whose gradient is g's, with F' by forward mode and no gradient through it.

    Arguments:
        jumps: what is learned; where s = t the loss is that of the velocity.
        along: the velocity that F' is taken along; None is the map's own, -F(z, s, s): that of
            single data and noise makes F' noisy.
        reach: the factor of the second term of g, which grows from 0 to 1 in training.
    """
    map_, z, s, t, y, rate = jumps
    with torch.no_grad():
        own = -map_.direction(z, s, s, y) if along is None else along
        tangent = own.to(z), torch.ones_like(s)
        slope = torch.func.jvp(lambda z, s: map_.direction(z, s, t, y), (z, s), tangent)[1]
    f = map_.direction(z, s, t, y)
    with torch.no_grad():
        d = expand_like(s - t, z)
        g = torch.cos(d) * (f + rate) + reach * torch.sin(d) * (slope - z)
        size = g.flatten(1).square().mean(1).sqrt()
        far = g / expand_like(1 + size / _LARGE, g)
        g = torch.where(d > 0, far, g)
    return (f - (f - g).detach()).square().mean()


def consistency_loss(jumps: Jumps, before: Tensor, earlier: Tensor) -> Tensor:
    """The loss of landing where a state a little nearer to the data lands, and of the velocity.

    Arguments:
        jumps: what is learned: where s = t the velocity, and jumps to the data elsewhere.
        before: the angles a little below s, shape (B,).
        earlier: the states there.
    """
    map_, z, s, t, y, rate = jumps
    zero = torch.zeros_like(s)
    with torch.no_grad():
        end = map_.turned(earlier, before, zero, y)
        d = expand_like(s, z)
        chord = (end - torch.cos(d) * z) / torch.sin(d).clamp_min(1e-3)
        target = torch.where(expand_like(s - t, z) > 0, chord, -rate)
    return (map_.direction(z, s, t, y) - target).square().mean()
