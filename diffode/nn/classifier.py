"""Classifiers: networks that give numbers of each class, called as ``network(x, cond)``.

x is (B, \\*event), cond holds real conditioning numbers (B, k), and the numbers are (B, outputs).
Those of a row are a smooth function of that row alone: guidance uses their slope in x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad, silu

from diffode.doors import unwritten
from diffode.inputs import quoted
from diffode.nn import kind_for, mlp, options_for
from diffode.nn.base import seeded, zeroed
from diffode.nn.embeddings import Embedding
from diffode.nn.unet import Stage, group_norm, multipliers_of, require_fit


class ClassifierNetwork(nn.Module):
    """What classifiers share: the embedding of the noise level, and the last layer; write `body`.

    The last layer starts at zero: all classes alike.

    Arguments:
        event_shape: shape of one sample.
        embedding: size E of the embedding.
        features: size F of what the last layer sees.
        conditions: how many conditioning numbers k come with a sample.
        outputs: how many numbers to give.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        embedding: int,
        features: int,
        conditions: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)
        self.embedding = Embedding(embedding, conditions)
        self.outer = zeroed(nn.Linear(features, outputs))

    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """The features (B, F) of x and its embedding (B, E)."""
        raise unwritten(self, "body")

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """The numbers of samples x (B, *event) with conditioning numbers (B, k)."""
        numbers: Tensor = self.outer(self.body(x, self.embedding(cond)))
        return numbers


class MLPClassifier(ClassifierNetwork):
    """The residual blocks of an `MLP` on the flattened event.

    Arguments:
        event_shape: shape of one sample, any.
        conditions, outputs: see `ClassifierNetwork`.
        width: size of the hidden layers.
        depth: number of residual blocks.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        conditions: int,
        outputs: int,
        width: int = 256,
        depth: int = 3,
    ) -> None:
        embedding = max(32, width // 4)
        super().__init__(event_shape, embedding, width, conditions, outputs)
        self.width, self.depth = width, depth
        self.inner = nn.Linear(math.prod(self.event_shape), width)
        self.blocks = nn.ModuleList(mlp.Block(width, embedding) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """The features (B, width) of x and its embedding (B, E)."""
        h = self.inner(x.flatten(1))
        for block in self.blocks:
            h = block(h, e)
        normed: Tensor = self.norm(h)
        return normed


class UNetClassifier(ClassifierNetwork):
    """The way down of a `UNet`, and the mean over the pixels of its coarsest stage.

    Arguments:
        event_shape: (channels, height, width) of one image.
        conditions, outputs: see `ClassifierNetwork`.
        width, multipliers, depth, attention, dropout: as for `UNet`.

    Raises:
        ValueError: events that are no images, or options that do not fit them.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        conditions: int,
        outputs: int,
        width: int = 32,
        multipliers: str | Sequence[int] | None = None,
        depth: int = 1,
        attention: int = 1,
        dropout: float = 0.0,
    ) -> None:
        factors = multipliers_of(tuple(event_shape), multipliers)
        require_fit(tuple(event_shape), len(factors), attention)
        channels = [width * k for k in factors]
        super().__init__(event_shape, 4 * width, channels[-1], conditions, outputs)
        self.width, self.multipliers, self.depth = width, factors, depth
        self.attention, self.dropout = attention, dropout
        attends = [k >= len(channels) - attention for k in range(len(channels))]
        self.inner = nn.Conv2d(self.event_shape[0], channels[0], 3, padding=1)
        self.stages = nn.ModuleList(
            Stage(c, 4 * width, depth, attend, dropout)
            for c, attend in zip(channels, attends, strict=True)
        )
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(channels)
        )
        self.norm = group_norm(channels[-1])

    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """The features (B, F) of x and its embedding (B, E)."""
        multiple, (height, width) = 2 ** len(self.shrink), x.shape[2:]
        h = self.inner(pad(x, (0, -width % multiple, 0, -height % multiple)))
        h = self.stages[0](h, e)
        for shrink, stage in zip(self.shrink, self.stages[1:], strict=True):
            h = stage(shrink(h), e)
        return silu(self.norm(h)).mean(dim=(2, 3))


_KINDS = {"mlp": MLPClassifier, "unet": UNetClassifier}


def classifier_network(
    event_shape: Sequence[int],
    kind: str = "auto",
    *,
    conditions: int,
    outputs: int,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> ClassifierNetwork:
    """The usual classifier for events of a shape, with weights of the arguments alone.

    >>> import torch
    >>> network = classifier_network((2,), conditions=1, outputs=3)
    >>> network(torch.zeros(5, 2), torch.zeros(5, 1)).shape
    torch.Size([5, 3])

    Arguments:
        event_shape: shape of one sample.
        kind: "mlp", "unet", or "auto", as for `diffode.nn.network`.
        conditions: how many conditioning numbers come with a sample.
        outputs: how many numbers to give.
        seed: of the initial weights.
        options: sizes, as for `diffode.nn.network`; None leaves the choice to the network.

    Raises:
        ValueError: no such kind, an option that it does not take, or events that do not fit.
    """
    kind = kind_for(event_shape, kind)
    if kind not in _KINDS:
        raise ValueError(
            f"got network={quoted(kind)}, which makes no classifier; those are {', '.join(_KINDS)}"
        )
    sizes = options_for(f"a classifier ({kind})", _KINDS[kind], options)
    with seeded(seed):
        made: ClassifierNetwork = _KINDS[kind](event_shape, conditions, outputs, **sizes)
    return made
