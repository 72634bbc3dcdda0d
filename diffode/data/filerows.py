"""Rows of an array in a file, read when they are asked for.

Each reading opens the file, so that rows can be sent to other processes. The file is not mapped
into memory, where the pages that were read would count as used.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffode.data.npy import Array, Place


@dataclass(frozen=True)
class FileRows:
    """The rows of an array that lies unpacked in a file.

    Attributes:
        path: the file, absolute.
        place: where the array begins in it, its shape and its type.
        stamp: size in bytes and time of the last change in nanoseconds, as `stamp_of` gives them.
    """

    path: Path
    place: Place
    stamp: tuple[int, int]

    @classmethod
    def of(cls, path: Path, place: Place) -> FileRows:
        """The rows of an array in a file as it is now."""
        return cls(path.absolute(), place, stamp_of(path.stat()))

    @property
    def shape(self) -> tuple[int, ...]:
        r"""The shape (M, \*event) of all of them."""
        return self.place.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of their numbers."""
        return self.place.dtype

    def __getitem__(self, index: Any) -> Array:  # noqa: ANN401
        r"""The rows at these places, (B, \*event).

        Raises:
            ValueError: the file is not there as it was.
        """
        index = np.asarray(index)
        order = index.argsort(kind="stable")
        found = self._ascending(index[order])
        if bool((np.diff(order) == 1).all()):
            return found
        out = np.empty_like(found)
        out[order] = found
        return out

    def _ascending(self, index: Array) -> Array:
        """Rows in ascending order, those that lie side by side read at once."""
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        content = np.empty(len(index) * size, np.uint8)
        breaks = (np.flatnonzero(np.diff(index) != 1) + 1).tolist()
        try:
            with self.path.open("rb", buffering=0) as file:
                self._require_same(stamp_of(os.fstat(file.fileno())))
                for first, last in zip([0, *breaks], [*breaks, len(index)], strict=True):
                    if last > first:
                        file.seek(self.place.begin + int(index[first]) * size)
                        _fill(file, content[first * size : last * size])
        except OSError as error:
            raise ValueError(
                f"{self.path}: its rows can no longer be read: {error.strerror or error}; put "
                "the file back, and start again"
            ) from None
        return content.view(self.dtype).reshape(len(index), *self.shape[1:])

    def _require_same(self, found: tuple[int, int]) -> None:
        if found != self.stamp:
            raise ValueError(
                f"{self.path} changed after it was opened; wait until it is written, and start "
                "again"
            )


def stamp_of(found: os.stat_result) -> tuple[int, int]:
    """What changes with a file: its size and the time of its last change."""
    return found.st_size, found.st_mtime_ns


def _fill(file: BinaryIO, content: Array) -> None:
    """Read bytes from where a file stands."""
    while len(content):
        count = file.readinto(content.data)  # type: ignore[attr-defined]
        if not count:
            raise OSError("it ends too early")
        content = content[count:]
