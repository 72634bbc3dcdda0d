"""Data sets as the numbers of the page: points of the plane, or small images as bytes."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffode.data import Dataset, load
from diffode.data.rows import some_rows
from diffode.data.scaling import data_units

TOYS = ("moons", "eight-gaussians", "blobs", "pinwheel", "swiss-roll", "checkerboard")
POINTS = 300  # of each set of points, at most
IMAGES, NUMBERS = 1000, 2**19  # images and their numbers, at most
_DIGITS = 4  # decimals of a coordinate, in units of the set's spread


def own_sets() -> list[dict[str, Any]]:
    """The toys and the digits."""
    return [as_set(load(name)) for name in (*TOYS, "digits")]


def as_set(dataset: Dataset) -> dict[str, Any]:
    """Some rows of a data set, in units of the data, as JSON holds them.

    Raises:
        ValueError: rows that are neither points of the plane nor images of up to 64 x 64 pixels.
    """
    shape = dataset.event_shape
    image = len(shape) == 3 and shape[0] in (1, 3) and max(shape[1:]) <= 64
    if shape != (2,) and not image:
        raise ValueError(
            f"got {dataset.name} with points of shape {shape}; the explorer shows points of shape "
            "(2,), or gray or colour images of up to 64 x 64 pixels"
        )
    most = min(IMAGES, NUMBERS // math.prod(shape)) if image else POINTS
    rows = some_rows(len(dataset.train), most, dataset.train_labels)
    x = data_units(dataset.train[rows].double(), dataset.scaling)
    labels = dataset.train_labels
    out = {
        "name": dataset.name,
        "labels": None if labels is None else labels[rows].tolist(),
        "names": _names(dataset.class_names),
    }
    return out | (_images(x) if image else _points(x))


def _points(x: Tensor) -> dict[str, Any]:
    """Points (M, 2) from their centre, and half the width of a window for them.

    The centre is the origin, unless the points lie far from it.
    """
    centre, spread = x.mean(0), x.std(0, correction=0).norm()
    centre = centre.where(centre.norm() > 2 * spread, 0.0)
    x = x - centre
    reach = 1.12 * float(x.abs().max()) or 1.0
    decimals = max(0, _DIGITS - math.floor(math.log10(reach)))
    return {
        "n": 2,
        "x": [round(v, decimals) for v in x.flatten().tolist()],
        "centre": centre.tolist(),
        "reach": reach,
    }


def _images(x: Tensor) -> dict[str, Any]:
    """Images (M, C, H, W) as bytes between their least and their largest value."""
    low, high = float(x.min()), float(x.max())
    levels = ((x - low) / (high - low or 1.0) * 255).round().to(torch.uint8)
    return {
        "n": x[0].numel(),
        "shape": list(x.shape[1:]),
        "low": low,
        "high": high if high > low else low + 1.0,
        "bytes": base64.b64encode(levels.flatten().numpy().tobytes()).decode(),
    }


def _names(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)
