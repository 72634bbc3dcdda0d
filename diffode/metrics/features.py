"""Feature spaces: where a Frechet or kernel distance is measured, by name and hash.

Two such distances are the same quantity only if name, hash, counts and reference agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffode import registry
from diffode.data import Dataset
from diffode.data.rows import some_rows
from diffode.data.source import Samples, Source, width
from diffode.data.sums import sums_of
from diffode.inputs import quoted
from diffode.metrics import lite0
from diffode.metrics.classifier import Classifier, load_classifier, shipped
from diffode.metrics.moments import MOST_COORDINATES, mean_covariance

PCA = 32  # coordinates of the principal axes, at most
MOST_PLAIN = 1024  # coordinates up to which the events themselves are a feature space
_SEEN = 2**21  # values of the training data whose axes are found without a covariance


@dataclass(frozen=True)
class Features:
    """A map from events to vectors.

    Attributes:
        name: of the space.
        hash: twelve hexadecimal digits of all that defines it.
        apply: (n, *event) -> (n, d).
        about: what else is known of it, such as a classifier's accuracy.
        classifier: the one that it is the hidden layer of, if it is.
    """

    name: str
    hash: str
    apply: Callable[[Tensor], Tensor]
    about: dict[str, Any] = field(default_factory=dict)
    classifier: Classifier | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The features of events, shape (n, d), float64 on the CPU."""
        parts = [self.apply(part).double() for part in torch.split(x.detach().cpu().float(), 250)]
        return torch.cat(parts)

    def __str__(self) -> str:
        return f"{self.name}@{self.hash}"


Space = Callable[[Dataset], Features]


def feature_space(name: str) -> Callable[[Space], Space]:
    """Register a feature space: a decorator of a function from a data set to its `Features`.

    Arguments:
        name: how it is asked for, as by ``--features``.

    Raises:
        ValueError: a name that is taken.
    """

    def add(space: Space) -> Space:
        registry.register("feature", name, space)
        return space

    return add


@feature_space("pixels")
def pixels(_: Dataset) -> Features:
    """The events themselves."""
    return Features("pixels", digest(b"identity"), lambda x: x.flatten(1))


