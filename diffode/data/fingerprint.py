r"""What tells data sets apart: numbers that change with any value, label or order of the rows.

A split x of shape (M, N) is told by :math:`a_k^T x\, b_k` for a few fixed pairs of weight vectors.
They are compared to six digits, so that the same data are the same on every machine, whatever the
last bits of its sines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.data.base import Dataset
from diffode.data.scaling import Scaling
from diffode.data.source import Samples
from diffode.data.sums import sums_of, weights

_SAME = 1e-6  # of the norm of a split: what the last bits of float32 can move


@dataclass(frozen=True)
class Split:
    """One split in numbers.

    Attributes:
        rows: how many.
        mean, std: of all its values.
        sums: the weighted sums of its values.
        labels: those of its labels, or None.
        beside: those of each tensor that stands beside the samples, by its name; None where it
            was not looked for.
    """

    rows: int
    mean: float
    std: float
    sums: tuple[float, ...]
    labels: tuple[float, ...] | None = None
    beside: Mapping[str, tuple[float, ...]] | None = None

    @classmethod
    def of(
        cls, x: Samples, y: Tensor | None = None, beside: Mapping[str, Tensor] | None = None
    ) -> Split:
        """The numbers of samples (M, *event), of their labels (M,), and of tensors beside them."""
        found = sums_of(x)
        labels = None if y is None else sums_of(y.reshape(len(y), 1)).weighted
        others = {name: sums_of(value).weighted for name, value in (beside or {}).items()}
        return cls(len(x), found.mean, found.std, found.weighted, labels, others)

    def differs(self, other: Split) -> str | None:
        """What is not the same in another split, if anything: rows, values, labels, or others."""
        if self.rows != other.rows:
            return "number of rows"
        root = max(1, self.rows) ** 0.5
        if not _close(self.sums, other.sums, root * (self.mean**2 + self.std**2) ** 0.5):
            return "values"
        if (self.labels is None) != (other.labels is None):
            return "labels"
        if self.labels is not None and not _close(self.labels, other.labels or (), root):
            return "labels"
        return None if self.beside is None else _changed(self.beside, other.beside or {})

    def __str__(self) -> str:
        marks = f"{self.sums[0]:.6g}" + (f", labels {self.labels[0]:.6g}" if self.labels else "")
        return f"mean {self.mean:.4g}, std {self.std:.4g}, weighted sum {marks}"


@dataclass(frozen=True)
class Fingerprint:
    """A data set in numbers: its shape, its classes, its two splits and its units.

    Attributes:
        scaling: weighted sums of shifts and widths; None where there are none.
    """

    shape: tuple[int, ...]
    classes: int | None
    train: Split
    test: Split
    scaling: tuple[float, ...] | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Fingerprint:
        """The fingerprint of a data set."""
        d = dataset
        train, test = Split.of(d.train, d.train_labels), Split.of(d.test, d.test_labels)
        return cls(d.event_shape, d.classes, train, test, _units(d.scaling))

    def differs(self, other: Fingerprint) -> str | None:
        """What is not the same in another data set, if anything."""
        if self.shape != other.shape:
            return "shape"
        splits = self.train.differs(other.train) or self.test.differs(other.test)
        units, known = other.scaling or (), self.scaling
        if known is not None and not _close(known, units, max(map(abs, known))):
            return "units"
        return splits or ("number of classes" if self.classes != other.classes else None)

    def __str__(self) -> str:
        return f"{self.train.rows} + {self.test.rows} rows of shape {self.shape}, {self.train}"


def _units(scaling: Scaling | None) -> tuple[float, ...] | None:
    """The weighted sums of a scaling's shifts and of its widths."""
    if scaling is None:
        return None
    both = torch.stack([value.flatten() for value in scaling.tensors().values()])
    return tuple((both @ weights(both.shape[1], 0)).tolist())


def _changed(
    one: Mapping[str, tuple[float, ...]], other: Mapping[str, tuple[float, ...]]
) -> str | None:
    """The name of what stands beside two sets and is not the same, if anything."""
    for name in sorted({*one, *other}):
        known = one.get(name, ())
        if not _close(known, other.get(name, ()), max(map(abs, known), default=0.0)):
            return name
    return None


def _close(one: tuple[float, ...], two: tuple[float, ...], scale: float) -> bool:
    if len(one) != len(two):
        return False
    return all(abs(a - b) <= _SAME * scale for a, b in zip(one, two, strict=True))
