"""One image file or its bytes, of any size and mode, as the array that is learned.

What an image is stands in its content, not in its name: PNG, JPEG, WebP, BMP and GIF, of several
frames the first. Its size is looked at before it is decoded, and one of more pixels than Pillow's
limit is refused. It is turned as its EXIF data say. Transparent pixels are laid on a background;
16 bits a channel are scaled to 8; colour profiles are not applied.

To change the size, the largest square in the middle is resampled with Lanczos' filter, which
averages over all pixels that a new one covers. A JPEG of more than twice that size is decoded at
a half, a quarter or an eighth first, and other images are averaged in blocks, never to less than
twice the size that is wanted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from diffode.data.npy import Array
from diffode.data.reading import Reading
from diffode.inputs import brief, quoted

FORMATS = "PNG", "JPEG", "WEBP", "BMP", "GIF"
_GREY = "1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"
_TOO_MANY = "more pixels than Pillow's limit, PIL.Image.MAX_IMAGE_PIXELS"
_SMALLEST = 2  # pixels on a side; fewer show nothing


class NotAnImageError(ValueError):
    """The content begins as no image of a known format."""


class UnreadableError(ValueError):
    """An image that cannot be taken; the message is the reason."""


@dataclass(frozen=True)
class Look:
    """The form that all images of a set are brought to.

    Attributes:
        side: height and width; None leaves them.
        grey: whether colours become grey levels.
        background: the colour behind transparent pixels, red, green and blue from 0 to 255.
    """

    side: int | None = None
    grey: bool = False
    background: tuple[int, int, int] = (255, 255, 255)

    @classmethod
    def of(cls, reading: Reading) -> Look:
        """The form that a reading states.

        Raises:
            ValueError: a background that is no colour.
        """
        try:
            colour = ImageColor.getrgb(reading.background)
        except ValueError:
            colour = (0, 0, 0, 0)
        if len(colour) != 3:
            raise ValueError(
                f"got background={quoted(reading.background)}; wanted a colour without "
                "transparency, as white, black or #ff8000"
            )
        return cls(reading.resize, reading.grey, colour)

    @property
    def rule(self) -> str:
        """What is done to the images, in words."""
        size = "taken at their size"
        if self.side is not None:
            size = f"the square in the middle resampled to {self.side} x {self.side} (Lanczos)"
        return f"{size}{', made grey' if self.grey else ''}"


def decode(file: BinaryIO, look: Look) -> Array:
    """The image in a file, (1, H, W) for one without colours, else (3, H, W), uint8.

    Raises:
        NotAnImageError: the file begins as no image.
        UnreadableError: a damaged image, one of more pixels than Pillow's limit, or of too few.
    """
    return form(lambda: Image.open(file, formats=FORMATS), look)


def form(opened: Callable[[], Image.Image], look: Look) -> Array:
    """An image that is opened, as `decode` gives it.

    Raises:
        NotAnImageError, UnreadableError: as `decode`.
    """
    with warnings.catch_warnings():  # of odd metadata, and of sizes that are judged here
        warnings.simplefilter("ignore")
        try:
            with opened() as image:
                _require_size(image)
                return _array(_resampled(_flat(_cut(image, look.side), look), look.side))
        except UnreadableError:
            raise
        except UnidentifiedImageError:
            raise NotAnImageError("no image of a known format") from None
        except Image.DecompressionBombError:
            raise UnreadableError(_TOO_MANY) from None
        except Exception as error:  # a damaged file fails in many ways
            reason = brief(str(error), 80) or type(error).__name__
            raise UnreadableError(f"damaged: {reason}") from None


def _require_size(image: Image.Image) -> None:
    """Refuse what would fill the memory, and what shows nothing."""
    width, height = image.size
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and width * height > most:
        raise UnreadableError(f"{width} x {height} pixels, {_TOO_MANY}")
    if min(width, height) < _SMALLEST:
        raise UnreadableError(f"{width} x {height} pixels, too few to show anything")


def _cut(image: Image.Image, side: int | None) -> Image.Image:
    """The image upright; of one that is resampled, the square in its middle."""
    if side is not None:
        scale = 2 * side / min(image.size)
        image.draft(None, (round(image.width * scale), round(image.height * scale)))
    image = ImageOps.exif_transpose(image)
    if side is None:
        return image
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    return image.crop((left, top, left + short, top + short))


def _flat(image: Image.Image, look: Look) -> Image.Image:
    """The image in 8 bits without transparency: mode L where it has no colours, else RGB."""
    grey = look.grey or image.mode in _GREY
    if image.mode.startswith("I"):
        return _eight_bits(image)
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (*look.background, 255))
        image = Image.alpha_composite(below, image.convert("RGBA"))
        grey = look.grey or (grey and len(set(look.background)) == 1)
    return image.convert("L" if grey else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey levels from 0 to 65535 as 0 to 255; Pillow's own way would cut off what is above."""
    if "transparency" in image.info:
        raise UnreadableError("16 bits with a transparent level, which is not taken")
    levels = np.asarray(image).astype(np.int64)
    return Image.fromarray(((levels + 128) // 257).clip(0, 255).astype(np.uint8))


def _resampled(image: Image.Image, side: int | None) -> Image.Image:
    if side is None or image.size == (side, side):
        return image
    return image.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _array(image: Image.Image) -> Array:
    values: np.ndarray[Any, np.dtype[np.uint8]] = np.asarray(image)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))
