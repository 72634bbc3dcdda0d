"""What samples are measured against: points of the test split, and real data beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from diffode.data import Dataset, as_dataset
from diffode.data.memory import Data
from diffode.data.rows import some_rows
from diffode.data.source import Samples, equal, subset, width
from diffode.metrics import kernels
from diffode.metrics.features import (
    Features,
    lacking,
    naming,
    space,
    usual,
    values_hash,
)
from diffode.metrics.neighbours import nearest
from diffode.rng import Rng

LEAST = 20  # samples to ask for
MOST_PRODUCTS = 10**12  # multiplications of as many samples with training points, at most


class Reference:
    """A data set and the points of it that samples are measured against.

    The reference are points of the test split. Real data to stand beside the samples are as many
    as these: other test points where the split is large enough for both, else training points.

    Arguments:
        data: a data set, or what `diffode.data.as_dataset` makes one of.
        count: samples to measure; no more than the training split has, so that there are as many
            real ones.
        features: names of feature spaces, see `diffode.metrics.features.space`; None are the usual
            ones of the data set.
        seed: chooses the rows of the splits.
        labels: whether samples are drawn with labels, each class in its share: then reference and
            real data have the classes' shares too.

    Attributes:
        part: the training points that copies are looked for among; all, if they are not too many.
        notes: what figures lack here, a sentence each.

    Raises:
        ValueError: too few points, or an unknown feature space.
    """

    def __init__(
        self,
        data: Data,
        count: int = 2000,
        features: Sequence[str] | None = None,
        seed: int = 0,
        labels: bool = False,
    ) -> None:
        dataset = as_dataset(data)
        _require_held_out(dataset, count)
        self.dataset, self.seed = dataset, seed
        self.labels = labels and dataset.train_labels is not None
        self.count = min(count, len(dataset.train))
        names = usual(dataset) if features is None else features
        self.notes = [note for note in (lacking(dataset),) if note and features is None]
        self.part = self._part()
        self.features: list[Features] = [space(name, dataset) for name in names]
        self.fresh = len(dataset.test) >= 2 * self.count
        order = self._order("test", dataset.test_labels, len(dataset.test))
        rows = order[: self.count]
        self.reference = dataset.test[rows]
        known = dataset.test_labels
        self.reference_labels = None if known is None else known[rows]
        if self.fresh:
            self.real = dataset.test[order[self.count : 2 * self.count]]
        else:
            rows = self._order("train", dataset.train_labels, len(dataset.train))[: self.count]
            self.real = dataset.train[rows]
        self.classify = naming(dataset, self.features)
        self._spaces: dict[str, Tensor] = {}

    def _order(self, name: str, labels: Tensor | None, size: int) -> Tensor:
        """Rows in random order; with labels, the first and the next ``count`` stand for all."""
        order = Rng(self.seed).permutation(name, size)
        if not self.labels or labels is None:
            return order
        first = order[some_rows(size, self.count, labels[order], self.seed)]
        rest = order[~torch.isin(order, first)]
        some = some_rows(len(rest), self.count, labels[rest], self.seed)
        return torch.cat((first, rest[some]))

    def _part(self) -> Samples:
        """The training points, of more than can be compared in reasonable time a random part."""
        train = self.dataset.train
        most = max(2, MOST_PRODUCTS // (self.count * width(train)))
        if len(train) <= most:
            return train
        self.notes.append(
            f"copying and the Gaussian fit: of {most} of {len(train)} training points, at random"
        )
        return subset(train, some_rows(len(train), most, seed=self.seed))

    @cached_property
    def reference_hash(self) -> str:
        """Twelve hexadecimal digits of the reference points."""
        return values_hash(self.reference)

    @cached_property
    def bandwidth(self) -> float | None:
        """The width of the Gaussian kernel: the median distance of different reference points."""
        try:
            return kernels.bandwidth(self.reference)
        except ValueError:  # MMD says why
            return None

    @cached_property
    def reference_classes(self) -> Tensor:
        """The class that each reference point is given."""
        assert self.classify is not None
        return self.classify(self.reference)

    def features_of(self, space: Features) -> Tensor:
        """The reference in a feature space."""
        if str(space) not in self._spaces:
            self._spaces[str(space)] = space(self.reference)
        return self._spaces[str(space)]

    @cached_property
    def held_out(self) -> Tensor:
        """The distance of each reference point to its nearest training point."""
        return nearest(self.reference, self.part)[0]

    def describe(self) -> dict[str, Any]:
        """What is compared with what, for JSON."""
        rows = len(self.reference)
        even = ", each class in its share" if self.labels else ""
        real = "other test points" if self.fresh else "training points, which features may know"
        held = "the reference" if self.fresh else "one half of the test split against the other"
        return {
            "data": self.dataset.name,
            "event_shape": list(self.dataset.event_shape),
            "seed": self.seed,
            "count": self.count,
            "reference": f"{rows} points of the test split{even}",
            "reference_count": rows,
            "reference_hash": self.reference_hash,
            "train_count": len(self.dataset.train),
            "copying_count": len(self.part),
            "train_hash": values_hash(self.dataset.train),
            "floor": f"{self.count} {real}{even}; copying: held-out points, {held}",
            "features": [{"name": f.name, "hash": f.hash, **f.about} for f in self.features],
        }


def _require_held_out(dataset: Dataset, count: int) -> None:
    if count < LEAST:
        raise ValueError(
            f"got {count} samples to measure against {len(dataset.test)} test points; "
            f"wanted {LEAST} samples at least"
        )
    if min(len(dataset.train), len(dataset.test)) < 2:
        raise ValueError(f"got {dataset!r}; wanted 2 training and 2 test points at least")
    if equal(dataset.train, dataset.test):
        raise ValueError(
            f"{dataset.name}: the test points are the training points; a reference and its "
            "floor need points that are held out"
        )
