"""Images in memory: those of Pillow, and arrays of bytes that are to be brought to one size.

They come in a list or a map-style torch data set, alone or each in a pair with its label, or
beside a list of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from diffode.data.base import Dataset
from diffode.data.decoded import take
from diffode.data.images import Look, UnreadableError, form
from diffode.data.imageset import OPTIONS, assembled
from diffode.data.imagetable import Columns, kinds_of
from diffode.data.npy import Array
from diffode.data.reading import Reading


@dataclass(frozen=True)
class Pictures:
    """Images in memory.

    Attributes:
        images: of Pillow, or arrays of bytes (H, W), (H, W, C) or (C, H, W).
        labels: one for each, or None.
    """

    images: Sequence[Any]
    labels: Sequence[Any] | None = None

    @classmethod
    def of(cls, data: object, reading: Reading) -> Pictures | None:
        """The images that data hold; None for data of another kind.

        Raises:
            ValueError: another number of labels than of images.
        """
        if isinstance(data, tuple) and len(data) == 2 and _is_picture(_first(data[0]), reading):
            images, labels = data
            given = labels.tolist() if hasattr(labels, "tolist") else list(labels)
            if len(given) != len(images):
                raise ValueError(f"got {len(images)} images and {len(given)} labels")
            return cls(images, given)
        first = _first(data)
        if _is_picture(first, reading):
            return cls(data)  # type: ignore[arg-type]
        if isinstance(first, tuple) and len(first) == 2 and _is_picture(first[0], reading):
            pairs = [data[k] for k in range(len(data))]  # type: ignore[arg-type, index]
            return cls([image for image, _ in pairs], [label for _, label in pairs])
        return None

    def __len__(self) -> int:
        return len(self.images)

    def name(self, place: int) -> str:
        """The place of an image."""
        return f"image {place}"

    def is_stated(self, place: int) -> bool:
        """True: it was given as an image."""
        return True

    def decoded(self, place: int, look: Look) -> Array:
        """The image at this place, (1, H, W) or (3, H, W), uint8.

        Raises:
            UnreadableError: it is none, or cannot be read.
        """
        image = self.images[place]
        if isinstance(image, Image.Image):
            return form(image.copy, look)
        values = np.asarray(image)
        if values.ndim == 3 and values.shape[0] in (1, 3) and values.shape[2] not in (1, 3, 4):
            values = values.transpose(1, 2, 0)
        values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
        if values.dtype != np.uint8 or values.ndim not in (2, 3):
            raise UnreadableError(f"{values.dtype} of shape {values.shape}, no image of bytes")
        return form(lambda: Image.fromarray(np.ascontiguousarray(values)), look)


def dataset(pictures: Pictures, name: str, reading: Reading, seed: int = 0) -> Dataset:
    """The data set of images in memory; `seed` chooses the tenth that is held out.

    Raises:
        ValueError: images that make no set, or labels that are neither numbers nor texts.
    """
    reading.require("images in memory", *OPTIONS)
    taken = take(f"read the images of {name}", pictures, Look.of(reading))
    if pictures.labels is None:
        return assembled(name, taken, reading, seed=seed)
    labels = [_plain(pictures.labels[place]) for place in taken.places]
    parts = ["train"] * len(labels)
    kinds, notes = kinds_of(
        labels, Columns("image", "label"), parts, lambda k: pictures.name(taken.places[k])
    )
    return assembled(name, taken, reading, kinds=kinds, notes=notes, seed=seed)


def _plain(label: Any) -> Any:  # noqa: ANN401
    """A number of torch or numpy as one of Python."""
    return label.item() if hasattr(label, "item") and np.size(label) == 1 else label


def _first(data: object) -> object:
    """The first of several samples; None where there are none."""
    if isinstance(data, str | bytes | memoryview | dict) or not hasattr(data, "__getitem__"):
        return None
    return data[0] if hasattr(data, "__len__") and len(data) else None


def _is_picture(sample: object, reading: Reading) -> bool:
    """Whether a sample is an image of Pillow, or an array that is to be resampled."""
    if isinstance(sample, Image.Image):
        return True
    return reading.resize is not None and len(getattr(sample, "shape", ())) in (2, 3)
