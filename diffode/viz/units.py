"""Axes in units of the data, for points that are drawn in units of the model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import Formatter, MaxNLocator

from diffode.viz.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def name_axes(scene: Scene, axes: Axes, *sides: str) -> None:
    """Name axes of data, with ticks in units of the data where an axis is one coordinate.

    Arguments:
        scene: whose plane is drawn.
        axes: matplotlib's.
        sides: "x" or "y" for each axis of the plane.
    """
    scaling, plane = scene.field.scaling, scene.plane
    for axis, side in enumerate(sides):
        if scaling is None or plane.coordinates is None:
            axes.set(**{f"{side}label": scene.named(axis)})
            continue
        shift, width = (
            float(v.expand(scene.shape).flatten()[plane.coordinates[axis]])
            for v in (scaling.shift, scaling.width)
        )
        drawn: Any = getattr(axes, f"{side}axis")
        drawn.set_major_locator(_Places(shift, width))
        drawn.set_major_formatter(_Numbers(shift, width))
        axes.set(**{f"{side}label": plane.labels[axis]})


class _Places(MaxNLocator):
    """Ticks u at round numbers x = w u + b."""

    def __init__(self, shift: float, width: float) -> None:
        super().__init__(6, steps=[1, 2, 2.5, 5, 10])
        self._shift, self._width = shift, width

    def tick_values(self, vmin: float, vmax: float) -> Any:  # noqa: ANN401
        low, high = (v * self._width + self._shift for v in (vmin, vmax))
        return (np.asarray(super().tick_values(low, high)) - self._shift) / self._width


class _Numbers(Formatter):
    """The numbers x = w u + b of ticks u, with as many digits as tell them apart."""

    def __init__(self, shift: float, width: float) -> None:
        self._shift, self._width, self._digits = shift, width, 3

    def set_locs(self, locs: list[float]) -> None:
        super().set_locs(locs)
        known = np.asarray(locs) * self._width + self._shift
        if len(known) > 1:
            step, most = np.diff(known).min(), np.abs(known).max()
            self._digits = max(3, 2 + math.floor(math.log10(most / step)))

    def __call__(self, x: float, pos: int | None = None) -> str:
        value = x * self._width + self._shift
        near = value if abs(value) > 1e-9 * self._width else 0.0
        return f"{near:.{self._digits}g}".replace("e+", "e")
