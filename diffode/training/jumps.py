r"""What the objectives of flow maps are made of: paths, draws of data and noise, chords."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.learnedmap import LearnedMap
from diffode.training.batches import Batch


@dataclass(frozen=True)
class Paths(Batch):
    r"""Saved paths of a field: x are their ends.

    Attributes:
        path: the states z at the angles of `MapLearning.follow`, shape (B, K, \*event).
        told: which rows were drawn with their label, shape (B,), bool; None for all.
        q: the augmented radius of each row of a Poisson flow, shape (B,), or None.
    """

    path: Tensor = field(default_factory=lambda: torch.empty(0))
    told: Tensor | None = None
    q: Tensor | None = None


class Teacher(NamedTuple):
    """The field that is distilled, and the angles of its saved paths.

    Attributes:
        field: on the path of the map.
        angles: from the prior's to 0, float64, shape (K,); None where none are saved.
    """

    field: AffineField
    angles: Tensor | None = None


class Drawn(NamedTuple):
    """Data and noise of unit scale, the map of these rows, and their labels."""

    x: Tensor
    n: Tensor
    map: LearnedMap
    y: Tensor | None

    def at(self, s: Tensor) -> Tensor:
        """The states at angles s, shape (B,)."""
        return expand_like(s.cos(), self.x) * self.x + expand_like(s.sin(), self.x) * self.n

    def rate(self, s: Tensor) -> Tensor:
        """How these states change with s."""
        return expand_like(s.cos(), self.x) * self.n - expand_like(s.sin(), self.x) * self.x


def squared_error(
    map_: LearnedMap, z: Tensor, s: Tensor, t: Tensor, y: Tensor | None, target: Tensor
) -> Tensor:
    """The mean squared error of F, where its gain is above 1 that of the network's output."""
    f, gain = map_.turn(z, s, t, y)
    return ((f - target) / expand_like(gain.clamp_min(1), f)).square().mean()


def chord(z: Tensor, end: Tensor, gap: Tensor) -> Tensor:
    """The F of a jump over an angle from states z to others."""
    d = expand_like(gap, z)
    return (end - torch.cos(d) * z) / torch.sin(d)
