"""A data set of images that were checked: its two splits, its classes, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.data.arrays import FEWEST_ROWS
from diffode.data.base import Dataset
from diffode.data.decoded import Decoded, Taken
from diffode.data.images import Look
from diffode.data.reading import Reading
from diffode.data.rows import held_out
from diffode.data.scaling import Scaling
from diffode.data.source import Source
from diffode.options import counted
from diffode.warned import warn

OPTIONS = "scale", "resize", "grey", "background"


@dataclass(frozen=True)
class Kinds:
    """The classes of rows.

    Attributes:
        rows: the name of each row's class; "" of one that is in no split.
        names: of all classes in order; None takes those of the rows, in the order of their bytes.
    """

    rows: Sequence[str]
    names: tuple[str, ...] | None = None

    def numbered(self) -> tuple[Tensor, tuple[str, ...]]:
        """Labels 0, 1, ... of the rows, and the names."""
        names = self.names or tuple(sorted({*self.rows} - {""}, key=str.encode))
        number = {name: k for k, name in enumerate(names)}
        return torch.tensor([number.get(name, -1) for name in self.rows]), names


def assembled(
    name: str,
    taken: Taken,
    reading: Reading,
    *,
    kinds: Kinds | None = None,
    parts: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Dataset:
    """The data set of images that were taken; a warning names those that were left out.

    Arguments:
        name: of the set.
        taken: its images, of M rows.
        reading: how they were read.
        kinds: the classes; None where there are none.
        parts: "train", "test" or, for neither, "" for each row; without a "test" a tenth is held
            out.
        notes: what is to be said beside.
        seed: chooses what is held out.

    Raises:
        ValueError: too few rows, no way to scale them, or a class that is nowhere in "train".
    """
    scaling = _scaling(reading)
    labels, names = (None, None) if kinds is None else kinds.numbered()
    train, test = _splits(len(taken.places), labels, parts, seed)
    if labels is not None and names is not None:
        lacking = set(labels[test].tolist()) - set(labels[train].tolist())
        if lacking:
            raise ValueError(
                f"got the class {names[min(lacking)]!r} in the part that is held out alone; "
                "wanted images of it to train on too"
            )
    if taken.warning:
        warn(f"{name}: {taken.warning}")
    return Dataset(
        name,
        Source(taken.rows, train, scaling),
        Source(taken.rows, test, scaling),
        None if labels is None else labels[train],
        None if labels is None else labels[test],
        None if names is None else len(names),
        scaling=scaling,
        reading=reading,
        class_names=names,
        notes=(*_said(taken, reading), *notes),
        left_out=tuple(taken.left_out),
    )


def _scaling(reading: Reading) -> Scaling | None:
    """The units of bytes."""
    if reading.scale == "standard":
        raise ValueError("got scale='standard' for images; they have 'pixels' or 'none'")
    return None if reading.scale == "none" else Scaling.pixels()


def _splits(
    size: int, labels: Tensor | None, parts: Sequence[str] | None, seed: int
) -> tuple[Tensor, Tensor]:
    """The rows to train on and those that are held out."""
    part = ["train"] * size if parts is None else parts
    train = torch.tensor([k for k in range(size) if part[k] == "train"], dtype=torch.int64)
    test = torch.tensor([k for k in range(size) if part[k] == "test"], dtype=torch.int64)
    if len(train) < FEWEST_ROWS:
        raise ValueError(f"got {counted(len(train), 'image')} to train on; wanted {FEWEST_ROWS}")
    if len(test):
        return train, test
    of_train = None if labels is None else labels[train]
    held = held_out(len(train), max(2, round(len(train) / 10)), of_train, seed)
    return train[~held], train[held]


def _said(taken: Taken, reading: Reading) -> list[str]:
    """How the images were read, a line each."""
    height, width = taken.rows.shape[2:]
    colour = "grey" if taken.rows.shape[1] == 1 else "RGB"
    count = counted(len(taken.places), "image")
    said = [f"{count}, {width} x {height} {colour}: {Look.of(reading).rule}"]
    if isinstance(taken.rows, Decoded):
        said.append("too many to hold: each is decoded when it is asked for")
    if taken.others:
        said.append(f"left alone: {counted(taken.others, 'file')} of other kinds")
    return said
