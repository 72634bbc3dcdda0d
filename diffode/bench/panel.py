"""The panel: what is measured of samples of a data set, against what, and what real data score."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from diffode.bench import metrics as measures
from diffode.bench.estimates import Estimate
from diffode.bench.features import Features, find, usual
from diffode.data import Dataset
from diffode.data.base import some_rows
from diffode.rng import Rng

NEIGHBOURS = 5
PROJECTIONS = 256
MOST_EXACT = 256  # coordinates up to which the exact W2 is computed
PLAIN = 3  # coordinates up to which it tells most
LEAST = 20  # points of each set

_DISTANCES = {
    "W2": ("exact Wasserstein-2 distance; with many coordinates low may mean copies", "low"),
    "sliced W2": (f"sliced Wasserstein-2 distance, {PROJECTIONS} directions", "low"),
    "energy": ("energy distance", "low"),
    "MMD^2": ("squared MMD, Gaussian kernel, unbiased", "low"),
}
_SHARES = {
    "precision": (
        f"share of samples in {NEIGHBOURS}-nearest-neighbour balls of real data",
        "high",
    ),
    "recall": (f"share of real data in {NEIGHBOURS}-nearest-neighbour balls of samples", "high"),
    "density": ("how many balls of real data hold a sample, 1 for real data", "one"),
    "coverage": ("share of balls of real data that hold a sample", "high"),
    "copying": ("P(nearer to the training set than held-out data): 1/2 fair, 1 copies", "half"),
}
_MODES = {
    "modes": ("modes with a fifth of their weight or more", "high"),
    "least share": ("smallest share of a mode, over its weight", "one"),
    "high quality": ("share within three standard deviations of a mode", "high"),
}
_CLASSES = {
    "class TV": ("total variation of the shares of the classes", "low"),
    "accuracy": ("share that a classifier gives the class it was drawn with", "high"),
}
_PATHS = {"straightness": ("chord over length of a path, 1 for a straight line", "high")}


@dataclass(frozen=True)
class Metric:
    """A column of a table.

    Attributes:
        name: as `Panel.measure` names it.
        about: what it is, in a line.
        better: "low", "high", "half" or "one": where good samples lie.
    """

    name: str
    about: str
    better: str


class Panel:
    """The metrics of a data set, with one reference and one floor for all who are compared.

    Distances, shares and class histograms are taken against points of the test split. The floor
    is real data of the samples' count, measured as the samples are: other test points where the
    split is large enough for both, else training points. Copying is always of the training split,
    with the reference as what was held out.

    Arguments:
        dataset: the data.
        count: samples to measure; no more than the training split has, so that the floor has as
            many.
        features: names of feature spaces, see `diffode.bench.features.find`; None are the usual
            ones of the data set.
        seed: chooses the rows of the splits.
        labels: whether samples are drawn with labels, each class in its share: then reference and
            floor have the classes' shares too.

    Raises:
        ValueError: too few points, or an unknown feature space.
    """

    def __init__(
        self,
        dataset: Dataset,
        count: int = 2000,
        features: Sequence[str] | None = None,
        seed: int = 0,
        labels: bool = False,
    ) -> None:
        self.dataset, self.seed = dataset, seed
        self.labels = labels and dataset.train_labels is not None
        self.count = min(count, len(dataset.train))
        if min(self.count, len(dataset.test)) < LEAST:
            raise ValueError(
                f"got {self.count} samples to measure against {len(dataset.test)} test points; "
                f"wanted {LEAST} of each at least"
            )
        names = usual(dataset) if features is None else features
        self.features: list[Features] = [find(name, dataset) for name in names]
        self.fresh = len(dataset.test) >= 2 * self.count
        order = self._order("test", dataset.test_labels, len(dataset.test))
        self._rows = order[: self.count]
        self.reference = dataset.test[self._rows]
        if self.fresh:
            self._real = dataset.test[order[self.count : 2 * self.count]]
        else:
            rows = self._order("train", dataset.train_labels, len(dataset.train))[: self.count]
            self._real = dataset.train[rows]
        self._law = dataset.law
        self._classify = _classifier(dataset, self.features)
        small = dataset.train[0].numel() <= MOST_EXACT
        self._exact = small and find_spec("ot") is not None

    def _order(self, name: str, labels: Tensor | None, size: int) -> Tensor:
        """Rows in random order; with labels, the first and the next ``count`` stand for all."""
        order = Rng(self.seed).permutation(name, size)
        if not self.labels or labels is None:
            return order
        first = order[some_rows(size, self.count, labels[order], self.seed)]
        rest = order[~torch.isin(order, first)]
        some = some_rows(len(rest), self.count, labels[rest], self.seed)
        return torch.cat((first, rest[some]))

    @cached_property
    def reference_hash(self) -> str:
        """Twelve hexadecimal digits of the reference points."""
        return _digest(self.reference)

    @cached_property
    def bandwidth(self) -> float:
        """The width of the Gaussian kernel: the median distance of two reference points."""
        return measures.bandwidth(self.reference)

    @property
    def headline(self) -> str:
        """The metric to look at first: exact W2 of a few coordinates, else a Frechet distance.

        With many coordinates W2 of finite samples is mostly the distance of a point from its
        nearest neighbour, which samples too close to each other or to the data make smaller.
        """
        names = [m.name for m in self.metrics]
        exact = self._exact and self.dataset.train[0].numel() <= PLAIN
        wanted = "W2" if exact else "Frechet" if self.features else "sliced W2"
        return next(name for name in names if name.startswith(wanted))

    @cached_property
    def metrics(self) -> list[Metric]:
        """What can be measured, in the order of the tables."""
        known = {k: v for k, v in _DISTANCES.items() if k != "W2" or self._exact}
        for space in self.features:
            known[f"Frechet[{space}]"] = (f"Frechet distance of features {space.name}", "low")
            known[f"KID[{space}]"] = (f"kernel distance of features {space.name}", "low")
        known |= _SHARES | (_MODES if self._law is not None else {})
        known |= (_CLASSES if self._classify is not None else {}) | _PATHS
        return [Metric(name, about, better) for name, (about, better) in known.items()]

    def measure(
        self, x: Tensor, y: Tensor | None = None, path: Tensor | None = None
    ) -> dict[str, Estimate]:
        """The figures of samples, by the names of `metrics`, in their order.

        Arguments:
            x: samples, shape (n, *event); the first ``count`` of them are measured.
            y: the classes that they were drawn with, shape (n,): adds the accuracy.
            path: the states of some of them, shape (K + 1, B, *event): adds the straightness.

        Raises:
            ValueError: fewer samples than ``count``, of another shape, or not finite.
        """
        if len(x) < self.count or x.shape[1:] != self.reference.shape[1:]:
            raise ValueError(
                f"got samples of shape {tuple(x.shape)}; wanted {self.count} at least of shape "
                f"{tuple(self.reference.shape[1:])}"
            )
        x = x[: self.count].detach().cpu()
        found = self._compared(x)
        found["copying"] = self._copying(x)
        found |= self._classes(x, None if y is None else y[: self.count])
        if path is not None:
            found["straightness"] = measures.straightness(path)
        return self._ordered(found)

    @cached_property
    def floor(self) -> dict[str, Estimate]:
        """The same figures for real data; there is none for the straightness of paths."""
        found = self._compared(self._real) | self._classes(self._real, None)
        if self.fresh:
            found["copying"] = self._copying(self._real)
        else:
            train = measures.nearest(self.dataset.test, self.dataset.train)[0]
            half = Rng(self.seed).permutation("halves", len(train))
            middle = len(train) // 2
            found["copying"] = measures.nearer(train[half[:middle]], train[half[middle:]])
        labels = self.dataset.test_labels
        if self._classify is not None and labels is not None:
            answers = self._classify(self.reference)
            found["accuracy"] = measures.class_accuracy(answers, labels[self._rows])
        return self._ordered(found)

    def describe(self) -> dict[str, Any]:
        """What is compared with what, for JSON: two panels that agree in it measure the same."""
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
            "train_hash": _digest(self.dataset.train),
            "floor": f"{self.count} {real}{even}; copying: held-out points, {held}",
            "features": [{"name": f.name, "hash": f.hash, **f.about} for f in self.features],
            "neighbours": NEIGHBOURS,
            "projections": PROJECTIONS,
            "mmd_bandwidth": self.bandwidth,
            "metrics": [m.name for m in self.metrics],
        }

    def _ordered(self, found: dict[str, Estimate]) -> dict[str, Estimate]:
        return {m.name: found[m.name] for m in self.metrics if m.name in found}

    def _compared(self, x: Tensor) -> dict[str, Estimate]:
        """Distances and shares against the reference."""
        real = self.reference
        found = {
            "sliced W2": measures.sliced_wasserstein2(x, real, PROJECTIONS, law=self._law),
            "energy": measures.energy_distance(x, real),
            "MMD^2": measures.mmd(x, real, self.bandwidth),
        }
        if self._exact:
            found["W2"] = measures.wasserstein2(x, real, self._law)
        for space, theirs in zip(self.features, self._reference_features, strict=True):
            ours = space(x)
            found[f"Frechet[{space}]"] = measures.frechet(ours, theirs)
            found[f"KID[{space}]"] = measures.kernel_distance(ours, theirs)
        found |= measures.precision_recall(x, real, NEIGHBOURS)
        return found if self._law is None else found | measures.modes(x, self._law)

    @cached_property
    def _reference_features(self) -> list[Tensor]:
        return [space(self.reference) for space in self.features]

    def _copying(self, x: Tensor) -> Estimate:
        return measures.nearer(measures.nearest(x, self.dataset.train)[0], self._held_out)

    @cached_property
    def _held_out(self) -> Tensor:
        """The distance of each reference point to its nearest training point."""
        return measures.nearest(self.reference, self.dataset.train)[0]

    def _classes(self, x: Tensor, y: Tensor | None) -> dict[str, Estimate]:
        if self._classify is None:
            return {}
        answers, classes = self._classify(x), self.dataset.classes
        assert classes is not None
        shares = measures.class_variation(answers, self._reference_answers, classes)
        found = {"class TV": shares}
        if y is not None:
            found["accuracy"] = measures.class_accuracy(answers, y)
        return found

    @cached_property
    def _reference_answers(self) -> Tensor:
        assert self._classify is not None
        return self._classify(self.reference)


def _classifier(dataset: Dataset, spaces: Sequence[Features]) -> Callable[[Tensor], Tensor] | None:
    """What names a sample's class: the nearest mode of a known law, or a trained classifier."""
    law, classes = dataset.law, dataset.classes
    if classes is None:
        return None
    if law is not None and len(law.mode_weights) == classes:
        return lambda x: law.nearest_mode(x)[0]
    for space in spaces:
        net = space.classifier
        if net is not None and net.head.out_features == classes:
            return net.answers
    return None


def _digest(x: Tensor) -> str:
    return hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()[:12]
