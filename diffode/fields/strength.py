"""What guidance makes of a field for a solver: how far it reaches, and where it jumps."""

from __future__ import annotations

import math

from diffode.fields.affine import AffineField


def reach(inner: AffineField, weight: float) -> float:
    """How far a field's answers reach that is guided with this weight, see `AffineField`."""
    return inner.guidance * max(1.0, weight)


def edges(inner: AffineField, interval: tuple[float, float] | None) -> tuple[float, ...] | None:
    """The levels at which a field's answers jump that is guided in an interval alone."""
    own = tuple(v for v in interval or () if 0 < v < math.inf)
    return None if inner.jumps is None else (*inner.jumps, *own)
