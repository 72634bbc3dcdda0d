"""The moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def warm_decay(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    r"""An update with the decay :math:`\min(d, (1 + k) / (10 + k))` after k updates.

    The early average forgets quickly, so that the initial weights do not linger in a short run.
    """

    @torch.no_grad()
    def update(average: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + float(count)) / (10 + float(count)))
        for a, c in zip(average, current, strict=True):
            a.lerp_(c.to(a), 1 - now)

    return update


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the model that follows its weights; call ``update_parameters`` after each step."""
    return AveragedModel(model, multi_avg_fn=warm_decay(decay))
