"""Points in files: of a field to move, and what became of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffode.data import arrays
from diffode.data.npy import Array, load_arrays
from diffode.data.scaling import Scaling
from diffode.files import replacing


def read_points(
    path: Path,
    event_shape: tuple[int, ...],
    classes: int | None,
    scaling: Scaling | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Points (B, *event) in a .npy or .npz file, and their labels for a field that knows them.

    The points of a field with a scaling are in the units of the data: the numbers as they stand in
    the file. For a field without one, images of bytes become [-1, 1], as it was trained on them.

    Arguments:
        path: the file.
        event_shape, classes, scaling: of the field.

    Raises:
        ValueError: no readable array, one of another shape, or labels that the field has not.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file; give the path of a .npy or .npz file")
    try:
        array, target = arrays.read(path)
        if array.ndim > 2 and len(event_shape) == 3:
            array = arrays.channels_first(array)
        if array.shape[1:] != event_shape or not len(array) or array.dtype.kind not in "fiu":
            raise ValueError(
                f"got an array of {array.dtype} and shape {array.shape}; this field moves numbers "
                f"of shape (rows, {', '.join(map(str, event_shape))})"
            )
        x = arrays.as_learned(array) if scaling is None else _unchanged(array, scaling)
        if not bool(x.isfinite().all()):
            raise ValueError("got values that are NaN or infinite; drop those rows")
        y = None if target is None or classes is None else arrays.labels(target, len(x))
        if y is not None and classes is not None and int(y.max()) >= classes:
            raise ValueError(f"got label {int(y.max())}; this field has labels 0 to {classes - 1}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return x, y


def _unchanged(array: Array, scaling: Scaling) -> Tensor:
    """The numbers of an array; in double precision where they may need it, as a time does."""
    kind = np.float32 if scaling.kind == "pixels" else np.promote_types(array.dtype, np.float32)
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.require(array, kind, ["C", "W", "E"]))


def read_array(path: Path, name: str) -> Tensor | None:
    """The array of that name in a .npz file, or None."""
    if path.suffix != ".npz":
        return None
    found = load_arrays(path, lambda names: [n for n in names if n == name]).get(name)
    return None if found is None else torch.from_numpy(found)


def write_arrays(path: Path, **tensors: Tensor | None) -> None:
    """Write tensors to a .npz file in the order given, without those that are None."""
    known = {name: t.cpu().numpy() for name, t in tensors.items() if t is not None}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **known)  # type: ignore[arg-type]
