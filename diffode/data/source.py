r"""Samples that are read when they are asked for, so that a set of any size passes through.

All that trains, counts or measures takes *samples*: a tensor (M, \*event), or a `Source`, which
gives the same rows by the same index, one batch after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from diffode.data.scaling import Scaling
from diffode.data.watching import advanced

_KEPT = tuple(map(np.dtype, ("uint8", "float32")))  # what is scaled as it is
CHUNK = 2**22  # values held at once
MOST = 2**30  # values of a set that is taken as a whole


class Rows(Protocol):
    r"""What holds samples: a numpy array (M, \*event), rows of a file, a folder of images."""

    @property
    def shape(self) -> tuple[int, ...]:
        r"""The shape (M, \*event) of all of them."""

    def __getitem__(self, index: Any, /) -> Any:  # noqa: ANN401
        r"""The rows at these places, int64 of shape (B,), as an array (B, \*event)."""


class Source:
    r"""Samples in model units, read from what holds them when they are asked for.

    Arguments:
        rows: what holds them, in data units and a type of its own.
        index: which of the rows, in which order, shape (M,); None takes all.
        scaling: from data units to model units; None where they are the same.
    """

    def __init__(
        self, rows: Rows, index: Tensor | None = None, scaling: Scaling | None = None
    ) -> None:
        self.rows, self.scaling = rows, scaling
        self.index = torch.arange(rows.shape[0]) if index is None else index

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> torch.Size:
        r"""The shape (M, \*event) of all samples."""
        return torch.Size((len(self.index), *self.rows.shape[1:]))

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        r"""The samples at these places, (B, \*event), float32, on the CPU."""
        if not isinstance(index, slice):
            index = index.cpu()
        values = self.rows[self.index[index].numpy()]
        kind = values.dtype if values.dtype in _KEPT else np.float64
        x = torch.from_numpy(np.ascontiguousarray(values, kind))
        return (x if self.scaling is None else self.scaling.to_model(x)).float()

    def __repr__(self) -> str:
        return f"Source({len(self)} rows of shape {tuple(self.shape[1:])})"


Samples: TypeAlias = Tensor | Source


def chunks(samples: Samples, values: int = CHUNK) -> Iterator[Tensor]:
    """All samples in order, in pieces of so many values, of one row at least."""
    size = max(1, values // max(1, width(samples)))
    for first in range(0, len(samples), size):
        if isinstance(samples, Source):
            advanced("read the data", first, len(samples))
        yield samples[first : first + size]
    if isinstance(samples, Source):
        advanced("read the data", len(samples), len(samples))


def subset(samples: Samples, index: Tensor) -> Samples:
    """The samples at these places, int64 or bool; those of a source are not read for it."""
    if not isinstance(samples, Source):
        return samples[index]
    return Source(samples.rows, samples.index[index], samples.scaling)


def whole(samples: Samples) -> Tensor:
    r"""All samples as one tensor (M, \*event), for a set that fits in memory.

    Raises:
        ValueError: more than 2^30 values.
    """
    if not isinstance(samples, Source):
        return samples
    if len(samples) * width(samples) > MOST:
        raise ValueError(f"got {samples}, more than memory is taken for at once; take some rows")
    return samples[:]


def equal(a: Samples, b: Samples) -> bool:
    """Whether two sets have the same samples in the same order."""
    if a.shape != b.shape:
        return False
    return all(torch.equal(one, two) for one, two in zip(chunks(a), chunks(b), strict=True))


def require_finite(x: Tensor) -> Tensor:
    """Samples, if all their values are numbers.

    Raises:
        ValueError: one is not finite.
    """
    if not bool(x.isfinite().all()):
        raise ValueError("the data has values that are not finite; remove those samples")
    return x


def width(samples: Samples) -> int:
    """The number N of values of one sample."""
    return math.prod(samples.shape[1:])
