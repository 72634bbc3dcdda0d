"""Your own data: arrays of points, signals or images, in memory or in a .npy or .npz file.

A .npz holds the data as `x` (or as its only array) and may hold labels as `y`, rows that are held
out as `x_test` and `y_test`, and the names of the classes as `classes`. How the axes are taken
says `diffode.data.layout`, and in which units they are learned `diffode.data.units`.

Without `x_test` a tenth of the rows, at least two, chosen by the seed, is held out: a tenth of
each class where there are labels, whatever the order of the file. Bytes stay bytes until they are
asked for, and the rows of a large array that is not compressed stay in the file. Nothing is ever
unpickled, and what would unpack to far more than the file holds is not unpacked (see
`diffode.data.npy`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffode.data.base import Dataset
from diffode.data.classes import Classes, classes_of
from diffode.data.filerows import FileRows
from diffode.data.layout import Arranged, Numbers, layout_of
from diffode.data.npy import Array, Place, load_arrays, places
from diffode.data.reading import Reading
from diffode.data.rows import held_out
from diffode.data.scaling import Scaling
from diffode.data.source import Samples, Source, chunks
from diffode.data.units import finite, gray_levels, scaling_of, varies
from diffode.inputs import quoted
from diffode.options import counted

FEWEST_ROWS = 10
BY_ROW = 64 * 2**20  # bytes of an array from which on its rows stay in the file
WHOLE = 2**30  # bytes of one whose rows cannot be read one by one, at most
OPTIONS = "scale", "layout"
_BESIDE = "y", "x_test", "y_test", "classes"


@dataclass(frozen=True)
class Given:
    """The arrays of a data set, as they came.

    Attributes:
        x: the rows.
        y: their labels, or None.
        x_test, y_test: rows that are held out and their labels, or None.
        classes: the names of the classes, or None.
    """

    x: Numbers
    y: Array | None = None
    x_test: Numbers | None = None
    y_test: Array | None = None
    classes: Array | None = None


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
        return split(given_in(path), path.name, seed, reading)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from None


def split(
    given: Given,
    name: str,
    seed: int = 0,
    reading: Reading | None = None,
    options: Sequence[str] = OPTIONS,
) -> Dataset:
    """The data set of arrays, with a tenth of the rows held out unless others are.

    Raises:
        ValueError: no numbers, or some that nothing can be learned from.
    """
    reading = reading or Reading()
    reading.require(name, *options)
    rows = events(given.x, reading.layout)
    apart = _apart(given, rows)
    known = _classes(given)
    test = np.zeros(len(rows), bool)
    if apart is None:
        labels = None if known is None else known.y
        test = held_out(len(rows), max(2, round(len(rows) / 10)), labels, seed).numpy()
    scaling = scaling_of(reading.scale, rows, ~test, rows.layout)
    plain = rows.layout.kind == "points" and rows.shape == tuple(rows.rows.shape)
    of_train = None if known is None else known.y[torch.from_numpy(~test)]
    of_test = None if known is None else known.test
    if known is not None and apart is None:
        of_test = known.y[torch.from_numpy(test)]
    return Dataset(
        name,
        samples(rows, ~test, scaling),
        samples(rows, test, scaling) if apart is None else samples(apart, None, scaling),
        of_train,
        of_test,
        None if known is None or known.names is None else len(known.names),
        scaling=scaling,
        class_names=None if known is None else known.names,
        notes=() if plain else (str(rows.layout),),
    )


def events(x: Numbers, layout: str = "auto") -> Arranged:
    """The rows of an array as events, once they are such that something can be learned from them.

    Raises:
        ValueError: no real numbers, too few rows, other axes than are taken, or equal rows.
    """
    shape, dtype = tuple(x.shape), x.dtype
    if dtype.kind not in "fiu":
        raise ValueError(
            f"got values of type {dtype}; wanted real numbers, floats or integers; "
            "convert them with x.astype('float32')"
        )
    if shape and (math.prod(shape) == 0 or shape[0] < FEWEST_ROWS):
        raise ValueError(
            f"got {counted(shape[0], 'row')} in an array of shape {shape}; wanted at least "
            f"{FEWEST_ROWS} and none empty; the first axis counts the rows"
        )
    rows = Arranged(x, layout_of(shape, dtype == np.uint8, layout))
    if not varies(rows):
        raise ValueError(
            "got rows that are all equal (std 0); wanted data that vary; check what was saved"
        )
    return _unrounded(rows)


def _unrounded(rows: Arranged) -> Arranged:
    """The rows, with gray levels that half precision has rounded made exact."""
    halves = rows.dtype == np.float16 and rows.layout.kind == "images"
    return replace(rows, levels=gray_levels(rows)) if halves else rows


def samples(rows: Arranged, which: Array | None, scaling: Scaling | None) -> Samples:
    """Some rows in model units; bytes and those of a file only when they are asked for."""
    index = None if which is None else torch.from_numpy(which.nonzero()[0])
    source = Source(rows, index, scaling)
    if rows.dtype == np.uint8 or isinstance(rows.rows, FileRows):
        return source
    return torch.cat(list(chunks(source)))


def _apart(given: Given, rows: Arranged) -> Arranged | None:
    """The rows that are held out by who saved them."""
    x, found = given.x, given.x_test
    if found is None:
        if given.y_test is not None:
            raise ValueError("got labels y_test without x_test; give both or none")
        return None
    floats = [array.dtype.kind == "f" for array in (x, found)]
    alike = found.dtype.kind in "fiu" and floats[0] == floats[1]
    if found.shape[1:] != x.shape[1:] or not alike or not found.shape[0]:
        raise ValueError(
            f"got x of {x.dtype} and shape {x.shape} with x_test of {found.dtype} and shape "
            f"{found.shape}; wanted floats in both or integers in both, and rows of one shape"
        )
    apart = _unrounded(Arranged(found, rows.layout))
    if apart.dtype != np.uint8:
        for _ in finite(apart):
            pass
    return apart


def _classes(given: Given) -> Classes | None:
    if given.y is None:
        if given.y_test is not None or given.classes is not None:
            raise ValueError("got y_test or classes without labels y; give these too, or none")
        return None
    tested = 0 if given.x_test is None else given.x_test.shape[0]
    return classes_of(given.y, given.x.shape[0], given.y_test, tested, given.classes)


# -------------------------------------------------------------------------------------- files


def given_in(path: Path) -> Given:
    """The arrays of a data set in a file; the rows of large ones stay there.

    Raises:
        FileNotFoundError, ValueError: as `diffode.data.npy.load_arrays`, arrays without data, or a
            large one whose rows cannot be read one by one.
    """
    names = {"x": "x"}

    def choose(stored: list[str]) -> list[str]:
        names.clear()
        names.update(chosen(stored))
        return list(names.values())

    known = places(path, choose)
    large = [key for key in ("x", "x_test") if key in names and _stays(known[names[key]])]
    small = [name for key, name in names.items() if key not in large]
    held = load_arrays(path, lambda _: small) if small else {}
    found: dict[str, Any] = {key: FileRows.of(path, known[names[key]]) for key in large}
    return Given(**found, **{key: held[name] for key, name in names.items() if name in held})


def read(path: Path) -> tuple[Array, Array | None]:
    """The data in a file, whole, and where it has them its labels.

    Raises:
        FileNotFoundError, ValueError: as `diffode.data.npy.load_arrays`, or arrays without data.
    """

    def choose(stored: list[str]) -> list[str]:
        names = chosen(stored)
        return [names[key] for key in ("x", "y") if key in names]

    found = load_arrays(path, choose)
    target = found.pop("y", None)
    return next(iter(found.values())), target


def chosen(stored: list[str]) -> dict[str, str]:
    """The names in a file of the arrays of a data set, by what they are."""
    others = [name for name in stored if name not in _BESIDE]
    data = "x" if "x" in stored else others[0] if len(others) == 1 else None
    if data is None:
        raise ValueError(
            f"got arrays named {quoted(sorted(others))}; wanted the data as 'x', or as the "
            "only array beside the labels 'y'; save them with np.savez(path, x=..., y=...)"
        )
    return {"x": data, **{name: name for name in _BESIDE if name in stored}}


def _stays(place: Place) -> bool:
    """Whether the rows of an array stay in the file."""
    if place.size < BY_ROW:
        return False
    if not place.packed and place.by_rows:
        return True
    if place.size > WHOLE:
        how = "packed" if place.packed else "stored column by column"
        raise ValueError(
            f"got an array of {place.size:,} bytes that is {how}, so it must be held whole, and "
            f"{WHOLE:,} at most are; save it with np.save or np.savez"
            f"{'' if place.packed else ' as np.ascontiguousarray(x)'}, and its rows are read as "
            "they are needed"
        )
    return False
