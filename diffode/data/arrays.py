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

Images of uint8 stay bytes until they are asked for, and become 0 ... 255 as [-1, 1]; all other
numbers are left as they are, but for images in half precision, whose gray levels k/255 or
k/127.5 - 1 are made exact again. A tenth of the rows, at least two, chosen by the seed, is held
out: a tenth of each class where there are labels, whatever the order of the file. Nothing is ever
unpickled, and what would unpack to far more than the file holds is not unpacked (see
`diffode.data.npy`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffode.data.base import Dataset
from diffode.data.npy import Array, load_arrays
from diffode.data.reading import Reading
from diffode.data.rows import held_out
from diffode.data.scaling import Scaling
from diffode.data.source import Samples, Source, subset
from diffode.inputs import quoted

FEWEST_ROWS = 10


def dataset(path: str | Path, seed: int = 0, reading: Reading | None = None) -> Dataset:
    """The data set in a file; `seed` chooses the tenth of the rows that is held out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no array of numbers in the file, or one that nothing can be learned from.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; give the path of a .npy or .npz file")
    try:
        return split(*read(path), path.name, seed, reading)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def split(
    array: Array, target: Array | None, name: str, seed: int = 0, reading: Reading | None = None
) -> Dataset:
    """The data set of an array and its labels, with a tenth of its rows held out.

    Raises:
        ValueError: no numbers, or some that nothing can be learned from.
    """
    (reading or Reading()).require(name)
    x = points(array)
    scaling = x.scaling if isinstance(x, Source) else None
    y = None if target is None else labels(target, len(x))
    if y is not None and int(y.max()) >= len(x):
        raise ValueError(
            f"got the label {int(y.max())} for {len(x)} rows, more classes than rows; number them "
            "with np.unique(y, return_inverse=True)[1]"
        )
    test = held_out(len(x), max(2, round(len(x) / 10)), y, seed)
    parts = (subset(x, ~test), subset(x, test))
    if y is None:
        return Dataset(name, *parts, scaling=scaling)
    return Dataset(name, *parts, y[~test], y[test], scaling=scaling)


def read(path: Path) -> tuple[Array, Array | None]:
    """The data in a file and, where it has them, its labels.

    Raises:
        FileNotFoundError, ValueError: as `diffode.data.npy.load_arrays`, or arrays without data.
    """

    def choose(names: list[str]) -> list[str]:
        others = [name for name in names if name != "y"]
        data = "x" if "x" in names else others[0] if len(others) == 1 else None
        if data is None:
            raise ValueError(
                f"got arrays named {quoted(sorted(others))}; wanted the data as 'x', or as the "
                "only array beside the labels 'y'; save them with np.savez(path, x=..., y=...)"
            )
        return [data, *(["y"] if "y" in names else [])]

    found = load_arrays(path, choose)
    target = found.pop("y", None)
    return next(iter(found.values())), target


def points(array: Array) -> Samples:
    """Points (M, D) or images (M, C, H, W) from an array that is checked first."""
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
    rows = channels_first(array)
    if bool((rows == rows[:1]).all()):
        raise ValueError(
            "got rows that are all equal (std 0); wanted data that vary; check what was saved"
        )
    return bytes_of(rows) if rows.ndim == 4 and rows.dtype == np.uint8 else numbers(rows)


def bytes_of(images: Array) -> Source:
    """Images of bytes (M, C, H, W), which are read as [-1, 1] when they are asked for."""
    return Source(images, None, Scaling.pixels())


def numbers(array: Array) -> Tensor:
    """Numbers in float32, all finite."""
    x = as_learned(array)
    bad = (~x.isfinite()).flatten().nonzero().flatten()
    if len(bad) > 0:
        raise ValueError(
            f"got {len(bad)} values that are NaN or infinite in float32, the first in row "
            f"{int(bad[0]) // x[0].numel()}; wanted finite numbers; drop those rows"
        )
    return x


def as_learned(array: Array) -> Tensor:
    """Numbers in float32: bytes of images (M, C, H, W) in [-1, 1], all others as they are.

    Half precision moves the gray levels k/255 and k/127.5 - 1 by up to an eighth of their
    distance. Where all values of images are such levels, rounded, they are put back.
    """
    with np.errstate(over="ignore"):
        values = np.require(array, np.float32, ["C", "W", "E"])
    if array.ndim == 4 and array.dtype == np.float16 and np.isfinite(values).all():
        for low, width in ((0.0, 1 / 255), (-1.0, 1 / 127.5)):
            k = np.rint((values.astype(np.float64) - low) / width)
            gap = np.abs(values - (k * width + low)).max()
            if k.min() >= 0 and k.max() <= 255 and gap <= width / 8:
                return torch.from_numpy((k * width + low).astype(np.float32))
    x = torch.from_numpy(values)
    return x / 127.5 - 1 if array.ndim == 4 and array.dtype == np.uint8 else x


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
