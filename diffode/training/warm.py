"""Weights of a field for a network that is told more numbers than the field's own."""

from __future__ import annotations

import torch
from torch import nn

from diffode.nn.base import Network
from diffode.nn.embeddings import WAVES

_FIRST = "embedding.first.weight"


@torch.no_grad()
def copy_wider(source: nn.Module, target: nn.Module) -> None:
    """Give a network the weights of another that is told fewer numbers.

    The columns of the new numbers are 0, so that the output is the same whatever they are.

    Arguments:
        source: a trained network of diffode's own: mlp, unet or dit.
        target: one of the same sizes with more conditioning numbers, the further ones last.

    Raises:
        TypeError: networks without the embedding of diffode's own.
        ValueError: networks of other sizes.
    """
    if not (isinstance(source, Network) and isinstance(target, Network)):
        kind = type(source).__name__
        raise TypeError(f"got a network of type {kind}, which cannot be told a second time")
    old, own = source.state_dict(), target.state_dict()
    k, more = source.conditions, target.conditions
    wide, half = torch.zeros_like(own[_FIRST]), WAVES // 2
    for part in range(2):  # all sines, then all cosines
        columns = old[_FIRST][:, part * k * half : (part + 1) * k * half]
        wide[:, part * more * half : (part * more + k) * half] = columns
    old[_FIRST] = wide
    odd = [name for name in own if name not in old or own[name].shape != old[name].shape]
    if odd or old.keys() != own.keys():
        raise ValueError(f"the two networks differ beside the numbers told ({odd or 'names'})")
    target.load_state_dict(old)
