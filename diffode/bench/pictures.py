"""Small pictures of samples, quick to draw: a comparison has hundreds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffode.viz import canvas, image_grid
from diffode.viz.images import is_image

COLUMNS = 6
SHOWN = COLUMNS**2  # images in one
PIXELS = 96  # side of a picture of points


def thumbnail(x: Tensor, like: Tensor) -> bytes:
    """The PNG of 36 images, or of where points lie, darker where there are more.

    Arguments:
        x: samples, shape (n, *event); the first two coordinates of points are shown.
        like: real data, shape (m, *event), whose extent is the view.
    """
    if is_image(tuple(x.shape[1:])):
        tiles: bytes = image_grid(x[:SHOWN], None, COLUMNS, max(1, 24 // x.shape[-1]))
        return tiles
    flat, known = (v.flatten(1)[:, :2].double().cpu() for v in (x, like))
    if flat.shape[1] == 1:
        flat, known = (torch.cat((v, torch.zeros_like(v)), 1) for v in (flat, known))
    centre, half = canvas.box(known)
    place = ((flat - centre) / half + 1) * (PIXELS / 2)
    inside = ((place >= 0) & (place < PIXELS)).all(1)
    column, row = place[inside].long().unbind(1)
    counts = torch.zeros(PIXELS, PIXELS).index_put_(
        (PIXELS - 1 - row, column), torch.ones(len(row)), accumulate=True
    )
    shade = 1 - (counts / max(1.0, 3 * len(flat) / PIXELS**2)).clamp_max(1).sqrt()
    ink = np.array([int(canvas.BLUE[k : k + 2], 16) for k in (1, 3, 5)])
    paper = np.full(3, 255)
    pixels = paper * shade[..., None].numpy() + ink * (1 - shade[..., None].numpy())
    picture: bytes = canvas.png(pixels.round().astype(np.uint8))
    return picture
