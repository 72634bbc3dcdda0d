"""Generators: networks that make a sample from a latent, called as ``generator(z, y)``.

z is (B, latent), y is (B,) integer labels or None; a sample depends on its own row alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from diffode.doors import unwritten
from diffode.nn.base import seeded
from diffode.nn.critic import halvings
from diffode.nn.embeddings import Labels
from diffode.nn.unet import group_norm


class Generator(nn.Module):
    """What generators share: the latent, with a learned vector of its label added; write ``body``.

    Arguments:
        event_shape: shape of one sample.
        latent: size of z.
        classes: number of labels, or None.
    """

    def __init__(self, event_shape: Sequence[int], latent: int, classes: int | None) -> None:
        super().__init__()
        self.event_shape, self.latent, self.classes = tuple(event_shape), latent, classes
        self.table = None if classes is None else Labels(classes, latent)

    def body(self, z: Tensor) -> Tensor:
        """The samples (B, *event) of latents (B, latent)."""
        raise unwritten(self, "body")

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The samples of latents, shape (B, *event), in the type of z.

        Arguments:
            z: shape (B, latent).
            y: labels, shape (B,); None is unconditional, for which the null label stands.
        """
        if tuple(z.shape[1:]) != (self.latent,):
            raise ValueError(f"got z of shape {tuple(z.shape)}; wanted (B, {self.latent})")
        if y is not None and self.table is None:
            raise ValueError("got labels for a generator without; build it with classes=")
        h = z.to(next(self.parameters()).dtype)
        if self.table is not None:
            h = h + self.table(y)
        return self.body(h).to(z.dtype)


class MLPGenerator(Generator):
    """A plain MLP.

    Arguments:
        event_shape: shape of one sample, any.
        latent: size of z.
        width: size of the hidden layers.
        depth: number of hidden layers.
        classes: number of labels, or None.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        latent: int,
        width: int = 128,
        depth: int = 3,
        classes: int | None = None,
    ) -> None:
        super().__init__(event_shape, latent, classes)
        self.width, self.depth = width, depth
        sizes = [latent, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out = nn.Linear(width, math.prod(self.event_shape))

    def body(self, z: Tensor) -> Tensor:
        """The samples (B, *event) of latents (B, latent)."""
        h = z
        for layer in self.layers:
            h = silu(layer(h))
        x: Tensor = self.out(h)
        return x.reshape(len(z), *self.event_shape)


class ConvGenerator(Generator):
    """One linear layer to a small image, then doublings with two convolutions each.

    Sizes retrace the critic's halvings, so that images of any size come out. Norms are of each
    sample alone.

    Arguments:
        event_shape: (C, H, W), both sides 2 or more.
        latent: size of z.
        width: channels at full resolution, doubled with each halving up to four times.
        classes: number of labels, or None.

    Raises:
        ValueError: events that are no images.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        latent: int,
        width: int = 32,
        classes: int | None = None,
    ) -> None:
        super().__init__(event_shape, latent, classes)
        self.width = width
        self.sides = halvings(event_shape)[::-1]
        channels = [width * min(2**k, 4) for k in range(len(self.sides))][::-1]
        self.start = nn.Linear(latent, channels[0] * math.prod(self.sides[0]))
        self.channels = channels[0]
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1),
                group_norm(b),
                nn.SiLU(),
                nn.Conv2d(b, b, 3, padding=1),
                group_norm(b),
                nn.SiLU(),
            )
            for a, b in pairwise(channels)
        )
        self.out = nn.Conv2d(channels[-1], self.event_shape[0], 3, padding=1)

    def body(self, z: Tensor) -> Tensor:
        """The samples (B, *event) of latents (B, latent)."""
        h = silu(self.start(z)).reshape(len(z), self.channels, *self.sides[0])
        for up, size in zip(self.ups, self.sides[1:], strict=True):
            h = up(interpolate(h, size=size, mode="nearest"))
        x: Tensor = self.out(h)
        return x


def generator_network(
    event_shape: Sequence[int],
    latent: int,
    kind: Literal["auto", "mlp", "conv"] = "auto",
    *,
    width: int | None = None,
    depth: int | None = None,
    classes: int | None = None,
    seed: int = 0,
) -> Generator:
    """The usual generator for events of a shape, with weights that depend on the arguments alone.

    >>> import torch
    >>> generator_network((1, 9, 7), 4, "conv")(torch.zeros(5, 4)).shape
    torch.Size([5, 1, 9, 7])

    Arguments:
        event_shape: shape of one sample.
        latent: size of z.
        kind: "mlp", "conv", or "auto": convolutions for images (C, H, W) of more than 256 values,
            an MLP for all else.
        width: hidden size of the MLP (128), or channels at full resolution (32).
        depth: hidden layers of the MLP (3).
        classes: number of labels, or None.
        seed: of the initial weights.

    Raises:
        ValueError: no such kind, events that do not fit, or a size below 1.
    """
    shape = tuple(event_shape)
    if kind == "auto":
        kind = "conv" if len(shape) == 3 and math.prod(shape) > 256 else "mlp"
    if min(n for n in (latent, width, depth, *shape) if n is not None) < 1:
        raise ValueError(
            f"got event_shape {shape}, latent {latent}, width {width}, depth {depth}; all are >= 1"
        )
    with seeded(seed):
        if kind == "mlp":
            return MLPGenerator(shape, latent, width or 128, depth or 3, classes)
        if kind == "conv":
            if depth is not None:
                raise ValueError(f"got depth {depth}; that of a convolutional generator is fixed")
            return ConvGenerator(shape, latent, width or 32, classes)
    raise ValueError(f"got kind {kind!r}; use 'auto', 'mlp' or 'conv'")
