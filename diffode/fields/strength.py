"""What guidance makes of a field: how far it reaches and where it jumps, and that in words."""

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


def in_words(
    weight: float,
    interval: tuple[float, float] | None,
    weak: str | None,
    classifier: str | None = None,
) -> str:
    """Guidance in words, as pictures and tables name it.

    Arguments:
        weight, interval: as for `classifier_free`.
        weak, classifier: what the weaker field or the classifier is called, if there is one.
    """
    parts = [f"guidance {_number(weight)}"]
    parts += [] if classifier is None else [f"by {classifier}"]
    parts += [] if weak is None else [f"away from {weak}"]
    parts += [] if interval is None else ["at rho " + " to ".join(map(_number, interval))]
    return " ".join(parts)


def _number(value: float | str) -> str:
    """A number in as few digits as tell it from all others."""
    short = f"{float(value):g}"
    return short if float(short) == float(value) else repr(float(value))