def principal(train: Samples, coordinates: int = PCA) -> Features:
    r"""The first principal axes of training data.

    Beyond 2,048 coordinates they are those of some of the data, chosen at random, of 2^21 values.

    Arguments:
        train: the data, shape (M, \*event).
        coordinates: how many axes, at most N.
    """
    n, about = width(train), dict[str, Any]()
    if n <= MOST_COORDINATES:
        mean, covariance = mean_covariance(train)
        axes = torch.linalg.eigh(covariance)[1].flip(1)
    else:
        rows = some_rows(len(train), max(2, _SEEN // n))
        x = train[rows].flatten(1).double()
        mean = x.mean(0)
        about = {"axes": f"of {len(rows)} training points"}
        axes = torch.linalg.svd(x - mean, full_matrices=False).Vh.T
    axes = axes[:, : min(coordinates, n)].contiguous()
    content = digest(b"pca%d" % axes.shape[1], values_hash(train).encode())
    name = f"pca{axes.shape[1]}"
    return Features(name, content, lambda x: (x.flatten(1).double() - mean) @ axes, about)


@feature_space("pca")
def _principal(dataset: Dataset) -> Features:
    """The first principal axes of the training data."""
    return principal(dataset.train)


def classified(path: str | Path) -> Features:
    """The hidden layer of a trained classifier, from ``diffode features``.

    Raises:
        ValueError: no classifier in that file.
    """
    net, about = load_classifier(path)
    return Features(f"{about['data']}-cnn", about["hash"], net.features, about, net)


@feature_space("inception")
def inception(_: Dataset) -> Features:
    """The 2,048 features of the Inception network that FID is named after, through torchmetrics.

    Raises:
        ValueError: torchmetrics with torch-fidelity, or the network's weights, cannot be had.
    """
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        net = NoTrainInceptionV3("inception-v3-compat", ["2048"])
    except Exception as error:  # a missing package and a failed download look different each time
        raise ValueError(
            f"the Inception network cannot be had here ({' '.join(str(error).split())[:120]}); "
            "install torchmetrics[image] and let it download the weights, or use another space"
        ) from None
    content = digest(*(v.numpy().tobytes() for v in net.state_dict().values()))

    def apply(x: Tensor) -> Tensor:
        rgb = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        features: Tensor = net(((rgb.clamp(-1, 1) + 1) * 127.5).round().byte())
        return features

    return Features("inception", content, apply)


@feature_space("lite0")
def _lite0(dataset: Dataset) -> Features:
    """What EfficientNet-Lite0, trained on ImageNet, sees in images.

    Raises:
        ValueError: no images of gray levels, or its weights are not installed.
    """
    if not _has_levels(dataset) or dataset.event_shape[0] not in (1, 3):
        raise ValueError(
            f"got {dataset!r}; lite0 takes images of 1 or 3 channels whose gray levels are "
            "[-1, 1] (--scale pixels)"
        )
    content = digest(lite0.WEIGHTS.encode(), lite0.RULE.encode())
    about = {"images": lite0.RULE, "weights": lite0.WEIGHTS}
    return Features("lite0", content, lite0.Lite0.installed().features, about)


@feature_space("classifier")
def _shipped(dataset: Dataset) -> Features:
    """The hidden layer of the classifier that comes with the package."""
    path = shipped(dataset.name)
    if path is None:
        raise ValueError(
            f"no classifier of {dataset.name} comes with the package; make one with "
            f"diffode features {dataset.name} --out FILE and give its path"
        )
    return classified(path)


def space(name: str, dataset: Dataset) -> Features:
    """A feature space by name, or by the path of a classifier.

    Arguments:
        name: a registered one; what it names takes a data set and returns `Features`.
        dataset: whose features they are.

    Raises:
        ValueError: no such space.
        TypeError: code that returns something else.
    """
    if name.endswith(".safetensors"):
        return classified(name)
    found = registry.find("feature", name).value(dataset)
    if not isinstance(found, Features):
        raise TypeError(
            f"{quoted(name)} returned an object of type {type(found).__name__}; wanted "
            "diffode.metrics.Features"
        )
    return found


def usual(dataset: Dataset) -> Sequence[str]:
    """The names of the spaces that suit a data set: a network's where there is one, and a plain.

    That is the classifier of the set if one is shipped, and lite0 for RGB images, if installed.
    """
    own = ["classifier"] if shipped(dataset.name) is not None else []
    if _is_natural(dataset) and lite0.weights_path() is not None:
        own.append("lite0")
    return [*own, "pixels" if width(dataset.train) <= MOST_PLAIN else "pca"]


def lacking(dataset: Dataset) -> str | None:
    """How to get the usual space that is not installed, if one is not."""
    if not _is_natural(dataset) or lite0.weights_path() is not None:
        return None
    return f"no Frechet distance in the features of a network for RGB images: {lite0.GET}"


def _is_natural(dataset: Dataset) -> bool:
    """Whether these are RGB images that a network trained on photographs may look at."""
    large = width(dataset.train) > MOST_PLAIN
    return large and _has_levels(dataset) and dataset.event_shape[0] == 3


def _has_levels(dataset: Dataset) -> bool:
    """Whether these are images whose gray levels are [-1, 1]."""
    scaling = dataset.scaling
    return len(dataset.event_shape) == 3 and (scaling is None or scaling.kind == "pixels")


def naming(dataset: Dataset, spaces: Sequence[Features]) -> Callable[[Tensor], Tensor] | None:
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


def values_hash(x: Samples) -> str:
    """Twelve hexadecimal digits of samples in order; a source is read for it once in all."""
    return sums_of(x).hash if isinstance(x, Source) else digest(x.contiguous().numpy().data)


def digest(*parts: bytes | memoryview) -> str:
    """Twelve hexadecimal digits of bytes."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()[:12]
