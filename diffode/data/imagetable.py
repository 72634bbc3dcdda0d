"""Tables with a column of images, read once from the first row to the last."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from diffode.data.base import Dataset
from diffode.data.decoded import take
from diffode.data.folder import SPLITS, Parts, split
from diffode.data.images import Look, UnreadableError, decode
from diffode.data.imageset import OPTIONS, Kinds, assembled
from diffode.data.npy import Array
from diffode.data.reading import Reading
from diffode.inputs import quoted


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are.

    Attributes:
        image: the name of that of the images.
        label: of that of the labels, or None.
        names: what the labels 0, 1, ... are called, or None.
        others: columns that could be the labels.
    """

    image: str
    label: str | None = None
    names: tuple[str, ...] | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """A part of a table, as a file.

    Attributes:
        name: that tells the split by its beginning, or by that of its folder.
        size: how many rows it has.
        read: gives the image and the label of each; an image is bytes, or stands as "bytes" in a
            dictionary.
    """

    name: str
    size: int
    read: Callable[[], Iterator[tuple[Any, Any]]]


class Table:
    """The rows of pieces one after the other; they are asked for in order, each once."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.labels: list[Any] = []  # of the rows that were read
        self._rows = (row for piece in pieces for row in piece.read())

    def __len__(self) -> int:
        return sum(piece.size for piece in self.pieces)

    def name(self, place: int) -> str:
        """The piece, and the row in it."""
        for piece in self.pieces:
            if place < piece.size:
                return f"{piece.name}, row {place}"
            place -= piece.size
        raise IndexError(place)

    def is_stated(self, place: int) -> bool:
        """True: it stands in a column of images."""
        return True

    def decoded(self, place: int, look: Look) -> Array:
        """The image of the next row, (1, H, W) or (3, H, W), uint8.

        Raises:
            NotAnImageError, UnreadableError: it has none, or one that cannot be read.
        """
        image, label = next(self._rows)
        self.labels.append(label)
        content = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(content, bytes):
            raise UnreadableError("no bytes; a path that stands in a table is not opened")
        return decode(io.BytesIO(content), look)


def columns_of(
    images: Sequence[str],
    names: Sequence[str],
    classes: dict[str, tuple[str, ...]],
    reading: Reading,
) -> Columns:
    """What the columns of a table are.

    Arguments:
        images: those that hold images.
        names: of all.
        classes: the columns that are known as classes, with the names of these.
        reading: which of them are asked for.

    Raises:
        ValueError: no column of images, several, or none of a name that is asked for.
    """
    image = tuple(images) if reading.columns is None else reading.columns
    if len(image) != 1 or image[0] not in images:
        raise ValueError(
            f"got {quoted(list(image))} as the column of images; wanted one of "
            f"{quoted(list(images))}; say which, as columns=['image']"
        )
    if reading.label is not None and reading.label not in names:
        raise ValueError(f"got no column {quoted(reading.label)}; there are {quoted(list(names))}")
    could = [name for name in names if name in classes or name == "label"]
    label = reading.label
    if label is None:
        label = "label" if "label" in could else could[0] if len(could) == 1 else None
    others = () if label else tuple(could)
    return Columns(image[0], label, None if label is None else classes.get(label), others)


def dataset(
    name: str, pieces: Sequence[Piece], columns: Columns, reading: Reading, seed: int = 0
) -> Dataset:
    """The data set of a table; `seed` chooses what is held out where no piece is.

    Arguments:
        name: of the set.
        pieces: of the table.
        columns: what they have.
        reading: how it is read; ``columns`` and ``label`` name columns.
        seed: of the choice.

    Raises:
        ValueError: rows that make no set of images.
    """
    reading.require(f"a table of images, {quoted(name)}", *OPTIONS, "columns", "label")
    table = Table(pieces)
    taken = take(f"read the images of {name}", table, Look.of(reading), once=True)
    where = [_split_of(piece.name) for piece in pieces for _ in range(piece.size)]
    where = [where[place] for place in taken.places]
    labels = [table.labels[place] for place in taken.places]
    silent = _silent([path[0] for path in where], labels)
    kept, _ = split([path for path in where if path[0] not in silent])
    part = iter(kept or ["train"] * len(where))
    parts = ["" if path[0] in silent else next(part) for path in where]
    kinds, notes = kinds_of(labels, columns, parts, lambda k: table.name(taken.places[k]))
    notes += [f"left alone: {name}, where no row has a {columns.label}" for name in silent]
    return assembled(name, taken, reading, kinds=kinds, parts=parts, notes=notes, seed=seed)


def _silent(splits: Sequence[str], labels: Sequence[Any]) -> list[str]:
    """The splits without a label, where that to train on has some."""
    heard = {name for name, label in zip(splits, labels, strict=True) if not _lacks(label)}
    return sorted({*splits} - heard) if "train" in heard else []


def kinds_of(
    labels: Sequence[Any], columns: Columns, parts: Sequence[str], name: Callable[[int], str]
) -> tuple[Kinds | None, list[str]]:
    """The class of each row, and what is to be said of it.

    Arguments:
        labels: what stands in each row.
        columns: what the table has.
        parts: "train", "test", or "" for a row that is in neither.
        name: what a row is called.

    Raises:
        ValueError: labels that are neither whole numbers nor texts, or that have no name, or rows
            without one beside others.
    """
    if columns.label is None:
        could = ", ".join(columns.others)
        return None, [f"no classes; label=NAME takes one of {could}"] if could else []
    if all(_lacks(label) for label, part in zip(labels, parts, strict=True) if part == "train"):
        return None, [f"no classes: no row to train on has a {columns.label}"]
    used = {k: labels[k] for k, part in enumerate(parts) if part}
    lacking = [k for k, label in used.items() if _lacks(label)]
    if lacking:
        raise ValueError(
            f"{quoted(name(lacking[0]))} has no {columns.label} ({len(lacking)} of {len(used)} "
            f"rows have none); give each row its {columns.label}, or take such rows away"
        )
    names = None if all(isinstance(v, str) for v in used.values()) else _names(used, columns, name)
    called = {k: str(v) if names is None else names[v] for k, v in used.items()}
    return Kinds([called.get(k, "") for k in range(len(labels))], names), []


def _names(
    labels: dict[int, Any], columns: Columns, name: Callable[[int], str]
) -> tuple[str, ...]:
    """What the classes 0, 1, ... of labels that are numbers are called."""
    for k, label in labels.items():
        if not isinstance(label, int) or label < 0:
            raise ValueError(
                f"{quoted(name(k))} has the {columns.label} {quoted(label)}; wanted whole numbers "
                "0, 1, ... or texts in all rows"
            )
    last = max(labels, key=labels.__getitem__)
    names = columns.names or tuple(map(str, range(min(labels[last] + 1, len(labels)))))
    if labels[last] >= len(names):
        raise ValueError(
            f"{quoted(name(last))} has the {columns.label} {labels[last]}; there are "
            f"{len(names)} classes at most"
        )
    return names


def _lacks(label: object) -> bool:
    """Whether a cell holds no label: nothing, a blank text, or the -1 of the hub."""
    if isinstance(label, str):
        return not label.strip()
    return label is None or (isinstance(label, int) and label == -1)


def _split_of(name: str) -> Parts:
    """The name of a piece below that of its split, as it would stand in a folder."""
    path = PurePosixPath(name)
    for word in (path.name, *path.parts[:-1]):
        start = word.lower().replace(".", "-").replace("_", "-").split("-")[0]
        if start in SPLITS:
            return start, name
    return "", name
