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
from diffode.data.source import whole, width
from diffode.inputs import quoted
from diffode.metrics.classifier import Classifier, load_classifier, shipped

PCA = 32  # coordinates of the principal axes, at most


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
        parts = [self.apply(part).double() for part in torch.split(x.detach().cpu().float(), 1000)]
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
    return Features("pixels", _digest(b"identity"), lambda x: x.flatten(1))


def principal(train: Tensor, coordinates: int = PCA) -> Features:
    """The first principal axes of training data.

    Arguments:
        train: the data, shape (M, *event).
        coordinates: how many axes, at most N.
    """
    flat = train.flatten(1).double()
    count = min(coordinates, flat.shape[1])
    mean = flat.mean(0)
    _, vectors = torch.linalg.eigh(torch.cov(flat.T).reshape(flat.shape[1], -1))
    axes = vectors.flip(1)[:, :count]
    content = _digest(b"pca%d" % count, train.contiguous().numpy().tobytes())
    return Features(f"pca{count}", content, lambda x: (x.flatten(1).double() - mean) @ axes)


@feature_space("pca")
def _principal(dataset: Dataset) -> Features:
    """The first principal axes of the training data."""
    return principal(whole(dataset.train))


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
    content = _digest(*(v.numpy().tobytes() for v in net.state_dict().values()))

    def apply(x: Tensor) -> Tensor:
        rgb = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        features: Tensor = net(((rgb.clamp(-1, 1) + 1) * 127.5).round().byte())
        return features

    return Features("inception", content, apply)


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


def usual(dataset: Dataset, most: int = 1024) -> Sequence[str]:
    """The names of the spaces that suit a data set: a classifier where one is shipped."""
    own = ["classifier"] if shipped(dataset.name) is not None else []
    small = width(dataset.train) <= most
    return [*own, "pixels" if small else "pca"]


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


def _digest(*parts: bytes) -> str:
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()[:12]
