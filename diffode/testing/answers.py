"""What a field answers, whatever its kind: the velocity, or a corruption's guess."""

from __future__ import annotations

from torch import Tensor

from diffode.fields.base import Field
from diffode.fields.corruption import Corrupting
from diffode.rng import Rng


def answer(field: Field, x: Tensor, t: float, y: Tensor | None = None) -> Tensor:
    """The velocity at (x, t, y), or the guess by fixed random numbers."""
    if isinstance(field, Corrupting):
        return field.guess(field.as_state(x), t, Rng(5), y)
    return field.velocity(x, t, y)
