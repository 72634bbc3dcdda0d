"""What the networks share: the call, the checks of its shapes, and the embedding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from diffode.doors import unwritten
from diffode.nn.embeddings import Embedding

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Context whose random numbers come from `seed`, on the CPU; torch's global state is kept."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
        yield


def zeroed(layer: Layer) -> Layer:
    """The layer, its weights and biases set to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Embedded(NamedTuple):
    """Conditioning numbers that all rows of a call share, as a network has embedded them before.

    Attributes:
        numbers: what `Embedding.numbers` makes of them, shape (1, E).
    """

    numbers: Tensor


class Network(nn.Module):
    r"""A function of a sample, its conditioning numbers and its label; rows never see each other.

    .. math:: F(x, c, y) = body(x, e) + g(e) \, x, \qquad e = embedding(c, y).

    The learned gain g makes what a target has of x itself, at high noise nearly all of a noise
    prediction, a matter of one number and not of the body's capacity.

    ``network(x, cond, y)`` is a tensor of the shape of x or, with ``extra > 0``, a pair of that
    and of scalars (B, extra). A subclass writes `body`.

    Arguments:
        event_shape: shape of one sample.
        embedding: size E of the embedding.
        conditions: how many conditioning numbers k come with a sample.
        classes: number of labels, or None.
        extra: how many scalars to return beside the output.

    Attributes:
        broadcasts: whether ``body`` takes an embedding of shape (1, E) that all rows share; a
            class says so where it writes ``body``.
    """

    broadcasts = False

    def __init__(
        self,
        event_shape: Sequence[int],
        embedding: int,
        conditions: int = 1,
        classes: int | None = None,
        extra: int = 0,
    ) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)
        self.size = math.prod(self.event_shape)
        self.conditions, self.classes, self.extra = conditions, classes, extra
        self.embedding = Embedding(embedding, conditions, classes)
        self.gain = zeroed(nn.Linear(embedding, 1))

    def body(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor | None]:
        """Output (B, *event), and scalars (B, extra) or None, from x and its embedding (B, E).

        Where the class says ``broadcasts``, the embedding of a call may be of shape (1, E).
        """
        raise unwritten(self, "body")

    def embedded(self, cond: Tensor) -> list[Embedded] | None:
        """What K calls take in the place of ``cond``, where all rows of a call share its numbers.

        Arguments:
            cond: the numbers of each call, shape (K, k).

        Returns:
            One for each call; None for a body or an embedding that might not take it.
        """
        if not self.broadcasts or type(self.embedding) is not Embedding:
            return None
        return [Embedded(row) for row in self.embedding.numbers(cond)[:, None].unbind()]

    def forward(
        self, x: Tensor, cond: Tensor | Embedded, y: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Output, shape (B, *event); with `extra` also scalars, shape (B, extra).

        Arguments:
            x: samples, shape (B, *event).
            cond: conditioning numbers of order 1 to 10, shape (B, k); or one of `embedded`.
            y: labels, shape (B,), or None for unconditional.
        """
        rows = len(x)
        _check(
            "x", x, (rows, *self.event_shape), "reshape it, or build the network for this event"
        )
        if y is not None:
            _check("y", y, (rows,), "pass one label per sample")
        if isinstance(cond, Embedded):
            e = self.embedding.labelled(cond.numbers, y)
        else:
            _check("cond", cond, (rows, self.conditions), "pass one row of numbers per sample")
            e = self.embedding(cond, y)
        out, scalars = self.body(x, e)
        out = out + self.gain(e).view(-1, *[1] * len(self.event_shape)) * x
        return out if scalars is None else (out, scalars)


def _check(name: str, value: Tensor, wanted: tuple[int, ...], advice: str) -> None:
    if tuple(value.shape) != wanted:
        raise ValueError(f"got {name} of shape {tuple(value.shape)}, want {wanted}; {advice}")
