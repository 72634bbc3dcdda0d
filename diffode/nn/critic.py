"""Critics: networks that give one number for a sample, called as ``critic(x, t, y)``.

x is (B, *event), t is () or (B,), y is (B,) integer labels or None. The number of a row depends on
that row alone: no batch statistics and no dropout. They compute in their own precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, silu, softplus

from diffode.doors import as_labels, as_state, as_time, unwritten
from diffode.nn.base import seeded
from diffode.nn.embeddings import Embedding

Activation = Literal["leaky", "silu", "softplus", "tanh"]
_SLOPE = 0.2
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky": lambda z: leaky_relu(z, _SLOPE),
    "silu": silu,
    "softplus": softplus,
    "tanh": torch.tanh,
}


class CriticNetwork(nn.Module):
    """What critics share: activation, embedding of time and label, checks; write ``score``.

    Arguments:
        event_shape: shape of one sample.
        activation: "leaky" (LeakyReLU of slope 0.2), or the smooth "silu", "softplus", "tanh".
        embedding: size E of the embedding.
        timed: whether the number depends on the time.
        classes: number of labels, or None.

    Raises:
        ValueError: an unknown activation.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        activation: Activation,
        embedding: int,
        timed: bool,
        classes: int | None,
    ) -> None:
        super().__init__()
        if activation not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise ValueError(f"got activation {activation!r}; wanted {known}")
        self.event_shape, self.timed, self.classes = tuple(event_shape), timed, classes
        self.activation, self.smooth = activation, activation != "leaky"
        self.embedded = embedding if timed or classes is not None else 0
        self.embedding = Embedding(embedding, 1, classes) if self.embedded else None

    def score(self, x: Tensor, e: Tensor | None) -> Tensor:
        """The number of each row, shape (B,), from x and its embedding (B, E) or None."""
        raise unwritten(self, "score")

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The number of each row, shape (B,).

        Arguments:
            x: samples, shape (B, *event).
            t: times of order 1, shape () or (B,); not used by a critic that is not timed.
            y: labels, shape (B,), or None for unconditional.
        """
        x = as_state(x, self.event_shape)
        y = as_labels(y, len(x))
        if y is not None and self.classes is None:
            raise ValueError("got labels for a critic without; build it with classes=")
        return self.score(x.to(next(self.parameters()).dtype), self._embed(x, t, y))

    def act(self, z: Tensor) -> Tensor:
        """The activation."""
        return _ACTIVATIONS[self.activation](z)

    def _embed(self, x: Tensor, t: Tensor | float, y: Tensor | None) -> Tensor | None:
        if self.embedding is None:
            return None
        time = as_time(t, x).to(torch.float32)
        time = time.expand(len(x)) if self.timed else torch.zeros(len(x), device=x.device)
        e: Tensor = self.embedding(time[:, None], y)
        return e


class MLPCritic(CriticNetwork):
    """A plain MLP on the flattened event; the embedding is added before each activation.

    Arguments:
        event_shape: shape of one sample, any.
        width: size of the hidden layers.
        depth: number of hidden layers.
        activation, timed, classes: see `CriticNetwork`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        width: int = 128,
        depth: int = 3,
        activation: Activation = "leaky",
        timed: bool = False,
        classes: int | None = None,
    ) -> None:
        super().__init__(event_shape, activation, max(32, width // 4), timed, classes)
        self.width, self.depth = width, depth
        sizes = [math.prod(self.event_shape), *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.shifts = nn.ModuleList(
            nn.Linear(self.embedded, width, bias=False)
            for _ in range(depth if self.embedded else 0)
        )
        self.out = nn.Linear(width, 1)

    def score(self, x: Tensor, e: Tensor | None) -> Tensor:
        """The number of each row, shape (B,)."""
        h = x.flatten(1)
        for i, layer in enumerate(self.layers):
            z = layer(h)
            h = self.act(z if e is None else z + self.shifts[i](e))
        d: Tensor = self.out(h)[:, 0]
        return d


class ConvCritic(CriticNetwork):
    """Convolutions that halve an image, rounding down, until a side is at most 4, then one layer.

    Kernels of size 4 at stride 2 see every pixel equally often, which keeps the gradient in x free
    of a grid.

    Reference: the discriminator of DCGAN (Radford et al., 2016),
    https://arxiv.org/abs/1511.06434, without its batch norm.

    Arguments:
        event_shape: (C, H, W), both sides 2 or more.
        width: channels at full resolution, doubled with each halving up to four times.
        activation, timed, classes: see `CriticNetwork`.

    Raises:
        ValueError: events that are no images.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        width: int = 32,
        activation: Activation = "leaky",
        timed: bool = False,
        classes: int | None = None,
    ) -> None:
        sides = halvings(event_shape)
        super().__init__(event_shape, activation, max(32, width), timed, classes)
        self.width = width
        channels = [width * min(2**k, 4) for k in range(len(sides))]
        stem = nn.Conv2d(self.event_shape[0], width, 3, padding=1)
        downs = [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(channels)]
        self.layers = nn.ModuleList([stem, *downs])
        self.shifts = nn.ModuleList(
            nn.Linear(self.embedded, c, bias=False) for c in (channels if self.embedded else [])
        )
        self.out = nn.Linear(channels[-1] * math.prod(sides[-1]), 1)

    def score(self, x: Tensor, e: Tensor | None) -> Tensor:
        """The number of each row, shape (B,)."""
        h = x
        for i, layer in enumerate(self.layers):
            z = layer(h)
            h = self.act(z if e is None else z + self.shifts[i](e)[:, :, None, None])
        d: Tensor = self.out(h.flatten(1))[:, 0]
        return d


def halvings(event_shape: Sequence[int]) -> list[tuple[int, int]]:
    """The sizes (H, W) of an image halved until its shorter side is at most 4, once at least.

    Raises:
        ValueError: a shape that is not (C, H, W) with sides of 2 or more.
    """
    shape = tuple(event_shape)
    if len(shape) != 3 or min(shape[1:]) < 2 or shape[0] < 1:
        raise ValueError(f"got event_shape {shape}; convolutions take images (C, H, W)")
    sides = [(shape[1], shape[2])]
    while len(sides) == 1 or min(sides[-1]) > 4:
        height, width = sides[-1]
        sides.append((height // 2, width // 2))
    return sides


def critic_network(
    event_shape: Sequence[int],
    kind: Literal["auto", "mlp", "conv"] = "auto",
    *,
    width: int | None = None,
    depth: int | None = None,
    activation: Activation = "leaky",
    timed: bool = False,
    classes: int | None = None,
    seed: int = 0,
) -> CriticNetwork:
    """The usual critic for events of a shape, with weights that depend on the arguments alone.

    >>> import torch
    >>> critic_network((2,))(torch.zeros(5, 2), 0.0).shape
    torch.Size([5])

    Arguments:
        event_shape: shape of one sample.
        kind: "mlp", "conv", or "auto": convolutions for images (C, H, W) of more than 256 values,
            an MLP for all else.
        width: hidden size of the MLP (128, or 256 from 16 coordinates on), or channels at full
            resolution (32).
        depth: hidden layers of the MLP (3).
        activation, timed, classes: see `CriticNetwork`.
        seed: of the initial weights.

    Raises:
        ValueError: no such kind or activation, events that do not fit, or a size below 1.
    """
    shape = tuple(event_shape)
    if kind == "auto":
        kind = "conv" if len(shape) == 3 and math.prod(shape) > 256 else "mlp"
    if min(n for n in (width, depth, *shape) if n is not None) < 1:
        raise ValueError(f"got event_shape {shape}, width {width}, depth {depth}; all are >= 1")
    with seeded(seed):
        if kind == "mlp":
            usual = 128 if math.prod(shape) < 16 else 256
            return MLPCritic(shape, width or usual, depth or 3, activation, timed, classes)
        if kind == "conv":
            if depth is not None:
                raise ValueError(f"got depth {depth}; a convolutional critic's follows the image")
            return ConvCritic(shape, width or 32, activation, timed, classes)
    raise ValueError(f"got kind {kind!r}; use 'auto', 'mlp' or 'conv'")
