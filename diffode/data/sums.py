"""Sums over all values of a set, which tell it from others; those of a source are kept."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from diffode.data.source import Samples, Source, chunks, width

_SUMS = 3
_KNOWN: WeakKeyDictionary[Source, Sums] = WeakKeyDictionary()  # its rows do not change


class Sums:
    """Mean, standard deviation, weighted sums and a hash, from one piece of rows after the other.

    Arguments:
        x: the samples, shape (M, *event), whose pieces are added in order.
    """

    def __init__(self, x: Samples) -> None:
        self.n, self.size, self.place = width(x), len(x) * width(x), 0
        self.columns = torch.stack([weights(self.n, 2 * k + 1) for k in range(_SUMS)], 1)
        self.rows = torch.stack([weights(len(x), 2 * k) for k in range(_SUMS)], 1)
        self.total = torch.zeros(_SUMS, dtype=torch.float64)
        self.center: float | None = None
        self.first = self.second = 0.0
        self.state = hashlib.sha256()

    def add(self, part: Tensor) -> None:
        """Add the next rows, float64 of shape (B, N), on the CPU."""
        self.center = float(part.mean()) if self.center is None else self.center
        rows = self.rows[self.place : self.place + len(part)]
        self.total += ((part @ self.columns) * rows).sum(0)
        self.place += len(part)
        self.state.update(part.float().contiguous().numpy().data)
        values = part - self.center
        self.first += float(values.sum()) / self.size
        self.second += float(values.flatten().square_().sum()) / self.size

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of all values in single precision."""
        return self.state.hexdigest()[:12]

    @property
    def mean(self) -> float:
        """Of all values."""
        return (self.center or 0.0) + self.first

    @property
    def std(self) -> float:
        """Of all values about their mean."""
        return float(max(0.0, self.second - self.first**2) ** 0.5)

    @property
    def weighted(self) -> tuple[float, ...]:
        """The weighted sums over the root of N."""
        return tuple((self.total / self.n**0.5).tolist())


def sums_of(x: Samples) -> Sums:
    """The sums of samples (M, *event); a source is read through once in all."""
    if isinstance(x, Source) and x in _KNOWN:
        return _KNOWN[x]
    sums = Sums(x)
    for part in chunks(x):
        sums.add(part.detach().cpu().reshape(len(part), sums.n).double())
    keep(x, sums)
    return sums


def keep(x: Samples, sums: Sums) -> None:
    """Keep the sums of a source, which another pass over its rows has made."""
    if isinstance(x, Source):
        sums.columns = sums.rows = sums.total.new_zeros(0)  # all is added
        _KNOWN[x] = sums


def weights(n: int, stream: int) -> Tensor:
    """Numbers in [-1, 1) from a hash of their place: the same everywhere, shape (n,)."""
    h = torch.arange(n) + (stream << 40)
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB), (31, 1)):
        h = (h ^ (h >> shift)) * factor
    return (h & 0xFFFFFF).double() / 2**23 - 1
