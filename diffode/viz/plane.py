"""A plane in the space of the data: what pictures of many coordinates are drawn on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.viz.points import principal_axes


@dataclass(frozen=True)
class Plane:
    """A point and one or two directions.

    Attributes:
        origin: shape (N,), float64.
        axes: orthonormal rows, shape (1 or 2, N).
        labels: what the axes are called; a principal axis with its share of the variance.
        whole: whether the points have no other coordinates.
        coordinates: which each axis is; None for principal axes.
    """

    origin: Tensor
    axes: Tensor
    labels: tuple[str, ...]
    whole: bool
    coordinates: tuple[int, ...] | None = None

    def flat(self, x: Tensor) -> Tensor:
        """Points (..., N) by their coordinates on the plane, (..., 1 or 2)."""
        return (x.double() - self.origin) @ self.axes.T

    def along(self, v: Tensor) -> Tensor:
        """The parts of vectors (..., N) along the plane, (..., 1 or 2)."""
        return v.double() @ self.axes.T

    def points(self, coordinates: Tensor, scale: float = 1.0) -> Tensor:
        """The points (..., N) of coordinates (..., 1 or 2) about ``scale`` times the origin."""
        return scale * self.origin + coordinates.double() @ self.axes


def plane_of(size: int, known: Tensor | None, chosen: tuple[int, ...] | None) -> Plane:
    """The plane of points of so many numbers.

    Arguments:
        size: N.
        known: points (M, N) whose mean and principal axes are taken; None for N <= 2, or where
            coordinates are chosen.
        chosen: one or two coordinates, from 0; None for all of them, or principal axes.

    Raises:
        ValueError: coordinates that there are not.
    """
    if chosen is not None:
        if not 1 <= len(set(chosen)) == len(chosen) <= 2 or not all(0 <= k < size for k in chosen):
            raise ValueError(
                f"got the axes {', '.join(map(str, chosen))}; wanted one or two of the "
                f"coordinates 0 to {size - 1}"
            )
        origin = torch.zeros(size, dtype=torch.float64) if known is None else known.mean(0)
        origin = origin.double().clone()
        origin[list(chosen)] = 0.0
        axes = torch.eye(size, dtype=torch.float64)[list(chosen)]
        return Plane(
            origin, axes, tuple(f"$x_{{{k}}}$" for k in chosen), len(chosen) == size, chosen
        )
    if size <= 2:
        axes = torch.eye(size, dtype=torch.float64)
        names = ("$x$",) if size == 1 else ("$x_0$", "$x_1$")
        return Plane(torch.zeros(size, dtype=torch.float64), axes, names, True, tuple(range(size)))
    assert known is not None  # by the caller
    mean, axes, shares = principal_axes(known.double())
    labels = tuple(f"principal axis {k} ({part:.0%})" for k, part in enumerate(shares, 1))
    return Plane(mean, axes, labels, False)
