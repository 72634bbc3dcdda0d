r"""The law of a radius from its density, by quadrature: distribution function and its inverse.

In :math:`v = \log r` the density of a radius in N coordinates is
:math:`f(v) \propto e^{N v} g(e^v)`. It is tabled where it is above :math:`e^{-60}` of its top, on
cells of the peak and of each tail: a Legendre series through eight Gauss points, whose integral is
a series too.
Both tails are summed from their own side. Looking up takes elementary operations of float64 only,
so a row's value does not change with the batch that it stands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.polynomial import legendre
from numpy.typing import NDArray
from torch import Tensor

from diffode.doors import transformed

Array = NDArray[np.float64]

RANGE = 300.0  # of v in both directions, so that squares of radii in other units are numbers
DEPTH, _PEAK = 60.0, 1.0  # of the tails and of the peak, in nats under the top
_SCAN, _ZOOMS = 1001, 7
_CELLS, _ORDER = 350, 8  # of the peak and of each tail
_NEWTON = 10


class Radii:
    """A radius with the log-density ``log_f`` of its logarithm, up to a constant.

    Arguments:
        log_f: of an array of v.
        last: the largest v that has a density.

    Attributes:
        log_total: the logarithm of the integral of f.

    Raises:
        ValueError: values that are no numbers, or whose integral is not finite.
    """

    def __init__(self, log_f: Callable[[Array], Array], last: float) -> None:
        low, high = window(log_f, -RANGE, min(last, RANGE), DEPTH)
        left, right = window(log_f, low, high, _PEAK)
        parts = np.linspace([low, left, right], [left, right, high], _CELLS + 1, axis=1)
        self.edges = np.unique(parts)
        self.half = np.diff(self.edges) / 2
        places, weights = legendre.leggauss(_ORDER)
        v = self.edges[:-1, None] + self.half[:, None] * (1 + places)
        log = log_f(v.ravel()).reshape(v.shape)
        top = log.max()
        f = np.exp(log - top)
        powers = np.arange(_ORDER)
        self.series = ((powers + 0.5) * legendre.legvander(places, _ORDER - 1)).T @ (f * weights).T
        self.sums = self.half * legendre.legint(self.series, lbnd=-1)
        mass = self.half * (f @ weights)
        self.below = np.concatenate(([0.0], np.cumsum(mass)))
        self.above = np.concatenate((np.cumsum(mass[::-1])[::-1], [0.0]))
        self.log_total = float(top + np.log(self.below[-1]))

    def cdf(self, v: Array) -> Array:
        """The probability of a smaller logarithm."""
        cell = np.clip(np.searchsorted(self.edges, v, "right") - 1, 0, len(self.half) - 1)
        place = np.clip((v - self.edges[cell]) / self.half[cell] - 1, -1, 1)
        inside = _at(self.sums, cell, place)
        low = (self.below[cell] + inside) / self.below[-1]
        rest = self.below[cell + 1] - self.below[cell] - inside
        high = 1 - (self.above[cell + 1] + rest) / self.above[0]
        return np.asarray(np.where(low < 0.5, low, high))

    def icdf(self, u: Array) -> Array:
        """The logarithm that is stayed below with probability u, by Newton's method in a cell."""
        low = u < 0.5
        under = u * self.below[-1]
        over = (1 - u) * self.above[0]
        from_below = np.searchsorted(self.below, under, "right") - 1
        from_above = len(self.half) - np.searchsorted(self.above[::-1], over, "right")
        cell = np.clip(np.where(low, from_below, from_above), 0, len(self.half) - 1)
        mass = self.below[cell + 1] - self.below[cell]
        rest = np.where(low, under - self.below[cell], mass - (over - self.above[cell + 1]))
        place = 2 * rest / np.maximum(mass, np.finfo(float).tiny) - 1
        half = self.half[cell]
        for _ in range(_NEWTON):
            slope = np.maximum(half * _at(self.series, cell, place), np.finfo(float).tiny)
            place = np.clip(place - (_at(self.sums, cell, place) - rest) / slope, -1, 1)
        return np.asarray(self.edges[cell] + half * (1 + place))


def _at(series: Array, cell: NDArray[np.intp], place: Array) -> Array:
    """The series of a cell at a place in [-1, 1] of it."""
    return np.asarray(legendre.legval(place, series[:, cell], tensor=False))


def window(
    log_f: Callable[[Array], Array], low: float, high: float, depth: float
) -> tuple[float, float]:
    """Where f is above e^-depth of its top, by looking closer and closer."""
    whole = low == -RANGE
    for _ in range(_ZOOMS):
        v = np.linspace(low, high, _SCAN)
        log = log_f(v)
        top = log.max()
        keep = np.flatnonzero(log >= top - depth)
        if not len(keep):
            raise ValueError("its logarithm has values that are no numbers")
        ends = keep[0] == 0 or (keep[-1] == len(v) - 1 and high == RANGE)
        if top == np.inf or (whole and ends):
            raise ValueError("its integral is infinite, or too slow to tell")
        low, high = float(v[max(keep[0] - 1, 0)]), float(v[min(keep[-1] + 1, len(v) - 1)])
        whole = False
        if keep[-1] - keep[0] > _SCAN // 2:
            break
    return low, high


def log_area(dim: int) -> float:
    """The logarithm of the area of the unit sphere."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def as_array(x: Tensor) -> Array:
    """The numbers of a tensor, which are known under a transform of torch.func too."""
    return np.array(torch.func.debug_unwrap(x).tolist()) if transformed() else x.detach().numpy()
