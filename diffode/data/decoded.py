"""Many images as rows: each is checked, and held as bytes or decoded when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from diffode.data.images import Look, NotAnImageError, UnreadableError
from diffode.data.npy import Array
from diffode.data.source import Rows
from diffode.data.watching import advanced
from diffode.inputs import quoted
from diffode.options import counted

HELD = 2**30  # bytes of images that are held; of more, rows are decoded when asked for
MOST = 2**34  # bytes of images of a table, whose rows can be read only once
NAMED = 5  # in a message


class Images(Protocol):
    """Images as they are stored, in order."""

    def __len__(self) -> int:
        """How many there are."""

    def name(self, place: int) -> str:
        """What the image at this place is called."""

    def is_stated(self, place: int) -> bool:
        """Whether it is said to be an image, by its name or where it stands."""

    def decoded(self, place: int, look: Look) -> Array:
        """The image at this place in its form, (1, H, W) or (3, H, W), uint8.

        Raises:
            NotAnImageError, UnreadableError: it cannot be read.
        """


@dataclass(frozen=True)
class Taken:
    """The images of a set that can be used.

    Attributes:
        rows: their pixels, (M, C, H, W), uint8.
        places: of each row, where it was among all.
        left_out: the images that cannot be read, each with the reason.
        others: how many are no images, by their content and by their name.
    """

    rows: Rows
    places: list[int]
    left_out: list[str]
    others: int

    @property
    def warning(self) -> str:
        """What was left out, in a line; empty if nothing was."""
        if not self.left_out:
            return ""
        total = len(self.places) + len(self.left_out)
        return (
            f"left out {len(self.left_out)} of {counted(total, 'image')}: {_some(self.left_out)}"
        )


@dataclass(frozen=True)
class Decoded:
    """Rows of images that are decoded each time they are asked for.

    Attributes:
        images: as they are stored.
        places: of each row, where it is among them.
        look: the form that they are brought to.
        event_shape: of a row, (C, H, W).
    """

    images: Images
    places: Array
    look: Look
    event_shape: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (M, C, H, W) of all of them."""
        return (len(self.places), *self.event_shape)

    def __getitem__(self, index: Any) -> Array:  # noqa: ANN401
        """The images of these rows, (B, C, H, W), uint8.

        Raises:
            ValueError: one that can no longer be read as it was.
        """
        out = np.empty((len(index), *self.event_shape), np.uint8)
        for row, place in enumerate(self.places[index].tolist()):
            out[row] = self._decoded(place)
        return out

    def _decoded(self, place: int) -> Array:
        try:
            return self.images.decoded(place, self.look)
        except ValueError as error:
            raise ValueError(
                f"{quoted(self.images.name(place))} could be read when the data were checked, and "
                f"now it cannot: {error}; start again"
            ) from None


def take(what: str, images: Images, look: Look, *, once: bool = False) -> Taken:
    """Check all images, and hold them unless they are too many.

    Arguments:
        what: is read, for who watches.
        images: as they are stored.
        look: the form that they are brought to.
        once: whether each can be read only once, so that all must be held.

    Raises:
        ValueError: too many to be held, images of several sizes that are not to be resampled, a
            tenth or more that cannot be read, or none that can.
    """
    found = _Pass(len(images), MOST if once else HELD, once)
    for place in range(len(images)):
        advanced(what, place, len(images))
        try:
            found.keep(place, images.decoded(place, look))
        except NotAnImageError as error:
            found.leave(images.name(place), error, images.is_stated(place))
        except UnreadableError as error:
            found.leave(images.name(place), error)
    advanced(what, len(images), len(images))
    _require(found.sizes, found.left_out)
    return Taken(found.rows(images, look), found.places, found.left_out, found.others)


@dataclass
class _Pass:
    """What one pass over so many images has found so far."""

    total: int
    most: int  # bytes
    once: bool
    held: Array | None = None
    places: list[int] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    channels: int = 1
    others: int = 0

    def keep(self, place: int, image: Array) -> None:
        """Take an image (C, H, W), and hold it while all are few enough and of one size."""
        height, width = image.shape[1:]
        if not self.places:
            self.held = self._room(height, width)
        self.sizes[height, width] += 1
        if self.held is not None and len(self.sizes) == 1:
            self.held[len(self.places)] = image
        self.channels = max(self.channels, len(image))
        self.places.append(place)

    def _room(self, height: int, width: int) -> Array | None:
        """Memory for all images of this size; None where they are too many."""
        size = 3 * height * width * self.total
        if size <= self.most:
            return np.empty((self.total, 3, height, width), np.uint8)
        if self.once:
            raise ValueError(
                f"got {self.total:,} images of {width} x {height} in a table, {size:,} bytes; "
                f"wanted {self.most:,} at most; make them smaller with --resize N, in Python "
                "resize=N, or save them as files in a folder, which may hold any number"
            )
        return None

    def leave(self, name: str, error: Exception, is_stated: bool = True) -> None:
        """Leave out what is said to be an image and cannot be read, or is none at all."""
        if is_stated:
            self.left_out.append(f"{quoted(name)} ({error})")
        else:
            self.others += 1

    def rows(self, images: Images, look: Look) -> Rows:
        """The images that were taken, all of one size."""
        if self.held is None:
            ((height, width),) = self.sizes
            return Decoded(images, np.array(self.places), look, (self.channels, height, width))
        held = self.held[: len(self.places)]
        return held if self.channels == 3 else np.ascontiguousarray(held[:, :1])


def _require(sizes: Counter[tuple[int, int]], left_out: Sequence[str]) -> None:
    """Refuse images that make no set."""
    good, bad = sizes.total(), len(left_out)
    if good + bad == 0:
        raise ValueError("got no images; wanted PNG, JPEG, WebP, BMP or GIF files")
    if 10 * bad >= good + bad:
        raise ValueError(
            f"{bad} of {counted(good + bad, 'image')} cannot be read, a tenth or more: "
            f"{_some(left_out)}; mend them or take them away"
        )
    if len(sizes) > 1:
        shown = [f"{w} x {h} ({n})" for (h, w), n in sizes.most_common(NAMED)]
        more = f" and {len(sizes) - NAMED} more sizes" if len(sizes) > NAMED else ""
        raise ValueError(
            f"got images of {len(sizes)} sizes: {', '.join(shown)}{more}; wanted one size; bring "
            "them to one with --resize N, in Python resize=N"
        )


def _some(named: Sequence[str]) -> str:
    """The first of what is named, and how many more there are."""
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return f"{', '.join(named[:NAMED])}{more}"
