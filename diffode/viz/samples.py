"""Samples as a picture, by their shape: a sheet of images, or a scatter of points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from diffode.data.source import Samples
from diffode.viz.images import is_image
from diffode.viz.points import points_picture
from diffode.viz.sheet import image_sheet


def samples_picture(
    x: Tensor,
    path: str | Path | None = None,
    reference: Samples | None = None,
    *,
    title: str = "",
    y: Tensor | None = None,
    names: Sequence[str] | None = None,
    called: str = "samples",
) -> bytes:
    """The PNG that suits the shape, see `image_sheet` and `points_picture`.

    Arguments:
        x: samples, shape (B, *event); images in [-1, 1].
        path: where to write.
        reference: training data (M, *event) to show behind points; images stand alone.
        title: above the picture, in one line or more.
        y: labels of the samples, shape (B,): a row or a colour for each class.
        names: what the labels are called.
        called: what points are called, where they are not samples.

    Raises:
        ValueError: no samples, or a reference that does not fit them.
    """
    if is_image(tuple(x.shape[1:])):
        return image_sheet(x, path, title, y, names or ())
    return points_picture(x, path, reference, title, y, names or (), called)
