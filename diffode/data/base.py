"""What a data set is: points to train on, points held out, and what is known about their law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffode.data.laws import Gaussians
from diffode.data.reading import Reading
from diffode.data.rows import some_labels
from diffode.data.scaling import Scaling
from diffode.data.source import Samples, Source
from diffode.doors import as_labels, as_state
from diffode.inputs import quoted


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    r"""Training and test points of one law, in model units.

    Arguments:
        name: of a registered set, of the file that the points came from, or any other.
        train: training points, shape (M, \*event), float32: a tensor, or a `Source` that reads
            them when they are asked for.
        test: points kept apart, shape (K, \*event), in the same way.
        train_labels: class of each training point, shape (M,), int64, or None.
        test_labels: class of each test point, shape (K,), int64, or None.
        classes: the number of classes; labels are 0 ... classes - 1. None counts them from the
            labels.
        log_density: exact log-density of the law in nats, (B, \*event) -> (B,), in the dtype of
            its input.
        law: the mixture of Gaussians that the points are drawn from, where they are.
        source: what `diffode.data.load` finds it by from any folder; None in memory alone.
        scaling: how the points came from data units to model units; None where they are the same.
        reading: how it was read.
        class_names: what the labels are called, one name for each class, or None.
        notes: how it was read, a line each, for whoever shows it.
        left_out: what could not be read and is not in it, each with the reason.

    Points and labels of other types are converted, see `diffode.doors`.

    Raises:
        TypeError: points or labels that are not real numbers.
        ValueError: no points, or shapes, labels or a number of them that do not fit.
    """

    name: str
    train: Samples
    test: Samples
    train_labels: Tensor | None = None
    test_labels: Tensor | None = None
    classes: int | None = None
    log_density: Callable[[Tensor], Tensor] | None = None
    law: Gaussians | None = None
    source: str | None = None
    scaling: Scaling | None = None
    reading: Reading = field(default_factory=Reading)
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        train = _samples(self.train, None, "train")
        if len(train.shape) < 2:
            raise ValueError(
                f"got train of shape {tuple(train.shape)}; wanted (M, *event): for points on a "
                "line x[:, None]"
            )
        test = _samples(self.test, tuple(train.shape[1:]), "test", fewest=0)
        highest = None if self.classes is None else self.classes - 1
        of_train = as_labels(self.train_labels, len(train), highest)
        of_test = as_labels(self.test_labels, len(test), highest)
        taken: dict[str, object] = {"train": train, "test": test}
        taken |= {"train_labels": of_train, "test_labels": of_test}
        if self.classes is None and of_train is not None:
            taken["classes"] = _counted(of_train, of_test)
        classes = taken.get("classes", self.classes)
        if self.class_names is not None:
            taken["class_names"] = as_class_names(self.class_names, classes)
        for name, value in taken.items():
            object.__setattr__(self, name, value)  # frozen for everyone else

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return tuple(self.train.shape[1:])

    def labels(self, n: int, seed: int = 0) -> Tensor | None:
        """Labels to draw n samples with, shape (n,), int64, in random order.

        Each class has its share of the training points, to within one sample.
        """
        return None if self.train_labels is None else some_labels(self.train_labels, n, seed)

    def __repr__(self) -> str:
        parts = [
            f"{len(self.train)} train and {len(self.test)} test points of shape {self.event_shape}"
        ]
        if self.classes is not None:
            parts.append("1 class" if self.classes == 1 else f"{self.classes} classes")
        if self.log_density is not None:
            parts.append("log-density known")
        return f"Dataset({self.name}: {', '.join(parts)})"


def _samples(
    x: Samples, event_shape: tuple[int, ...] | None, name: str, fewest: int = 1
) -> Samples:
    """Points as they are learned: a tensor is converted, a source only looked at."""
    if not isinstance(x, Source):
        return as_state(x, event_shape, name, fewest).detach()
    if len(x) < fewest or event_shape not in (None, tuple(x.shape[1:])):
        raise ValueError(f"got {name} of shape {tuple(x.shape)}; wanted rows of {event_shape}")
    return x


def as_class_names(names: object, classes: object) -> tuple[str, ...]:
    """The names of the classes: as many as there are, different, and each a line of its own.

    Raises:
        ValueError: names that are not.
    """
    known = tuple(map(str, names)) if isinstance(names, tuple | list) else ()
    if len(known) != classes:
        raise ValueError(f"got {len(known)} class names for {classes} classes; give one for each")
    for name in known:
        if not name.strip() or not name.isprintable():
            raise ValueError(
                f"got the class name {quoted(name)}; wanted characters that can be printed"
            )
        if known.count(name) > 1:
            raise ValueError(f"got the class name {quoted(name)} twice; give each its own")
    return known


def _counted(train: Tensor, test: Tensor | None) -> int:
    """How many classes the labels of both splits name."""
    labels = train if test is None else torch.cat((train, test))
    if int(labels.min()) < 0:
        raise ValueError(f"got the label {int(labels.min())}; labels are 0, 1, ...")
    return int(labels.max()) + 1
