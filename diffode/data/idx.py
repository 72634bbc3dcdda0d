"""Images in IDX files, the format of MNIST and its relatives; plain or gzipped.

A folder holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
and ``t10k-labels-idx1-ubyte``, each alone or with ``.gz``. The bytes
are learned as [-1, 1].

Reference: Y. LeCun, C. Cortes and C. Burges, The MNIST database, the IDX file format.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from diffode.data.base import Dataset
from diffode.data.npy import Array
from diffode.data.scaling import Scaling
from diffode.data.source import Source
from diffode.inputs import require_file, require_unpacked

_SYSTEM = Path("/usr/share/datasets")
_UBYTE = 8  # the type code of unsigned bytes


def places(name: str) -> list[Path]:
    """The folders that a named set is looked for in, the first found taken."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    own = os.environ.get("DIFFODE_DATA")
    folders = [Path(own)] if own else []
    return [folder / name for folder in (*folders, _SYSTEM, cache / "diffode")]


def named(name: str) -> Dataset:
    """The set of that name on this machine.

    Raises:
        FileNotFoundError: it is in none of its places; the message says how to get it there.
    """
    for folder in places(name):
        if _file(folder, "train-images-idx3-ubyte") is not None:
            return dataset(folder, name)
    raise FileNotFoundError(
        f"the files of {name} are not on this machine; install the Debian package "
        f"dataset-{name}, or put its four IDX files into {places(name)[-1]}, or into "
        f"$DIFFODE_DATA/{name}"
    )


def is_idx(folder: str | Path) -> bool:
    """Whether a folder holds one of the four files."""
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return any(_file(Path(folder), f"{part}-ubyte") for part in parts)


def dataset(folder: str | Path, name: str | None = None) -> Dataset:
    """The data set in a folder of IDX files.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file that is not IDX, or files that do not fit each other.
    """
    folder = Path(folder).expanduser()
    parts = ("train", "t10k")
    train, test = (_images(read(folder, f"{part}-images-idx3-ubyte")) for part in parts)
    y, y_test = (
        torch.from_numpy(read(folder, f"{part}-labels-idx1-ubyte")).long() for part in parts
    )
    if len(y) != len(train) or len(y_test) != len(test) or train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"{folder}: got {len(train)} and {len(test)} images of shapes "
            f"{tuple(train.shape[1:])} and {tuple(test.shape[1:])} with {len(y)} and "
            f"{len(y_test)} labels; wanted one shape and one label per image"
        )
    return Dataset(name or folder.name, train, test, y, y_test, scaling=train.scaling)


def _images(pixels: Array) -> Source:
    """Bytes (M, H, W) as images (M, 1, H, W)."""
    return Source(pixels[:, None], None, Scaling.pixels())


def read(folder: Path, name: str) -> Array:
    """The bytes of an IDX file in their shape.

    Raises:
        FileNotFoundError: neither the file nor its gzipped form is there.
        ValueError: it is no IDX file of unsigned bytes, or damaged.
    """
    path = _file(folder, name)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {name} and no {name}.gz")
    axes, packed = 3 if "idx3" in name else 1, require_file(path).stat().st_size
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * axes)
            if head[:4] != bytes((0, 0, _UBYTE, axes)) or len(head) != 4 + 4 * axes:
                raise ValueError(f"{path} is not an IDX file of unsigned bytes with {axes} axes")
            shape = struct.unpack(f">{axes}I", head[4:])
            size = math.prod(shape)
            require_unpacked(f"{path}", size, packed)
            content = bytearray(file.read(size + 1))
    except (OSError, EOFError, zlib.error):
        raise ValueError(f"{path} is damaged; get the file anew") from None
    if len(content) != size or not size:
        more = "more than " if len(content) > size else ""
        raise ValueError(
            f"{path}: got {more}{min(len(content), size)} bytes for the shape {shape} in its "
            "header; get the file anew"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _file(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
