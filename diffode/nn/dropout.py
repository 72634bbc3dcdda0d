"""Dropout whose draws are functions of (seed, step, row), as all randomness here.

torch's own dropout draws from a global stream: a resumed training would be another one, and so
would one on two processes. It also acts wherever ``eval()`` was forgotten. Here nothing is dropped
but within `dropping`, which the trainer opens around a loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffode.rng import Rng

_ODD = (-7046029254386353131, -4658895280553007687, -7723592293110705685)
_LEVELS = 2**16


def _mixed(z: Tensor) -> Tensor:
    """Sixty-four random bits for each whole number: the finaliser of splitmix64.

    Reference: Steele et al. (2014), Fast splittable pseudorandom number generators, section 4.
    """
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _ODD[1]  # the masks make the shifts logical
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _ODD[2]
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


class Dropout(nn.Module):
    r"""Zero each value with a probability p, and divide the others by 1 - p, within `dropping`.

    Reference: Srivastava et al. (2014), https://jmlr.org/papers/v15/srivastava14a.html.

    Arguments:
        rate: p, from 0, below 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.keys: Tensor | None = None

    def forward(self, h: Tensor) -> Tensor:
        """The values (B, ...), some of them zero if `dropping` is open."""
        if self.keys is None or not self.rate:
            return h
        keys, size = self.keys, math.prod(h.shape[1:])
        if len(keys) != len(h):  # a loss that asks for more than the batch repeats its draws
            keys = keys.repeat(-(-len(h) // max(1, len(keys))))[: len(h)]
        counter = torch.arange((size + 3) // 4, device=h.device) * _ODD[0]
        words = _mixed(keys[:, None] + counter)  # each word decides on four values
        parts = torch.stack([(words >> shift) & (_LEVELS - 1) for shift in (0, 16, 32, 48)], -1)
        kept = parts.flatten(1)[:, :size].view_as(h) >= round(self.rate * _LEVELS)
        return torch.where(kept, h / (1 - self.rate), torch.zeros_like(h))


def dropouts(module: nn.Module) -> list[Dropout]:
    """What drops values in a module."""
    return [m for m in module.modules() if isinstance(m, Dropout) and m.rate]


@contextmanager
def dropping(
    layers: list[Dropout], rng: Rng, rows: int, device: torch.device | str = "cpu"
) -> Iterator[None]:
    """Within, layers drop values of a batch.

    Arguments:
        layers: what is to drop, see `dropouts`.
        rng: of the rows of this batch.
        rows: how many there are.
        device: where they are.
    """
    for layer, keys in zip(layers, _keys(layers, rng, rows, device), strict=True):
        layer.keys = keys
    try:
        yield
    finally:
        for layer in layers:
            layer.keys = None


def _keys(layers: list[Dropout], rng: Rng, rows: int, device: torch.device | str) -> list[Tensor]:
    """Sixty-four bits for each row in each layer."""
    if not layers:
        return []
    words = rng.bits("dropout", rows, 2 * len(layers), device)
    low, high = words.view(rows, len(layers), 2).unbind(-1)
    return list(((high << 32) | low).unbind(1))
