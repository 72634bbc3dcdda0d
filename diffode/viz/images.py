"""A grid of images, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffode.viz import canvas

GAP = 2  # pixels between images
SIDE = 64  # pixels that a small image is enlarged to, about
MAGENTA = torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether one sample of this shape, (C, H, W) with 1 or 3 channels, is drawn as an image."""
    return len(shape) == 3 and shape[0] in (1, 3)


def require_images(x: Tensor) -> None:
    """Refuse what is no batch of images.

    Raises:
        ValueError: another shape than (B, 1 or 3, H, W), or no image.
    """
    if x.ndim != 4 or not is_image(tuple(x.shape[1:])) or not x.numel():
        raise ValueError(f"got x of shape {tuple(x.shape)}; wanted images (B, 1 or 3, H, W)")


def grid_pixels(
    x: Tensor, columns: int | None = None, scale: int | None = None, gap: int = GAP
) -> NDArray[np.uint8]:
    """The pixels of `image_grid`, shape (H, W, 1) or (H, W, 3), with gaps of so many of them."""
    require_images(x)
    columns = math.ceil(math.sqrt(len(x))) if columns is None else min(columns, len(x))
    scale = max(1, round(SIDE / max(x.shape[2:]))) if scale is None else scale
    if columns < 1 or scale < 1:
        raise ValueError(f"got columns={columns}, scale={scale}; both count from 1")
    x = x.detach().cpu().float()
    missing = x.isnan().any(1, keepdim=True)
    if bool(missing.any()):
        x = torch.where(missing, MAGENTA, x)
    tiles = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
    tiles = tiles.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    count, height, width, channels = tiles.shape
    down, across = height + gap, width + gap
    size = (math.ceil(count / columns) * down + gap, columns * across + gap, channels)
    page = np.full(size, 255, dtype=np.uint8)
    for i, tile in enumerate(tiles.numpy()):
        top, left = i // columns * down + gap, i % columns * across + gap
        page[top : top + height, left : left + width] = tile
    return page


def image_grid(
    x: Tensor,
    path: str | Path | None = None,
    columns: int | None = None,
    scale: int | None = None,
) -> bytes:
    """The PNG of images in rows, each pixel a sharp square; written to ``path`` if one is given.

    Values are clipped to [-1, 1] for display only. A pixel that is NaN is magenta.

    Arguments:
        x: images in [-1, 1], shape (B, 1, H, W) or (B, 3, H, W).
        path: where to write.
        columns: images in a row; None makes the grid square.
        scale: screen pixels per pixel; None enlarges small images to about 64.

    Raises:
        ValueError: x is no batch of images, or a count below 1.
    """
    return canvas.write(canvas.png(grid_pixels(x, columns, scale)), path)
