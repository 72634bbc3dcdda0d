"""The panel: what is measured of samples of a data set, against what, and what real data score."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from diffode.data.memory import Data
from diffode.data.scaling import model_units
from diffode.data.source import width
from diffode.metrics.builtin import NEIGHBOURS, PROJECTIONS, USUAL
from diffode.metrics.estimates import Estimate, pair
from diffode.metrics.features import Features
from diffode.metrics.labels import ClassFigures, figures_by_class
from diffode.metrics.metric import Metric, Samples, columns
from diffode.metrics.moments import gaussian_fit
from diffode.metrics.reference import Reference
from diffode.rng import Rng

PLAIN = 3  # coordinates up to which the exact W2 tells most


class Panel(Reference):
    """The metrics of a data set, with one reference and one floor for all who are compared.

    Distances, shares and class histograms are taken against points of the test split. The floor
    is real data of the samples' count, measured as the samples are. Copying is always of the
    training split, with the reference as what was held out.

    Arguments:
        data, count, features, seed, labels: as for `Reference`.
        metrics: names of further metrics, see `diffode.metrics.metric`.

    Raises:
        ValueError: too few points, or an unknown feature space or metric.
    """

    def __init__(
        self,
        data: Data,
        count: int = 2000,
        features: Sequence[str] | None = None,
        seed: int = 0,
        labels: bool = False,
        metrics: Sequence[str] = (),
    ) -> None:
        super().__init__(data, count, features, seed, labels)
        known = [column for name in (*USUAL, *metrics) for column in columns(name, self)]
        self.metrics = _by_space(known, self.features)
        names = [m.name for m in self.metrics]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"got two metrics named {twice[0]!r}; give one of them another name")

    @property
    def headline(self) -> str:
        """The metric to look at first: W2 of a few coordinates, else a Frechet distance.

        With many coordinates W2 of finite samples is mostly the distance of a point from its
        nearest neighbour, which samples too close to each other or to the data make smaller. In
        the plane a Gaussian fit may win by a Frechet distance; W2 sees what it misses, and the
        sliced W2 where POT is not there.
        """
        names, plain = [m.name for m in self.metrics], width(self.dataset.train) <= PLAIN
        far = "sliced W2" if find_spec("ot") is None else "W2"
        wanted = far if plain else "Frechet" if self.features else "sliced W2"
        return next(name for name in names if name.startswith(wanted))

    def measure(
        self, x: Tensor, y: Tensor | None = None, path: Tensor | None = None
    ) -> dict[str, Estimate]:
        """The figures of samples, by the names of `metrics`, in their order.

        A figure that cannot be had is NaN and says why, and the others stand.

        Arguments:
            x: samples in the units of the data, as `diffode.sample` gives them, shape (n, *event);
                the first ``count`` of them are measured, in model units.
            y: the classes that they were drawn with, shape (n,): adds the accuracy.
            path: the states of some of them, shape (K + 1, B, *event), in those units too: adds
                the straightness.

        Raises:
            ValueError: fewer samples than ``count``, of another shape, or not finite.
        """
        if len(x) < self.count or x.shape[1:] != self.reference.shape[1:]:
            raise ValueError(
                f"got samples of shape {tuple(x.shape)}; wanted {self.count} at least of shape "
                f"{tuple(self.reference.shape[1:])}"
            )
        scaling = self.dataset.scaling
        x = model_units(x[: self.count].detach().cpu(), scaling)
        pair(x, self.reference)  # all finite
        labels = None if y is None else y[: self.count].cpu()
        path = None if path is None else model_units(path, scaling)
        return self._figures(Samples(x, self.reference, self, labels, path))

    @cached_property
    def floor(self) -> dict[str, Estimate]:
        """The same figures for real data; there is none for the straightness of paths."""
        return self._figures(Samples(self.real, self.reference, self, real=True))

    @cached_property
    def gaussian(self) -> dict[str, Estimate]:
        """The same figures for a Gaussian fit of the training data, which has learned nothing."""
        x = gaussian_fit(self.part, self.count, Rng(self.seed))
        return self._figures(Samples(x, self.reference, self))

    def by_class(self, x: Tensor, y: Tensor | None) -> list[tuple[ClassFigures, ClassFigures]]:
        """What the classifier makes of samples and of the reference, class by class.

        There is nothing where samples have no labels, or the data no classifier.

        Arguments:
            x, y: as for `measure`.
        """
        classes, known = self.dataset.classes, self.reference_labels
        if y is None or known is None or classes is None or self.classify is None:
            return []
        x = model_units(x[: self.count].detach().cpu(), self.dataset.scaling)
        drawn = figures_by_class(self.classify(x), y[: self.count], classes)
        real = figures_by_class(self.reference_classes, known, classes)
        return list(zip(drawn, real, strict=True))

    def describe(self) -> dict[str, Any]:
        """What is compared with what, for JSON: two panels that agree in it measure the same."""
        known = super().describe() | {
            "neighbours": NEIGHBOURS,
            "projections": PROJECTIONS,
            "mmd_bandwidth": self.bandwidth,
            "metrics": [m.name for m in self.metrics],
        }
        return known | ({"own_metrics": self.own_metrics} if self.own_metrics else {})

    @property
    def own_metrics(self) -> dict[str, str]:
        """The metrics that are not diffode's own, with the fingerprints of their code."""
        return {m.name: m.origin for m in self.metrics if m.origin}

    def _figures(self, samples: Samples) -> dict[str, Estimate]:
        found = {m.name: m(samples) for m in self.metrics}
        return {name: figure for name, figure in found.items() if figure is not None}


def _by_space(known: Sequence[Metric], spaces: Sequence[Features]) -> list[Metric]:
    """The columns in order, those in feature spaces together, space after space."""
    within = [m for space in spaces for m in known if m.space is space]
    first = known.index(within[0]) if within else 0
    rest = [m for m in known if m.space is None]
    return [*rest[:first], *within, *rest[first:]]
