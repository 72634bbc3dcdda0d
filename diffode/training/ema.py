"""The moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from diffode.training.hardware import own_part


class MovingAverage:
    r"""A copy of a module, whose weights follow the module's with a decay that grows.

    .. math::
        a_0 = w_0, \qquad a_k = d_k a_{k-1} + (1 - d_k) w_k, \quad
        d_k = \min\left(d, \frac{1 + k}{10 + k}\right)

    The early average forgets quickly, so that the initial weights do not linger in a short run.
    Buffers are those of the module.

    Arguments:
        model: what is followed; its parameters stay the same objects.
        decay: d, in (0, 1).

    Attributes:
        module: the copy.
        count: k, how often it has followed.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).eval()
        self.decay = decay
        self._weights: list[list[Tensor]]
        self.follow_from(model, 0)

    def follow_from(self, model: nn.Module, count: int) -> None:
        """Follow another module of the same tensors, after so many steps."""
        self._weights = [[own_part(p) for p in m.parameters()] for m in (self.module, model)]
        self._buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))
        self.count = count

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights as they are now."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count)) if self.count else 0.0
        average, weights = self._weights
        if decay:
            torch._foreach_lerp_(average, weights, 1 - decay)
        else:
            torch._foreach_copy_(average, weights)
        for kept, now in self._buffers:
            kept.copy_(now)
        self.count += 1
