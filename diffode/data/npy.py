"""Arrays in .npy and .npz files: sizes before contents, and nothing is ever unpickled."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffode.inputs import quoted, require_file, require_unpacked

Array = np.ndarray[Any, np.dtype[Any]]
Choice = Callable[[list[str]], Sequence[str]]

MEMBERS = 1000  # arrays in a file, at most
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_UNREADABLE = (
    "numpy cannot read this ({}); wanted an array of numbers saved by np.save or np.savez; files "
    "of pickled objects are not opened, and image files go as a folder, to train and data"
)


@dataclass(frozen=True)
class Place:
    """Where an array lies in a file.

    Attributes:
        begin: the place of its first number, in bytes.
        shape, dtype: of the array.
        by_rows: whether the numbers of a row lie side by side.
        packed: whether they are compressed.
    """

    begin: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_rows: bool
    packed: bool = False

    @property
    def size(self) -> int:
        """How many bytes the array has."""
        return math.prod(self.shape) * self.dtype.itemsize


def places(path: str | Path, choose: Choice = list) -> dict[str, Place]:
    """Where arrays lie in a file, by name, and none is read; the rest as `load_arrays`."""
    with require_file(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not _is_packed(file):
            return {"x": _place(file, size)}
        archive = _archive(file, size)
        return {name: _inside(file, archive, info) for name, info in _wanted(archive, choose)}


def _wanted(archive: zipfile.ZipFile, choose: Choice) -> list[tuple[str, zipfile.ZipInfo]]:
    """The members that are chosen by their name."""
    infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    return [(name, infos[name]) for name in choose(list(infos))]


def _inside(file: BinaryIO, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Place:
    """Where the array of a member lies in the file."""
    with _opened(archive, info) as stream:
        place = _place(stream, info.file_size)
    packed = info.compress_type != zipfile.ZIP_STORED
    return replace(place, begin=_begin(file, info) + place.begin, packed=packed)


def _begin(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the content of a member begins: behind a record, its name, and what was added."""
    file.seek(info.header_offset + 26)
    name, more = struct.unpack("<2H", file.read(4))
    return info.header_offset + 30 + int(name) + int(more)


def load_arrays(path: str | Path, choose: Choice = list) -> dict[str, Array]:
    """The arrays of a .npz file by name, or that of a .npy file as ``x``.

    Arguments:
        path: the file.
        choose: of the names in it those to read; all, if not given.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no ordinary file, one that is damaged or of pickled objects, more than 1,000
            arrays, or arrays of more than 16 GiB or a hundred times the file (256 MiB are always
            taken).
    """
    with require_file(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not _is_packed(file):
            return {"x": _array(file, size, size)}
        archive = _archive(file, size)
        wanted = _wanted(archive, choose)
        require_unpacked("these arrays", sum(info.file_size for _, info in wanted), size)
        return {name: _member(archive, info, size) for name, info in wanted}


def _is_packed(file: BinaryIO) -> bool:
    """Whether a file begins as an archive does."""
    packed, _ = file.read(2) == b"PK", file.seek(0)
    return packed


def _archive(file: BinaryIO, size: int) -> zipfile.ZipFile:
    """The archive, once its last record says that it holds few members."""
    file.seek(-min(size, 2**16 + 22), os.SEEK_END)
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    count = int.from_bytes(tail[end + 10 : end + 12], "little")
    if end >= 0 and count > MEMBERS:
        raise ValueError(f"got {count:,} arrays or more in one file; wanted {MEMBERS:,} at most")
    try:
        return zipfile.ZipFile(file)
    except Exception:  # a damaged file fails in many ways
        raise ValueError(_UNREADABLE.format("its list of arrays is damaged")) from None


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> Array:
    with _opened(archive, info) as stream:
        return _array(stream, info.file_size, size)


def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    try:
        return archive.open(info)  # type: ignore[return-value]
    except Exception:  # an unknown packing, a password, a place outside the file
        raise ValueError(
            _UNREADABLE.format(f"its array {quoted(info.filename)} is damaged")
        ) from None


def _array(stream: BinaryIO, size: int, packed: int) -> Array:
    """An array from a stream of so many bytes."""
    place = _place(stream, size)
    need = size - place.begin
    require_unpacked("this array", need, packed)
    content = bytearray(need)
    try:
        whole = stream.readinto(content) == need  # type: ignore[attr-defined]
    except Exception:  # zip's errors, zlib's, and those of other packings
        whole = False
    if not whole:
        raise ValueError(_UNREADABLE.format("it is damaged"))
    flat = np.frombuffer(content, place.dtype) if need else np.empty(0, place.dtype)
    return flat.reshape(place.shape, order="C" if place.by_rows else "F")


def _place(stream: BinaryIO, size: int) -> Place:
    """What the header of an array states, at the beginning of a stream of so many bytes."""
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = _HEADERS[version](stream)
        begin = stream.tell()
    except Exception:  # numpy parses a header of Python text
        raise ValueError(_UNREADABLE.format("it does not begin as one")) from None
    if dtype.hasobject:
        raise ValueError(_UNREADABLE.format("it holds objects"))
    need = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or need != size - begin:
        raise ValueError(
            _UNREADABLE.format(
                f"its header states the shape {quoted(shape)} of {dtype}, {need:,} bytes, and "
                f"{size - begin:,} are there"
            )
        )
    return Place(begin, tuple(shape), dtype, not fortran)
