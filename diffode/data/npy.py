"""Arrays in .npy and .npz files: sizes before contents, and nothing is ever unpickled."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Sequence
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
    "of pickled objects are not opened"
)


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
        packed, _ = file.read(2) == b"PK", file.seek(0)
        if not packed:
            return {"x": _array(file, size, size)}
        archive = _archive(file, size)
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        infos = dict(zip(names, archive.infolist(), strict=True))
        wanted = [infos[name] for name in choose(names)]
        require_unpacked("these arrays", sum(i.file_size for i in wanted), size)
        return {i.filename.removesuffix(".npy"): _member(archive, i, size) for i in wanted}


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
    try:
        stream = archive.open(info)
    except Exception:  # an unknown packing, a password, a place outside the file
        raise ValueError(
            _UNREADABLE.format(f"its array {quoted(info.filename)} is damaged")
        ) from None
    with stream:
        return _array(stream, info.file_size, size)  # type: ignore[arg-type]


def _array(stream: BinaryIO, size: int, packed: int) -> Array:
    """An array from a stream of so many bytes."""
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
    require_unpacked("this array", need, packed)
    content = bytearray(need)
    try:
        whole = stream.readinto(content) == need  # type: ignore[attr-defined]
    except Exception:  # zip's errors, zlib's, and those of other packings
        whole = False
    if not whole:
        raise ValueError(_UNREADABLE.format("it is damaged"))
    flat = np.frombuffer(content, dtype) if need else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
