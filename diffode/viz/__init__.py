"""Pictures: grids of samples, trajectories and the tour.

Every drawing function returns a PNG as bytes, and writes it where a path is given. Nothing here
touches matplotlib's global state, and grids of images do not need matplotlib at all.

>>> import torch
>>> from diffode.viz import image_grid
>>> image_grid(torch.zeros(4, 1, 8, 8))[1:4]
b'PNG'
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "data_uri": "canvas",
    "image_grid": "images",
    "image_sheet": "sheet",
    "plot": "plots",
    "plot_trajectories": "trajectories",
    "points_picture": "points",
    "samples_picture": "samples",
    "shown": "trajectories",
    "strip": "trajectories",
}
__all__ = [  # and diffode.viz.tour.tour
    "data_uri",
    "image_grid",
    "image_sheet",
    "plot",
    "plot_trajectories",
    "points_picture",
    "samples_picture",
    "shown",
    "strip",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
