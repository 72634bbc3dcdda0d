r"""What tells data sets apart: numbers that change with any value, label or order of the rows.

A split x of shape (M, N) is told by :math:`a_k^T x\, b_k` for a few fixed pairs of weight vectors.
They are compared to six digits, so that the same data are the same on every machine, whatever the
last bits of its sines.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.data.base import Dataset

_SUMS = 3
_SAME = 1e-6  # of the norm of a split: what the last bits of float32 can move
_CHUNK = 8192  # rows taken to float64 at once


@dataclass(frozen=True)
class Split:
    """One split in numbers.

    Attributes:
        rows: how many.
        mean, std: of all its values.
        sums: the weighted sums of its values.
        labels: those of its labels, or None.
    """

    rows: int
    mean: float
    std: float
    sums: tuple[float, ...]
    labels: tuple[float, ...] | None = None

    @classmethod
    def of(cls, x: Tensor, y: Tensor | None = None) -> Split:
        """The numbers of samples (M, *event) and of their labels (M,)."""
        mean, std, sums = _measured(x.detach().cpu().reshape(len(x), -1))
        labels = None if y is None else _measured(y.detach().cpu().reshape(len(y), 1))[2]
        return cls(len(x), mean, std, sums, labels)

    def differs(self, other: Split) -> str | None:
        """What is not the same in another split, if anything: rows, values or labels."""
        if self.rows != other.rows:
            return "number of rows"
        root = max(1, self.rows) ** 0.5
        if not _close(self.sums, other.sums, root * (self.mean**2 + self.std**2) ** 0.5):
            return "values"
        if (self.labels is None) != (other.labels is None):
            return "labels"
        if self.labels is not None and not _close(self.labels, other.labels or (), root):
            return "labels"
        return None

    def __str__(self) -> str:
        marks = f"{self.sums[0]:.6g}" + (f", labels {self.labels[0]:.6g}" if self.labels else "")
        return f"mean {self.mean:.4g}, std {self.std:.4g}, weighted sum {marks}"


@dataclass(frozen=True)
class Fingerprint:
    """A data set in numbers: its shape, its classes and its two splits."""

    shape: tuple[int, ...]
    classes: int | None
    train: Split
    test: Split

    @classmethod
    def of(cls, dataset: Dataset) -> Fingerprint:
        """The fingerprint of a data set."""
        d = dataset
        train, test = Split.of(d.train, d.train_labels), Split.of(d.test, d.test_labels)
        return cls(d.event_shape, d.classes, train, test)

    def differs(self, other: Fingerprint) -> str | None:
        """What is not the same in another data set, if anything."""
        if self.shape != other.shape:
            return "shape"
        splits = self.train.differs(other.train) or self.test.differs(other.test)
        return splits or ("number of classes" if self.classes != other.classes else None)

    def __str__(self) -> str:
        return f"{self.train.rows} + {self.test.rows} rows of shape {self.shape}, {self.train}"


def _measured(x: Tensor) -> tuple[float, float, tuple[float, ...]]:
    """Mean, standard deviation and weighted sums of rows (M, N), these over the root of N."""
    columns = torch.stack([_weights(x.shape[1], 2 * k + 1) for k in range(_SUMS)], 1)
    rows = torch.stack([_weights(len(x), 2 * k) for k in range(_SUMS)], 1)
    center = float(x[:_CHUNK].double().mean())
    sums, first, second = torch.zeros(_SUMS, dtype=torch.float64), 0.0, 0.0
    for part, weights in zip(torch.split(x, _CHUNK), torch.split(rows, _CHUNK), strict=True):
        values = part.double()
        sums += ((values @ columns) * weights).sum(0)
        values -= center
        first += float(values.sum()) / x.numel()
        second += float(values.flatten().square_().sum()) / x.numel()
    std = max(0.0, second - first**2) ** 0.5
    return center + first, std, tuple((sums / x.shape[1] ** 0.5).tolist())


def _weights(n: int, stream: int) -> Tensor:
    """Numbers in [-1, 1) from a hash of their place: the same everywhere, shape (n,)."""
    h = torch.arange(n) + (stream << 40)
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB), (31, 1)):
        h = (h ^ (h >> shift)) * factor
    return (h & 0xFFFFFF).double() / 2**23 - 1


def _close(one: tuple[float, ...], two: tuple[float, ...], scale: float) -> bool:
    if len(one) != len(two):
        return False
    return all(abs(a - b) <= _SAME * scale for a, b in zip(one, two, strict=True))
