"""Handwritten digits: 1797 gray images of 8x8, kept inside the package: nothing is downloaded.

A fifth of each class is the test set, the same on every machine and for every seed. It tests for
unseen images, not for unseen hands: the same 13 writers are on both sides.

Reference: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0, as distributed with scikit-learn
(see NOTICE-digits.txt).
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from diffode.data.base import Dataset
from diffode.data.source import whole
from diffode.rng import Rng

SPLIT_SEED = 1797


def dataset() -> Dataset:
    """Images (M, 1, 8, 8), float32, scaled from 0 ... 16 to [-1, 1] by x/8 - 1, and the digits."""
    with (files("diffode.data") / "digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        images, labels = map(torch.from_numpy, (archive["images"], archive["labels"]))
    x, y = images[:, None].float() / 8 - 1, labels.long()
    held = held_out(y)
    return Dataset("digits", x[~held], x[held], y[~held], y[held], classes=10)


def black_and_white() -> Dataset:
    """The same images with -1 for a pixel of less than half of the full ink, and 1 for others."""
    grey = dataset()
    x, test = (torch.where(whole(part) < 0, -1.0, 1.0) for part in (grey.train, grey.test))
    labels = grey.train_labels, grey.test_labels
    return Dataset("digits-binary", x, test, *labels, classes=10)


def held_out(labels: Tensor, fraction: float = 0.2) -> Tensor:
    """Which rows are the test set, (M,) bool: a rounded share of each class, always the same."""
    order = Rng(SPLIT_SEED).permutation("split", len(labels))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for c, count in enumerate(labels.bincount().tolist()):
        rows = order[labels[order] == c]
        held[rows[: round(fraction * count)]] = True
    return held
