"""Your own data: one .npy or .npz file of points or images.

A .npz holds the data as `x` (or as its only array) and may hold integer labels as `y`.

========================= ============================= ====================================
array                     taken as                      becomes
========================= ============================= ====================================
(M, D)                    M points                      (M, D)
(M, H, W)                 gray images                   (M, 1, H, W)
(M, C, H, W), C = 1 or 3  gray or colour images         (M, C, H, W)
(M, H, W, C), C = 1 or 3  the same, channels last       (M, C, H, W)
========================= ============================= ====================================

Images of uint8 are scaled from 0 ... 255 to [-1, 1]; all other numbers are left as they are. A
tenth of the rows, at least two, chosen by the seed, is held out: a tenth of each class where there
are labels, whatever the order of the file. Nothing is ever unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffode.data.base import Dataset, held_out

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST_ROWS = 10


def dataset(path: str | Path, seed: int = 0) -> Dataset:
    """The data set in a file; `seed` chooses the tenth of the rows that is held out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no array of numbers in the file, or one that nothing can be learned from.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of a .npy or .npz file")
    try:
        array, target = read(path)
        x = points(array)
        y = None if target is None else labels(target, len(x))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    test = held_out(len(x), max(2, round(len(x) / 10)), y, seed)
    train = ~test
    if y is None:
        return Dataset(path.name, x[train], x[test])
    return Dataset(path.name, x[train], x[test], y[train], y[test], int(y.max()) + 1)


def read(path: Path) -> tuple[Array, Array | None]:
    """The data in a file and, where it has them, its labels."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                return np.asarray(content), None
            names = [name for name in content.files if name != "y"]
            data = "x" if "x" in names else names[0] if len(names) == 1 else None
            if data is not None:
                target = np.asarray(content["y"]) if "y" in content.files else None
                return np.asarray(content[data]), target
    except Exception as error:  # a damaged file fails in many ways
        raise ValueError(
            f"numpy cannot read this ({' '.join(str(error).split())}); wanted an array of numbers "
            "saved by np.save or np.savez; files of pickled objects are not opened"
        ) from None
    raise ValueError(
        f"got arrays named {sorted(names)}; wanted the data as 'x', or as the only array beside "
        "the labels 'y'; save them with np.savez(path, x=..., y=...)"
    )


def points(array: Array) -> Tensor:
    """Points (M, D) or images (M, C, H, W), float32, from an array that is checked first."""
    shape, dtype = array.shape, array.dtype
    if dtype.kind not in "fiu":
        raise ValueError(
            f"got values of type {dtype}; wanted real numbers, floats or integers; "
            "convert them with x.astype('float32')"
        )
    if len(shape) not in (2, 3, 4):
        raise ValueError(
            f"got an array of shape {shape}; wanted (rows, D) for points, (rows, H, W) or "
            "(rows, C, H, W) for images; reshape it, with x[:, None] for points on a line"
        )
    if array.size == 0 or len(array) < FEWEST_ROWS:
        raise ValueError(
            f"got {len(array)} rows in an array of shape {shape}; wanted at least {FEWEST_ROWS} "
            "and none empty; the first axis counts the rows"
        )
    array = channels_first(array)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad) > 0:
        raise ValueError(
            f"got {len(bad)} values that are NaN or infinite in float32, the first in row "
            f"{bad[0] // values[0].size}; wanted finite numbers; drop those rows"
        )
    if (values == values[0]).all():
        raise ValueError(
            "got rows that are all equal (std 0); wanted data that vary; check what was saved"
        )
    x = torch.from_numpy(values)
    return x / 127.5 - 1 if x.ndim == 4 and dtype == np.uint8 else x


def channels_first(array: Array) -> Array:
    """Images as (M, C, H, W); points as they are."""
    if array.ndim == 2:
        return array
    if array.ndim == 3:
        return array[:, None]
    if array.shape[1] in (1, 3):
        return array
    if array.shape[3] in (1, 3):
        return np.moveaxis(array, 3, 1)
    raise ValueError(
        f"got images of shape {array.shape}; wanted 1 or 3 channels, as (rows, C, H, W) or "
        "(rows, H, W, C); drop channels, or make points of them with x.reshape(len(x), -1)"
    )


def labels(array: Array, rows: int) -> Tensor:
    """Labels (M,), int64, from an array that is checked first."""
    if array.shape != (rows,):
        raise ValueError(
            f"got labels y of shape {array.shape} for {rows} rows; wanted shape ({rows},); "
            "give one label per row"
        )
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"got labels y of type {array.dtype}; wanted integers 0, 1, 2, ...; "
            "number the classes with np.unique(y, return_inverse=True)[1]"
        )
    y = torch.from_numpy(array.astype(np.int64))
    if y.min() < 0:
        raise ValueError(
            f"got the negative label {int(y.min())} in row {int(y.argmin())}; wanted integers "
            "0, 1, 2, ...; number the classes with np.unique(y, return_inverse=True)[1]"
        )
    return y
