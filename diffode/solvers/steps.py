"""A solve step by step: what a loop over it sees, and what it may change."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Step(NamedTuple):
    """A solve at one of its times.

    Attributes:
        k: how many steps are taken, from 1.
        x: the points, shape (B, *event). Where they are changed in place, the solve goes on from
            them.
        t: the time that they are at, float64, shape (), or (B,) where rows have their own.
        x0: the latest E[x_0 | x] that the solver has evaluated, at t or on the way there. None on
            a field that is no `AffineField`, and where every row has steps of its own.
    """

    k: int
    x: Tensor
    t: Tensor
    x0: Tensor | None


def mark(x: Tensor) -> int | Tensor:
    """By which `changed` sees a change of x; in inference mode torch keeps no count of them."""
    return x.clone() if x.is_inference() else x._version


def changed(x: Tensor, mark: int | Tensor) -> bool:
    """Whether x was changed in place."""
    if isinstance(mark, int):
        return x._version != mark
    return not bool(((x == mark) | (x.isnan() & mark.isnan())).all())
