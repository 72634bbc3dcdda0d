"""The parts of an error budget: what stages differ by, as distances and as signed changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffode.bench.estimates import Estimate, root
from diffode.bench.metrics.transport import sliced_potentials

PROJECTIONS = 256
_INTERVAL = 1.96  # standard errors on either side of a 95 % interval
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Level:
    """The sliced W2 of a cloud to the data, and what each row adds to it to first order.

    Attributes:
        value: the distance.
        ours, theirs: of each row of the cloud, shape (n,), and of the data, shape (m,).
    """

    value: float
    ours: Tensor
    theirs: Tensor

    @classmethod
    def of(cls, x: Tensor, data: Tensor) -> Level:
        """Measure a cloud."""
        square, ours, theirs = sliced_potentials(x, data, PROJECTIONS)
        value = max(square, 0.0) ** 0.5
        scale = 2 * max(value, _ROUNDING)
        return cls(value, ours / scale, theirs / scale)

    @property
    def estimate(self) -> Estimate:
        """The distance with its standard error."""
        return Estimate(self.value, _stderr(self.ours, self.theirs))

    def since(self, before: Level) -> Estimate:
        """The change from a cloud of the same rows, with the standard error of the pairs."""
        error = _stderr(self.ours - before.ours, self.theirs - before.theirs)
        return Estimate(self.value - before.value, error)


def _stderr(ours: Tensor, theirs: Tensor) -> float:
    """The infinitesimal jackknife's standard error."""
    return float((ours.var() / len(ours) + theirs.var() / len(theirs)).sqrt())


@dataclass(frozen=True)
class Part:
    """What two stages differ by.

    Attributes:
        name: of the cause.
        rms: the root of the mean squared distance of paired end points.
        median: of the distances.
        moved: the share of rows that end by another mode, or another training point.
        change: of the sliced W2 to the data, signed.
    """

    name: str
    rms: Estimate
    median: float
    moved: float
    change: Estimate

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the signed change."""
        half = _INTERVAL * self.change.stderr
        return self.change.value - half, self.change.value + half

    def asdict(self) -> dict[str, Any]:
        """All figures for JSON."""
        return {
            "name": self.name,
            "rms": self.rms.asdict(),
            "median": self.median,
            "moved": self.moved,
            "change": self.change.asdict(),
            "interval": list(self.interval),
        }


@dataclass(frozen=True)
class Cloud:
    """End points of a stage, with what is measured of them once.

    Attributes:
        x: the points, shape (n, *event).
        level: their sliced W2 to the data.
        place: the mode or training point that each ends by, shape (n,).
    """

    x: Tensor
    level: Level
    place: Tensor

    @classmethod
    def of(cls, x: Tensor, data: Tensor, place: Callable[[Tensor], Tensor]) -> Cloud:
        """Measure the end points of a stage."""
        return cls(x, Level.of(x, data), place(x))


def between(name: str, a: Cloud, b: Cloud) -> Part:
    """The part that leads from cloud a to cloud b, row by row."""
    square = (a.x - b.x).flatten(1).square().sum(1)
    spread = float(square.std() / len(square) ** 0.5)
    return Part(
        name,
        root(float(square.mean()), spread),
        float(square.sqrt().median()),
        float((a.place != b.place).double().mean()),
        b.level.since(a.level),
    )


def rms(pair: Tensor) -> float:
    """The RMS distance of the rows of two clouds, shape (2, n, *event)."""
    return float((pair[0] - pair[1]).flatten(1).square().sum(1).mean().sqrt())


def nearest_point(points: Tensor) -> Callable[[Tensor], Tensor]:
    """What names the training point nearest to each row."""
    from diffode.bench.metrics import nearest

    return lambda x: nearest(x.to(points), points)[1]


def nearest_mode(law: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    """What names the mode of a mixture nearest to each row."""

    def place(x: Tensor) -> Tensor:
        mode: Tensor = law.nearest_mode(x.flatten(1).to(torch.float64))[0]
        return mode

    return place
