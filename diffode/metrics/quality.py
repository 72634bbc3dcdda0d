"""The four figures that training prints about its samples, quick to compute."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from torch import Tensor

from diffode.data.rows import some_rows
from diffode.metrics.moments import MOST_COORDINATES, frechet
from diffode.metrics.neighbours import nearest, precision_recall


@dataclass(frozen=True)
class Quality:
    """The figures that a run prints about its samples.

    Attributes:
        frechet: to the held-out split, in the space of the data; NaN beyond 2,048 coordinates.
        precision, recall: to the training split, k = 5.
        nearest: the median distance to the nearest training sample.
        count: how many samples were measured.
    """

    frechet: float
    precision: float
    recall: float
    nearest: float
    count: int

    def asdict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


def quality(x: Tensor, train: Tensor, test: Tensor, most: int = 2000) -> Quality:
    """Measure samples against a training and a held-out split.

    Arguments:
        x: samples, shape (n, *event).
        train, test: the two splits of the data.
        most: the most training samples that balls are laid around, chosen at random.
    """
    return _measured(x, x, train, test, most)


def floor(train: Tensor, test: Tensor, most: int = 2000) -> Quality:
    """The same figures for real data: the training split's moments, and the held-out samples."""
    return _measured(train, test, train, test, most)


def _measured(moments: Tensor, x: Tensor, train: Tensor, test: Tensor, most: int) -> Quality:
    shares = precision_recall(x, train[some_rows(len(train), most)])
    small = x[0].numel() <= MOST_COORDINATES
    return Quality(
        frechet=frechet(moments, test).value if small else math.nan,
        precision=shares["precision"].value,
        recall=shares["recall"].value,
        nearest=float(nearest(x, train)[0].median()),
        count=len(x),
    )
