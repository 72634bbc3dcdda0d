"""Classes: how often each is drawn, and whether a sample is of the class that was asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffode.doors import as_labels
from diffode.metrics.estimates import Estimate, mean_share, stated


def class_variation(answers: Tensor, reference: Tensor, classes: int) -> Estimate:
    r"""The total variation of two class histograms, :math:`\tfrac12 \sum_k |p_k - q_k|`.

    0 is the same shares; a missing one of ten equal classes is 0.1. Counts of n samples alone
    give about :math:`\sqrt{K / (2 \pi n)}`.

    Arguments:
        answers: the classes that a classifier gives the samples, shape (n,).
        reference: those that it gives real data, shape (m,).
        classes: how many there are.

    Raises:
        ValueError: a label out of range, or fewer than two.
    """
    counts, given = [], (_vector(answers), _vector(reference))
    for labels in given:
        if len(labels) < 2 or int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise ValueError(
                f"got {len(labels)} labels; wanted two or more, from 0 to {classes - 1}"
            )
        counts.append(labels.bincount(minlength=classes).double() / len(labels))
    sign = torch.sign(counts[0] - counts[1]) / 2
    parts = [float(sign[v].var()) / len(v) for v in given]
    total = float((counts[0] - counts[1]).abs().sum() / 2)
    return stated(total, math.sqrt(sum(parts)), len(answers), len(reference))


def class_accuracy(answers: Tensor, labels: Tensor) -> Estimate:
    """The share of samples that a classifier gives the class they were drawn with, both (n,).

    Raises:
        ValueError: another number of labels.
    """
    answers, labels = _both(answers, labels)
    return mean_share(answers == labels)


@dataclass(frozen=True)
class ClassFigures:
    """What a classifier makes of the points of one class.

    Attributes:
        label: of the class.
        count: how many points were drawn with this label.
        accuracy: the share of these that the classifier gives it; None where there are none.
        share: the share of all points that the classifier gives it.
    """

    label: int
    count: int
    accuracy: Estimate | None
    share: Estimate

    def asdict(self) -> dict[str, Any]:
        """The figures for JSON."""
        right = None if self.accuracy is None else self.accuracy.asdict()
        return {"count": self.count, "accuracy": right, "share": self.share.asdict()}


def figures_by_class(answers: Tensor, labels: Tensor, classes: int) -> list[ClassFigures]:
    """What a classifier makes of points, class by class.

    Arguments:
        answers: the classes that it gives the points, shape (n,).
        labels: those that they were drawn with, shape (n,).
        classes: how many there are.

    Raises:
        ValueError: another number of labels.
    """
    answers, labels = _both(answers, labels)
    found = []
    for k in range(classes):
        right = answers[labels == k] == k
        accuracy = mean_share(right) if len(right) else None
        found.append(ClassFigures(k, len(right), accuracy, mean_share(answers == k)))
    return found


def _both(answers: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    answers, labels = _vector(answers), _vector(labels)
    if len(answers) != len(labels):
        raise ValueError(f"got {len(answers)} answers and {len(labels)} labels; give one for each")
    return answers.cpu(), labels.cpu()


def _vector(labels: Tensor) -> Tensor:
    y = as_labels(labels, None)
    if y is None or not len(y):
        raise ValueError("got no labels; give one for each sample")
    return y
