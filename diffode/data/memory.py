"""Your own data, in memory: arrays, tensors, torch data sets and other sequences of samples.

What is in memory is taken as the same arrays in a file are, see `diffode.data.arrays`: the same
shapes, the same scale of bytes, the same rows held out.

>>> import numpy as np
>>> from diffode.data import as_dataset
>>> x = np.random.default_rng(0).normal(size=(200, 2))
>>> as_dataset((x, np.arange(200) % 4))
Dataset(memory: 180 train and 20 test points of shape (2,), 4 classes)
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from diffode.data import pictures
from diffode.data.arrays import BY_ROW, Given, split
from diffode.data.base import Dataset
from diffode.data.filerows import FileRows
from diffode.data.layout import Numbers as Rows
from diffode.data.npy import Array, Place
from diffode.data.pictures import Pictures
from diffode.data.reading import Reading
from diffode.doors import Numbers
from diffode.inputs import quoted


class Samples(Protocol):
    """What holds samples in order: a list, or a map-style `torch.utils.data.Dataset`."""

    def __len__(self) -> int:
        """How many samples there are."""

    def __getitem__(self, index: int, /) -> Any:  # noqa: ANN401
        """A sample: numbers (\\*event), alone or in a pair with its label."""


Data: TypeAlias = "Dataset | str | Path | Numbers | Samples | torch.utils.data.Dataset[Any]"


def dataset(data: object, name: str, seed: int, reading: Reading) -> Dataset:
    """The data set of what is in memory; `seed` chooses the tenth of the rows that is held out.

    Raises:
        TypeError: something that holds no samples.
        ValueError: samples or labels that would be refused in a file too.
    """
    if (images := Pictures.of(data, reading)) is not None:
        return pictures.dataset(images, name, reading, seed)
    x, y = arrays_of(data)
    return split(Given(_in_its_file(x), y), name, seed, reading)


def _in_its_file(x: Array) -> Rows:
    """The rows of the file that a large array maps; what is no whole map stays as it is.

    So they are read as they are needed, and workers are sent their place.
    """
    mapped = x if isinstance(x, np.memmap) else x.base
    if not isinstance(mapped, np.memmap) or mapped.mode != "r" or mapped.filename is None:
        return x
    whole = isinstance(getattr(mapped, "base", None), mmap.mmap) and mapped.flags.c_contiguous
    if not whole or x.dtype != mapped.dtype or x.shape != mapped.shape or x.nbytes < BY_ROW:
        return x
    return FileRows.of(Path(mapped.filename), Place(mapped.offset, x.shape, x.dtype, by_rows=True))


def arrays_of(data: object) -> tuple[Array, Array | None]:
    r"""The samples of data in memory, shape (M, \*event), and their labels where they have any.

    Raises:
        TypeError: something that holds no samples.
        ValueError: samples of different shapes, or only some of them with a label.
    """
    if isinstance(data, TensorDataset) and len(data.tensors) < 3:
        data = data.tensors if len(data.tensors) > 1 else data.tensors[0]
    if isinstance(data, Tensor) or hasattr(data, "__array__"):
        return _array(data), None
    if not _holds_samples(data):
        raise TypeError(
            f"got data of type {type(data).__name__}; wanted an array or a tensor (M, *event), a "
            "pair (x, labels), a list or a map-style torch data set of samples, a "
            "diffode.data.Dataset, or the name or path of a data set"
        )
    if not isinstance(data, tuple) or len(data) != 2:
        return _stacked(data)
    (x, own), y = arrays_of(data[0]), data[1]
    if own is not None:
        raise ValueError("got labels twice, with the samples and beside them; give one of the two")
    return x, None if y is None else _array(y)


def _holds_samples(data: object) -> TypeGuard[Samples]:
    if isinstance(data, str | bytes | memoryview | Mapping | IterableDataset):
        return False
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")


def _stacked(samples: Samples) -> tuple[Array, Array | None]:
    """Samples and labels as arrays, from one sample after the other."""
    pairs = [_sample(samples[row]) for row in range(len(samples))]
    for row, (x, y) in enumerate(pairs):
        if x.shape != pairs[0][0].shape:
            raise ValueError(
                f"got samples of shape {pairs[0][0].shape} and, in row {row}, {x.shape}; wanted "
                "one shape for all; images of bytes are brought to one with resize=N"
            )
        if (y is None) != (pairs[0][1] is None):
            raise ValueError(
                f"got samples with and, as row {row}, without a label; wanted all of one kind"
            )
    labels = [y for _, y in pairs if y is not None]
    return np.array([x for x, _ in pairs]), np.array(labels) if labels else None


def _sample(sample: object) -> tuple[Array, Array | None]:
    """A sample and its label: of a tuple (x,) or (x, label) the parts, else numbers alone.

    A tuple of plain numbers is one sample; behind a tensor or an array of one number stands a
    label.
    """
    if isinstance(sample, Mapping):
        keys = quoted(list(sample))
        raise TypeError(
            f"got a sample as a dictionary of {keys}; wanted numbers x, or a pair (x, label), as "
            "[(d['x'], d['label']) for d in samples]"
        )
    if not isinstance(sample, tuple) or not sample:
        return _array(sample), None
    held = isinstance(sample[0], Tensor | np.ndarray)
    if not held and all(np.ndim(part) == 0 for part in sample):
        return _array(sample), None
    if len(sample) > 2:
        raise ValueError(
            f"got a sample of {len(sample)} parts; wanted numbers x, or a pair (x, label)"
        )
    return _array(sample[0]), _array(sample[1]) if len(sample) > 1 else None


def _array(value: object) -> Array:
    """A tensor, an array or nested lists as an array of the same numbers."""
    if np.ma.is_masked(value):
        raise ValueError("got an array with masked values; wanted numbers; drop or fill those")
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = value.float() if value.dtype == torch.bfloat16 else value
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, sparse tensors
        raise TypeError(
            f"got numbers as {type(value).__name__} that make no array; wanted a tensor, an array "
            "or nested lists of one shape"
        ) from None
