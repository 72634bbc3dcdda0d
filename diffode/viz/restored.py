"""Restored images as a picture: what was, what was observed of it, and draws of what it may be."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffode.viz.images import is_image
from diffode.viz.sheet import image_sheet

HIDDEN = torch.tensor([0.1, 0.45, 0.75]).view(
    3, 1, 1
)  # the colour of what was not seen, in [-1, 1]


def restored_picture(
    draws: Tensor,
    path: str | Path | None = None,
    observed: Tensor | None = None,
    original: Tensor | None = None,
    title: str = "",
) -> bytes:
    """The PNG of a column for each observation: original, observed, draws, their mean and std.

    The standard deviation is black where it is 0, and white where it is 1, half the range from
    black to white. Of more than 20 observations the first are shown, and a line says so.

    Arguments:
        draws: images in [-1, 1], shape (B, K, C, H, W) with K draws of each of B observations.
        path: where to write.
        observed: what was observed as images (B, C, h, w), of the images' size or a part of it;
            a pixel that was not seen is NaN.
        original: the images themselves, if they are known, shape (B, C, H, W).
        title: above the picture.

    Raises:
        ValueError: no images, or others of another number.
    """
    if draws.ndim != 5:
        raise ValueError(f"got draws of shape {tuple(draws.shape)}; wanted (B, K, C, H, W)")
    rows = {} if original is None else {"original": original}
    if observed is not None:
        rows["observed"] = _enlarged(observed, draws.shape[3:])
    rows |= {f"draw {k + 1}": images for k, images in enumerate(draws.unbind(1))}
    if draws.shape[1] > 1:
        rows |= {"mean": draws.mean(1), "std": 2 * draws.std(1) - 1}
    y = torch.arange(len(rows)).repeat_interleave(len(draws))
    x = _hidden_in_colour(torch.cat([images.to(draws) for images in rows.values()]))
    return image_sheet(x, path, title, y, list(rows))


def shows(observed_shape: tuple[int, ...], event_shape: tuple[int, ...]) -> bool:
    """Whether what is observed of images can be shown as images of their size."""
    if not (is_image(event_shape) and len(observed_shape) == 3):
        return False
    pairs = list(zip(event_shape, observed_shape, strict=True))
    factors = {large // small for large, small in pairs[1:]}
    return pairs[0][0] == pairs[0][1] and len(factors) == 1 and all(a % b == 0 for a, b in pairs)


def _hidden_in_colour(x: Tensor) -> Tensor:
    """Images (B, C, H, W) with a pale blue, which no grey is, in the place of what is NaN."""
    hidden = x.isnan().any(1, keepdim=True)
    return torch.where(hidden, HIDDEN.to(x), x) if bool(hidden.any()) else x


def _enlarged(x: Tensor, size: torch.Size) -> Tensor:
    """Images of a part of the size as images of that size, each pixel a square."""
    down, across = size[0] // x.shape[2], size[1] // x.shape[3]
    return x.repeat_interleave(down, 2).repeat_interleave(across, 3)
