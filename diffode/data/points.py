"""Points in files: of a field to move, and what became of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffode.data import arrays
from diffode.data.classes import labels
from diffode.data.layout import Arranged, Layout
from diffode.data.npy import Array, load_arrays
from diffode.data.scaling import Scaling
from diffode.data.source import Source
from diffode.data.units import gray_levels
from diffode.files import replacing


def read_points(
    path: Path,
    event_shape: tuple[int, ...],
    classes: float | None,
    scaling: Scaling | None = None,
    wanted: str = "this field moves numbers",
    finite: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Points (B, *event) in a .npy or .npz file, and their labels for a field that knows them.

    The points of a field with a scaling are in the units of the data: the numbers as they stand in
    the file. For a field without one, images of bytes become [-1, 1], as it was trained on them.

    Arguments:
        path: the file.
        event_shape, scaling: of the field.
        classes: how many labels it knows, infinity where it does not say; None for none, and the
            labels of the file are left out.
        wanted: what a message says of numbers of this shape.
        finite: whether all numbers have to be finite.

    Raises:
        ValueError: no readable array, one of another shape, or labels that the field has not.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file; give the path of a .npy or .npz file")
    try:
        array, target = arrays.read(path)
        array = _as_events(array, event_shape)
        _require_rows(array, event_shape, wanted)
        x = _as_learned(array) if scaling is None else _unchanged(array, scaling)
        if finite and not bool(x.isfinite().all()):
            raise ValueError("got values that are NaN or infinite; drop those rows")
        y = None if target is None or classes is None else labels(target, len(x))
        if y is not None and classes is not None and int(y.max()) >= classes:
            raise ValueError(f"got label {int(y.max())}; this field has labels 0 to {classes - 1}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return x, y


def _require_rows(array: Array, event_shape: tuple[int, ...], wanted: str) -> None:
    """Refuse an array of another type, of another shape or of no rows."""
    if array.dtype.kind not in "fiu":
        raise ValueError(f"got an array of type {array.dtype}; {wanted}: floats or whole numbers")
    if array.shape[1:] != event_shape:
        raise ValueError(
            f"got an array of shape {array.shape}; {wanted} of shape (rows, "
            f"{', '.join(map(str, event_shape))})"
        )
    if not len(array):
        raise ValueError(f"got no rows, an array of shape {array.shape}; give one at least")


def _as_events(array: Array, event_shape: tuple[int, ...]) -> Array:
    """Rows in the event shape, where they lack an axis of one channel or have channels last."""
    if (1, *array.shape[1:]) == event_shape:
        return array[:, None]
    moved = np.moveaxis(array, -1, 1) if array.ndim > 2 else array
    return moved if moved.shape[1:] == event_shape != array.shape[1:] else array


def _as_learned(array: Array) -> Tensor:
    """Numbers as a field without a scaling learned them: bytes of images are in [-1, 1]."""
    rows, is_image = Arranged(array, Layout("images", array.shape[1:], "")), array.ndim == 4
    if is_image and array.dtype == np.float16:
        rows = replace(rows, levels=gray_levels(rows))
    scaling = Scaling.pixels() if is_image and array.dtype == np.uint8 else None
    return Source(rows, None, scaling)[:]


def _unchanged(array: Array, scaling: Scaling) -> Tensor:
    """The numbers of an array; in double precision where they may need it, as a time does."""
    kind = np.float32 if scaling.kind == "pixels" else np.promote_types(array.dtype, np.float32)
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.require(array, kind, ["C", "W", "E"]))


def read_array(path: Path, name: str) -> Tensor | None:
    """The array of that name in a .npz file, or None.

    Raises:
        ValueError: a file that cannot be read, or an array of something else than numbers.
    """
    if path.suffix != ".npz":
        return None
    found = load_arrays(path, lambda names: [n for n in names if n == name]).get(name)
    if found is None:
        return None
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{path}: got {name} of type {found.dtype}; wanted numbers")
    return torch.from_numpy(found.astype(found.dtype.newbyteorder("="), copy=False))


def write_arrays(path: Path, **tensors: Tensor | None) -> None:
    """Write tensors to a .npz file in the order given, without those that are None."""
    known = {name: t.cpu().numpy() for name, t in tensors.items() if t is not None}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **known)  # type: ignore[arg-type]
