"""Which rows of a data set are taken: some that stand for all, and those that are held out."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.rng import Rng


def some_rows(size: int, n: int, labels: Tensor | None = None, seed: int = 0) -> Tensor:
    """Rows that stand for all, in ascending order: the first rows of a file may be one class.

    Arguments:
        size: how many rows there are.
        n: how many are wanted; all of them if there are no more.
        labels: the rows' classes, shape (size,): each class keeps its share, to within one row.
        seed: of the choice.
    """
    if n >= size:
        return torch.arange(size)
    rng = Rng(seed)
    order = rng.permutation("rows", size)
    if labels is None:
        return order[:n].sort().values
    order = order[labels.cpu()[order].argsort(stable=True)]
    return order[_systematic(size, n, rng)].sort().values


def held_out(size: int, n: int, labels: Tensor | None = None, seed: int = 0) -> Tensor:
    """Which rows are kept apart to test with, shape (size,), bool.

    Arguments:
        size: how many rows there are.
        n: how many are kept apart.
        labels: the rows' classes, shape (size,): each class gives its share, to within one row,
            and one with a single row keeps that to train on.
        seed: of the choice.
    """
    held = torch.zeros(size, dtype=torch.bool)
    if labels is None:
        held[Rng(seed).permutation("split", size)[:n]] = True
        return held
    several = (labels.bincount()[labels] > 1).nonzero().flatten()
    free = several if len(several) > n else torch.arange(size)
    held[free[some_rows(len(free), n, labels[free], seed)]] = True
    return held


def some_labels(labels: Tensor, n: int, seed: int = 0) -> Tensor:
    """n labels in random order, (n,): each class keeps its share of those given, to within one."""
    rng, ordered = Rng(seed), labels.sort().values
    return ordered[_systematic(len(ordered), n, rng)][rng.permutation("labels", n)]


def some_of_each(labels: Tensor, n: int) -> Tensor:
    """The first n rows of each class, or all that it has, class after class."""
    return torch.cat([(labels == k).nonzero().flatten()[:n] for k in sorted(set(labels.tolist()))])


def _systematic(size: int, n: int, rng: Rng) -> Tensor:
    """n of `size` places, evenly spaced from a random start, in ascending order."""
    start = rng.uniform("place", (1,))
    return ((torch.arange(n).double() + start) * (size / n)).long().clamp_max(size - 1)
