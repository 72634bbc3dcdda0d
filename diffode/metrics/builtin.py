"""diffode's own metrics, in the order of the tables: each a function and the line above it."""

from __future__ import annotations

from torch import Tensor

from diffode.data.source import width
from diffode.metrics.estimates import Estimate
from diffode.metrics.kernels import energy_distance, kernel_distance, mmd
from diffode.metrics.labels import class_accuracy, class_variation
from diffode.metrics.metric import Samples, metric
from diffode.metrics.modes import modes
from diffode.metrics.moments import frechet
from diffode.metrics.neighbours import nearer, nearest, precision_recall
from diffode.metrics.paths import straightness
from diffode.metrics.reference import Reference
from diffode.metrics.transport import sliced_wasserstein2, wasserstein2
from diffode.rng import Rng

MOST_EXACT = 256  # coordinates up to which the exact W2 is computed
NEIGHBOURS = 5
PROJECTIONS = 256
USUAL = (
    "W2", "sliced W2", "energy", "MMD^2", "Frechet", "KID", "precision", "recall", "density",
    "coverage", "copying", "modes", "least share", "high quality", "class TV", "accuracy",
    "straightness",
)  # fmt: skip


def _small(r: Reference) -> bool:
    return width(r.dataset.train) <= MOST_EXACT


def _has_law(r: Reference) -> bool:
    return r.dataset.law is not None


def _has_classes(r: Reference) -> bool:
    return r.classify is not None


@metric("W2", "low", "exact Wasserstein-2 distance; with many coordinates low may mean copies",
        when=_small)  # fmt: skip
def _w2(s: Samples) -> Estimate:
    return wasserstein2(s.x, s.reference, s.against.dataset.law)


@metric("sliced W2", "low", f"sliced Wasserstein-2 distance, {PROJECTIONS} directions")
def _sliced_w2(s: Samples) -> Estimate:
    return sliced_wasserstein2(s.x, s.reference, PROJECTIONS, law=s.against.dataset.law)


@metric("energy", "low", "energy distance")
def _energy(s: Samples) -> Estimate:
    return energy_distance(s.x, s.reference)


@metric("MMD^2", "low", "squared MMD, Gaussian kernel, unbiased")
def _mmd(s: Samples) -> Estimate:
    return mmd(s.x, s.reference)


@metric("Frechet", "low", "Frechet distance", in_features=True)
def _frechet(s: Samples) -> Estimate:
    return frechet(s.x, s.reference)


@metric("KID", "low", "kernel distance", in_features=True)
def _kid(s: Samples) -> Estimate:
    return kernel_distance(s.x, s.reference)


def _balls(s: Samples) -> dict[str, Estimate]:
    return precision_recall(s.x, s.reference, NEIGHBOURS)


@metric("precision", "high",
        f"share of samples in {NEIGHBOURS}-nearest-neighbour balls of real data")  # fmt: skip
def _precision(s: Samples) -> Estimate:
    return s.shared(_balls)["precision"]


@metric("recall", "high",
        f"share of real data in {NEIGHBOURS}-nearest-neighbour balls of samples")  # fmt: skip
def _recall(s: Samples) -> Estimate:
    return s.shared(_balls)["recall"]


@metric("density", "one", "how many balls of real data hold a sample, 1 for real data")
def _density(s: Samples) -> Estimate:
    return s.shared(_balls)["density"]


@metric("coverage", "high", "share of balls of real data that hold a sample")
def _coverage(s: Samples) -> Estimate:
    return s.shared(_balls)["coverage"]


@metric("copying", "half",
        "P(nearer to the training set than held-out data): 1/2 fair, 1 copies")  # fmt: skip
def _copying(s: Samples) -> Estimate:
    if not s.real or s.against.fresh:
        return nearer(nearest(s.x, s.against.part)[0], s.against.held_out)
    held = nearest(s.against.dataset.test[:], s.against.part)[0]  # two for each sample at most
    half = Rng(s.against.seed).permutation("halves", len(held))
    middle = len(held) // 2
    return nearer(held[half[:middle]], held[half[middle:]])


def _modes(s: Samples) -> dict[str, Estimate]:
    assert s.against.dataset.law is not None
    return modes(s.x, s.against.dataset.law)


@metric("modes", "high", "modes with a fifth of their weight or more", when=_has_law)
def _covered(s: Samples) -> Estimate:
    return s.shared(_modes)["modes"]


@metric("least share", "one", "smallest share of a mode, over its weight", when=_has_law)
def _least(s: Samples) -> Estimate:
    return s.shared(_modes)["least share"]


@metric("high quality", "high", "share within three standard deviations of a mode", when=_has_law)
def _high_quality(s: Samples) -> Estimate:
    return s.shared(_modes)["high quality"]


def _classes(s: Samples) -> Tensor:
    assert s.against.classify is not None
    return s.against.classify(s.x)


@metric("class TV", "low", "total variation of the shares of the classes", when=_has_classes)
def _class_tv(s: Samples) -> Estimate:
    classes = s.against.dataset.classes
    assert classes is not None
    return class_variation(s.shared(_classes), s.against.reference_classes, classes)


@metric("accuracy", "high", "share that a classifier gives the class it was drawn with",
        when=_has_classes)  # fmt: skip
def _accuracy(s: Samples) -> Estimate | None:
    if s.real and s.against.reference_labels is not None:
        return class_accuracy(s.against.reference_classes, s.against.reference_labels)
    return None if s.y is None else class_accuracy(s.shared(_classes), s.y)


@metric("straightness", "high", "chord over length of a path, 1 for a straight line")
def _straightness(s: Samples) -> Estimate | None:
    return None if s.path is None else straightness(s.path)
