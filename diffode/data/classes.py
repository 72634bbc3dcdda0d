"""Labels as they came, numbers or names, as the classes 0, 1, ..."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffode.data.npy import Array
from diffode.inputs import quoted

_NUMBER = "number the classes with np.unique(y, return_inverse=True)[1]"


@dataclass(frozen=True)
class Classes:
    """The labels of the rows.

    Attributes:
        y: class of each row, shape (M,), int64.
        test: of each row that was held out by who saved them, or None.
        names: what the classes are called, or None.
    """

    y: Tensor
    test: Tensor | None = None
    names: tuple[str, ...] | None = None


def classes_of(
    y: Array, rows: int, test: Array | None = None, tested: int = 0, names: Array | None = None
) -> Classes:
    """Labels from arrays that are checked first.

    Texts are numbered in the order of the names, or else of the alphabet, and are the names.

    Arguments:
        y: one label a row.
        rows: how many there are.
        test, tested: the labels of the rows that are held out, and how many there are.
        names: of the classes, shape (K,), or None.

    Raises:
        ValueError: labels of another number, type or range, or names that do not fit.
    """
    known = None if names is None else _names(names)
    if test is not None and (test.dtype.kind == "U") != (y.dtype.kind == "U"):
        raise ValueError(
            f"got labels y of type {y.dtype} and y_test of type {test.dtype}; wanted both as "
            "texts, or both as integers"
        )
    if y.dtype.kind == "U":
        known = known or tuple(np.unique(y).tolist())
        y = _numbered(y, known)
        test = None if test is None else _numbered(test, known)
    first = labels(y, rows)
    second = None if test is None else labels(test, tested)
    highest = max(int(v.max()) for v in (first, second) if v is not None)
    if known is not None and highest >= len(known):
        raise ValueError(f"got the label {highest} for {len(known)} names of classes")
    if highest >= rows:
        raise ValueError(
            f"got the label {highest} for {rows} rows, more classes than rows; {_NUMBER}"
        )
    return Classes(first, second, known)


def labels(array: Array, rows: int) -> Tensor:
    """Labels (M,), int64, from an array that is checked first."""
    if array.shape != (rows,):
        raise ValueError(
            f"got labels y of shape {array.shape} for {rows} rows; wanted shape ({rows},); "
            "give one label per row"
        )
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"got labels y of type {array.dtype}; wanted integers 0, 1, 2, ... or texts; {_NUMBER}"
        )
    if int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"got the label {array.max()} for {rows} rows; {_NUMBER}")
    y = torch.from_numpy(array.astype(np.int64))
    if y.min() < 0:
        raise ValueError(
            f"got the negative label {int(y.min())} in row {int(y.argmin())}; wanted integers "
            f"0, 1, 2, ...; {_NUMBER}"
        )
    return y


def _names(names: Array) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) < len(names):
        raise ValueError(
            f"got names of classes of shape {names.shape} and type {names.dtype}; wanted texts "
            "(K,), each another"
        )
    return tuple(names.tolist())


def _numbered(y: Array, names: tuple[str, ...]) -> Array:
    """The place of each text among the names."""
    number = {name: k for k, name in enumerate(names)}
    unknown = sorted(set(y.flatten().tolist()) - number.keys())
    if unknown:
        raise ValueError(f"got the label {quoted(unknown[0])}, which is none of the classes")
    return np.array([number[text] for text in y.flatten().tolist()], np.int64).reshape(y.shape)
