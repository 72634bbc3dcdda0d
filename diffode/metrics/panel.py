"""The panel: what is measured of samples of a data set, against what, and what real data score."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from diffode import metrics as measures
from diffode.data import as_dataset
from diffode.data.memory import Data
from diffode.data.rows import some_rows
from diffode.metrics.columns import (
    CLASSES,
    DISTANCES,
    MODES,
    NEIGHBOURS,
    PATHS,
    PROJECTIONS,
    SHARES,
    Metric,
)
from diffode.metrics.estimates import Estimate, attempted, pair
from diffode.metrics.features import Features, find, naming, usual
from diffode.rng import Rng

MOST_EXACT = 256  # coordinates up to which the exact W2 is computed
PLAIN = 3  # coordinates up to which it tells most
LEAST = 20  # samples to ask for


class Panel:
    """The metrics of a data set, with one reference and one floor for all who are compared.

    Distances, shares and class histograms are taken against points of the test split. The floor
    is real data of the samples' count, measured as the samples are: other test points where the
    split is large enough for both, else training points. Copying is always of the training split,
    with the reference as what was held out.

    Arguments:
        data: a data set, or what `diffode.data.as_dataset` makes one of.
        count: samples to measure; no more than the training split has, so that the floor has as
            many.
        features: names of feature spaces, see `diffode.metrics.features.find`; None are the usual
            ones of the data set.
        seed: chooses the rows of the splits.
        labels: whether samples are drawn with labels, each class in its share: then reference and
            floor have the classes' shares too.

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
        self.dataset, self.seed = dataset, seed
        self.labels = labels and dataset.train_labels is not None
        self.count = min(count, len(dataset.train))
        if count < LEAST:
            raise ValueError(
                f"got {count} samples to measure against {len(dataset.test)} test points; "
                f"wanted {LEAST} samples at least"
            )
        if min(self.count, len(dataset.test)) < 2:
            raise ValueError(f"got {dataset!r}; wanted 2 training and 2 test points at least")
        if torch.equal(dataset.train, dataset.test):
            raise ValueError(
                f"{dataset.name}: the test points are the training points; a reference and its "
                "floor need points that are held out"
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
        self._classify = naming(dataset, self.features)
        self._exact = dataset.train[0].numel() <= MOST_EXACT
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

    @cached_property
    def reference_hash(self) -> str:
        """Twelve hexadecimal digits of the reference points."""
        return _digest(self.reference)

    @cached_property
    def bandwidth(self) -> float | None:
        """The width of the Gaussian kernel: the median distance of different reference points."""
        try:
            return measures.bandwidth(self.reference)
        except ValueError:  # MMD says why
            return None

    @property
    def headline(self) -> str:
        """The metric to look at first: W2 of a few coordinates, else a Frechet distance.

        With many coordinates W2 of finite samples is mostly the distance of a point from its
        nearest neighbour, which samples too close to each other or to the data make smaller. In
        the plane a Gaussian fit may win by a Frechet distance; W2 sees what it misses, and the
        sliced W2 where POT is not there.
        """
        names, plain = [m.name for m in self.metrics], self.dataset.train[0].numel() <= PLAIN
        far = "sliced W2" if find_spec("ot") is None else "W2"
        wanted = far if plain else "Frechet" if self.features else "sliced W2"
        return next(name for name in names if name.startswith(wanted))

    @cached_property
    def metrics(self) -> list[Metric]:
        """What can be measured, in the order of the tables."""
        known = {k: v for k, v in DISTANCES.items() if k != "W2" or self._exact}
        for space in self.features:
            known[f"Frechet[{space}]"] = (f"Frechet distance of features {space.name}", "low")
            known[f"KID[{space}]"] = (f"kernel distance of features {space.name}", "low")
        known |= SHARES | (MODES if self._law is not None else {})
        known |= (CLASSES if self._classify is not None else {}) | PATHS
        return [Metric(name, about, better) for name, (about, better) in known.items()]

    def measure(
        self, x: Tensor, y: Tensor | None = None, path: Tensor | None = None
    ) -> dict[str, Estimate]:
        """The figures of samples, by the names of `metrics`, in their order.

        A figure that cannot be had is NaN and says why, and the others stand.

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
        pair(x, self.reference)  # all finite
        found = self._compared(x)
        found |= attempted("copying", lambda: self._copying(x))
        found |= self._classes(x, None if y is None else y[: self.count].cpu())
        if path is not None:
            found |= attempted("straightness", lambda: measures.straightness(path))
        return self._ordered(found)

    @cached_property
    def floor(self) -> dict[str, Estimate]:
        """The same figures for real data; there is none for the straightness of paths."""
        found = self._compared(self._real) | self._classes(self._real, None)
        found |= attempted("copying", self._copying_of_real)
        labels = self.dataset.test_labels
        if self._classify is not None and labels is not None:
            answers, known = self._classify(self.reference), labels[self._rows]
            found |= attempted("accuracy", lambda: measures.class_accuracy(answers, known))
        return self._ordered(found)

    @cached_property
    def gaussian(self) -> dict[str, Estimate]:
        """The same figures for a Gaussian fit of the training data, which has learned nothing.

        There is none for more than 2,048 coordinates.
        """
        dim = self.dataset.train[0].numel()
        if dim > measures.MOST_COORDINATES:
            return {}
        noise = Rng(self.seed).normal("gaussian fit", (self.count, dim), torch.float64)
        return self.measure(measures.gaussian_fit(self.dataset.train, self.count, noise))

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
        real, law = self.reference, self._law
        found = attempted(
            "sliced W2", lambda: measures.sliced_wasserstein2(x, real, PROJECTIONS, law=law)
        )
        found |= attempted("energy", lambda: measures.energy_distance(x, real))
        found |= attempted("MMD^2", lambda: measures.mmd(x, real))
        if self._exact:
            found |= attempted("W2", lambda: measures.wasserstein2(x, real, law))
        for space in self.features:
            found |= self._featured(space, x)
        shares = attempted(
            list(SHARES)[:4], lambda: measures.precision_recall(x, real, NEIGHBOURS)
        )
        found |= shares
        return found if law is None else found | attempted(MODES, lambda: measures.modes(x, law))

    def _featured(self, space: Features, x: Tensor) -> dict[str, Estimate]:
        """The distances in a feature space."""

        def both() -> dict[str, Estimate]:
            ours, theirs = space(x), self._reference_features(space)
            return attempted(names[0], lambda: measures.frechet(ours, theirs)) | attempted(
                names[1], lambda: measures.kernel_distance(ours, theirs)
            )

        names = [f"Frechet[{space}]", f"KID[{space}]"]
        return attempted(names, both)

    def _reference_features(self, space: Features) -> Tensor:
        known = self._spaces
        if str(space) not in known:
            known[str(space)] = space(self.reference)
        return known[str(space)]

    def _copying(self, x: Tensor) -> Estimate:
        return measures.nearer(measures.nearest(x, self.dataset.train)[0], self._held_out)

    def _copying_of_real(self) -> Estimate:
        if self.fresh:
            return self._copying(self._real)
        held = measures.nearest(self.dataset.test, self.dataset.train)[0]
        half = Rng(self.seed).permutation("halves", len(held))
        middle = len(held) // 2
        return measures.nearer(held[half[:middle]], held[half[middle:]])

    @cached_property
    def _held_out(self) -> Tensor:
        """The distance of each reference point to its nearest training point."""
        return measures.nearest(self.reference, self.dataset.train)[0]

    def _classes(self, x: Tensor, y: Tensor | None) -> dict[str, Estimate]:
        if self._classify is None:
            return {}
        answers, classes = self._classify(x), self.dataset.classes
        assert classes is not None
        known = self._reference_answers
        found = attempted("class TV", lambda: measures.class_variation(answers, known, classes))
        if y is None:
            return found
        return found | attempted("accuracy", lambda: measures.class_accuracy(answers, y))

    @cached_property
    def _reference_answers(self) -> Tensor:
        assert self._classify is not None
        return self._classify(self.reference)


def _digest(x: Tensor) -> str:
    return hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()[:12]
