"""A set of images of the Hugging Face hub by its name, ``hf:owner/name``.

The package ``datasets`` gets it and keeps it in its own place. Code of the hub is not run, and a
path that stands in a set is opened only if it leads into that place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from diffode.data import imagetable
from diffode.data.base import Dataset
from diffode.data.imagetable import Piece, columns_of
from diffode.data.reading import Reading
from diffode.inputs import brief, quoted

MARK = "hf:"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def dataset(name: str, reading: Reading, seed: int = 0) -> Dataset:
    """The data set of that name; `seed` chooses what is held out where the hub has no such split.

    Arguments:
        name: as ``hf:owner/name``.
        reading: how it is read; ``columns`` and ``label`` name columns.
        seed: of the choice.

    Raises:
        ValueError: no such name, ``datasets`` is not installed, or no set of images.
    """
    wanted = name.removeprefix(MARK)
    if not _NAME.fullmatch(wanted):
        raise ValueError(f"got {quoted(name)}; wanted a set of the hub as hf:owner/name")
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"{name} needs the package datasets, which is not installed: "
            "pip install 'diffode[hub]'"
        ) from None
    try:
        splits = datasets.load_dataset(wanted)
    except Exception as error:  # no network, no such set, one that is made by code, ...
        raise ValueError(f"{name} cannot be had: {brief(str(error), 300)}") from None
    features = next(iter(splits.values())).features
    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = {
        key: tuple(kind.names)
        for key, kind in features.items()
        if isinstance(kind, datasets.ClassLabel)
    }
    columns = columns_of(images, list(features), classes, reading)
    stored = datasets.Image(decode=False)
    place = Path(datasets.config.HF_CACHE_HOME)
    pieces = [
        Piece(
            str(split),
            len(rows),
            partial(_rows, rows.cast_column(columns.image, stored), place, columns),
        )
        for split, rows in splits.items()
    ]
    return imagetable.dataset(wanted.split("/")[1], pieces, columns, reading, seed)


def _rows(rows: Any, place: Path, columns: imagetable.Columns) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    """The image and the label of each row of a split."""
    for row in rows:
        image, label = row[columns.image], None if columns.label is None else row[columns.label]
        yield _content(image, place), label


def _content(image: Any, place: Path) -> Any:  # noqa: ANN401
    """An image with its bytes, which may stand in a file of the place of ``datasets``."""
    if not isinstance(image, dict) or image.get("bytes") is not None or not image.get("path"):
        return image
    path = os.path.realpath(image["path"])
    if not path.startswith(os.path.realpath(place) + os.sep) or not os.path.isfile(path):
        return image
    with open(path, "rb") as file:
        return file.read()
