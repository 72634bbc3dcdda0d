"""A folder of images: a class is a sub-folder.

============================== ==================================================================
in the folder                  is taken as
============================== ==================================================================
images                         images without classes
folders                        classes, named as the folders; an image deeper down belongs to the
                               folder at the top
images and folders             images without classes
train, and test, val or valid  the split, each of the two as above; test goes before val
============================== ==================================================================

Files are ordered by the bytes of their path in the folder. Names that begin with a dot are passed
over, links are followed, and a folder that is reached twice is read once. Files that are images
neither by their content nor by their name are left alone. Where less than a tenth of the images
cannot be read, these are left out, and a warning names them; else the folder is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from diffode.data.base import Dataset
from diffode.data.decoded import take
from diffode.data.images import Look, UnreadableError, decode
from diffode.data.imageset import OPTIONS, Kinds, assembled
from diffode.data.npy import Array
from diffode.data.reading import Reading
from diffode.inputs import printable, quoted

SPLITS = "train", "test", "val", "valid", "validation"
_HELD_OUT = SPLITS[1:]  # the first that is there

_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2"),  # images, of formats that are not read
)

Parts: TypeAlias = "tuple[str, ...]"


@dataclass(frozen=True)
class Files:
    """The files of a folder as they were when it was listed.

    Attributes:
        folder: absolute.
        paths: in the folder, with slashes, in order.
        stamps: size in bytes and time of the last change in nanoseconds, (M, 2).
    """

    folder: str
    paths: list[str]
    stamps: np.ndarray[tuple[int, ...], np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, place: int) -> str:
        """The path in the folder."""
        return self.paths[place]

    def is_stated(self, place: int) -> bool:
        """Whether its name ends as that of an image."""
        return self.paths[place].lower().endswith(_SUFFIXES)

    def decoded(self, place: int, look: Look) -> Array:
        """The image in the file at this place, (1, H, W) or (3, H, W), uint8.

        Raises:
            NotAnImageError, UnreadableError: it cannot be read, or is not there as it was.
        """
        try:
            with open(os.path.join(self.folder, self.paths[place]), "rb") as file:
                if _stamp(os.fstat(file.fileno())) != tuple(self.stamps[place].tolist()):
                    raise UnreadableError("it changed after the folder was listed")
                return decode(file, look)
        except OSError as error:
            raise UnreadableError((error.strerror or "not there").lower()) from None


def dataset(files: Files, reading: Reading, seed: int = 0) -> Dataset:
    """The data set of a folder of images; `seed` chooses what is held out where no folder does.

    Raises:
        ValueError: no images, some that make no set, or folders that make no split.
    """
    name = os.path.basename(files.folder)
    reading.require(f"a folder of images, {quoted(name)}", *OPTIONS)
    taken = take(f"read the images of {name}", files, Look.of(reading))
    parts, paths = split([tuple(files.paths[place].split("/")) for place in taken.places])
    kinds, notes = classes(paths)
    return assembled(name, taken, reading, kinds=kinds, parts=parts, notes=notes, seed=seed)


def listed(folder: Path) -> Files:
    """The files of a folder and of the folders in it.

    Raises:
        ValueError: a folder that cannot be read.
    """
    found = sorted(_below(folder, "", set()), key=lambda entry: os.fsencode(entry[0]))
    stamps = np.array([stamp for _, stamp in found], np.int64).reshape(-1, 2)
    return Files(os.path.abspath(folder), [path for path, _ in found], stamps)


def _below(
    folder: Path, prefix: str, seen: set[tuple[int, int]]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """The ordinary files of a folder and below, each with its stamp; none of a folder seen."""
    try:
        known = os.stat(folder)
        names = sorted(os.listdir(folder), key=os.fsencode)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ValueError(f"cannot read the folder {quoted(str(folder))}: {reason}") from None
    if (known.st_dev, known.st_ino) in seen:
        return
    seen.add((known.st_dev, known.st_ino))
    for name in names:
        place = folder / name
        if name.startswith(".") or not place.exists():
            continue
        state = place.stat()
        if stat.S_ISDIR(state.st_mode):
            yield from _below(place, f"{prefix}{name}/", seen)
        elif stat.S_ISREG(state.st_mode):
            yield f"{prefix}{name}", _stamp(state)


def _stamp(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


def split(paths: Sequence[Parts]) -> tuple[list[str] | None, list[Parts]]:
    """Of each image "train", "test" or "", and its path below; None where no folders say so.

    Raises:
        ValueError: folders beside train and test.
    """
    given, paths = paths, [_lowered(path) for path in paths]
    folders = {path[0] for path in paths if len(path) > 1}
    train = folders & {"train"}
    held = [name for name in _HELD_OUT if name in folders]
    others = sorted(folders - train - set(held))
    if not train or (others and not held):  # then train is a class as any other
        return None, list(given)
    loose = [path[0] for path in paths if len(path) == 1]
    if others or loose:
        raise ValueError(
            f"got {quoted((others or loose)[0])} beside the folders train and {', '.join(held)}; "
            "wanted train and test (or val, valid) alone, or folders of other names as classes"
        )
    part = {"train": "train", **({held[0]: "test"} if held else {})}
    return [part.get(path[0], "") for path in paths], [path[1:] for path in paths]


def _lowered(path: Parts) -> Parts:
    """A path, whose first folder is in small letters if that names a split."""
    first = path[0].lower()
    return (first, *path[1:]) if len(path) > 1 and first in SPLITS else path


def classes(paths: Sequence[Parts]) -> tuple[Kinds | None, tuple[str, ...]]:
    """The class of each image, if they have any, and what is to be said of it."""
    loose = sum(len(path) == 1 for path in paths)
    if loose == 0:
        return Kinds([_shown(path[0]) for path in paths]), ()
    if loose == len(paths):
        return None, ()
    return None, (f"no classes: {loose} images are in no folder",)


def _shown(name: str) -> str:
    """A name as text that can be shown: what is not UTF-8, or not printable, is escaped."""
    return printable(os.fsencode(name).decode("utf-8", "backslashreplace"))
