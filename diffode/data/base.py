"""What a data set is: points to train on, points held out, and what is known about their law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffode.data.toys import Gaussians


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Training and test points of one law.

    Arguments:
        name: the registered name, or the file that the points came from.
        train: training points, shape (M, *event), float32.
        test: points kept apart, shape (K, *event), float32.
        train_labels: class of each training point, shape (M,), int64, or None.
        test_labels: class of each test point, shape (K,), int64, or None.
        classes: the number of classes; labels are 0 ... classes - 1.
        log_density: exact log-density of the law in nats, (B, *event) -> (B,), in the dtype of
            its input.
        law: the mixture of Gaussians that the points are drawn from, where they are.
    """

    name: str
    train: Tensor
    test: Tensor
    train_labels: Tensor | None = None
    test_labels: Tensor | None = None
    classes: int | None = None
    log_density: Callable[[Tensor], Tensor] | None = None
    law: Gaussians | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return tuple(self.train.shape[1:])

    def labels(self, n: int) -> Tensor | None:
        """Labels to draw n samples with, shape (n,): the training points', repeated."""
        known = self.train_labels
        return None if known is None else known[torch.arange(n) % len(known)]

    def __repr__(self) -> str:
        parts = [
            f"{len(self.train)} train and {len(self.test)} test points of shape {self.event_shape}"
        ]
        if self.classes is not None:
            parts.append(f"{self.classes} classes")
        if self.log_density is not None:
            parts.append("log-density known")
        return f"Dataset({self.name}: {', '.join(parts)})"
