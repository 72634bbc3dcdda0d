"""Networks: a residual MLP and a compact U-Net, both called as ``network(x, cond, y)``.

x is (B, *event), cond holds real conditioning numbers (B, k), y is (B,) integer labels or None
(unconditional). `network` chooses by the event's shape; any module with this call serves as well.
Critics, ``critic(x, t, y)``, and generators, ``generator(z, y)``, have modules of their own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence

from torch import nn

from diffode import registry
from diffode.nn.base import Network, seeded
from diffode.nn.critic import CriticNetwork, critic_network
from diffode.nn.embeddings import Embedding
from diffode.nn.generator import Generator, generator_network
from diffode.nn.mlp import MLP
from diffode.nn.unet import UNet

__all__ = [
    "MLP",
    "CriticNetwork",
    "Embedding",
    "Generator",
    "Network",
    "UNet",
    "critic_network",
    "generator_network",
    "network",
    "seeded",
]


def resolutions(height: int, width: int) -> int:
    """Resolutions of a U-Net: halved until the shorter side is at most 8, and at least once."""
    return max(2, 1 + math.ceil(math.log2(min(height, width) / 8)))


def mlp(
    event_shape: Sequence[int],
    *,
    conditions: int,
    classes: int | None,
    extra: int,
    width: int | None,
    depth: int | None,
) -> MLP:
    """A residual MLP, for any events: width 512, depth 4."""
    return MLP(event_shape, width or 512, depth or 4, conditions, classes, extra)


def unet(
    event_shape: Sequence[int],
    *,
    conditions: int,
    classes: int | None,
    extra: int,
    width: int | None,
    depth: int | None,
) -> UNet:
    """A compact U-Net, for images (C, H, W): width 32 at full resolution, depth 1."""
    n = resolutions(*event_shape[1:]) if len(event_shape) == 3 else 1  # UNet refuses the rest
    channels = [(width or 32) * min(2**k, 4) for k in range(n)]
    return UNet(event_shape, channels, depth or 1, conditions, classes, extra)


registry.register("network", "mlp", mlp)
registry.register("network", "unet", unet)


def network(
    event_shape: Sequence[int],
    kind: str = "auto",
    conditions: int = 1,
    classes: int | None = None,
    extra: int = 0,
    width: int | None = None,
    depth: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """The usual network for events of a shape, with weights that depend on the arguments alone.

    >>> import torch
    >>> network((2,), width=64)(torch.zeros(5, 2), torch.zeros(5, 1)).shape
    torch.Size([5, 2])

    Arguments:
        event_shape: shape of one sample.
        kind: "mlp", "unet" or another registered name; "auto" is a U-Net for images (C, H, W) of
            more than 256 values, an MLP for all else.
        conditions: how many conditioning numbers come with a sample.
        classes: number of labels, or None.
        extra: how many scalars to return beside the output.
        width: hidden size of the MLP (512), or channels of the U-Net at full resolution (32).
        depth: residual blocks of the MLP (4), or of each stage of the U-Net (1).
        seed: of the initial weights.

    A registered network is made by ``make(event_shape, *, conditions, classes, extra, width,
    depth)``, with None for a width or depth of its own choice.

    Raises:
        ValueError: no such kind, a U-Net for events that are no images, or a size below 1.
        TypeError: a registered network that is made otherwise, or is no module.
    """
    shape = tuple(event_shape)
    if min(shape, default=1) < 1:
        raise ValueError(f"got event_shape {shape}; every size in it is 1 or more")
    counts = {"conditions": conditions, "classes": classes, "width": width, "depth": depth}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"got {name} {count}; want 1 or more")
    if kind == "auto":
        kind = "unet" if len(shape) == 3 and math.prod(shape) > 256 else "mlp"
    make, sizes = registry.find("network", kind).function, {**counts, "extra": extra}
    try:
        inspect.signature(make).bind(shape, **sizes)
    except TypeError as error:
        raise TypeError(
            f"network {kind!r} cannot be made with (event_shape, *, {', '.join(sizes)}): {error}"
        ) from None
    with seeded(seed):
        made = make(shape, **sizes)
    if not isinstance(made, nn.Module):
        raise TypeError(f"network {kind!r} made a {type(made).__name__}; wanted a torch module")
    if next(made.parameters(), None) is None:
        raise ValueError(f"network {kind!r} has no parameters, so there is nothing to train")
    return made
