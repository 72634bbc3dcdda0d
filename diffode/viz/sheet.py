"""Images on a sheet that can be read: a grid, or a row for each class, under a title."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from diffode.doors import Numbers, as_labels
from diffode.viz import canvas
from diffode.viz.images import SIDE, grid_pixels, require_images
from diffode.viz.text import class_name, fitted, font, plain

HEIGHT = 1600  # pixels that few images may fill
MOST = 256  # images in a grid
ACROSS, DOWN = 20, 100  # images of a class, and classes, at most
MARGIN, SPACE = 10, 6  # pixels around text, and between images
LARGE, SMALL = 22, 15  # sizes of the first line of a title, and of the others


def image_sheet(
    x: Tensor,
    path: str | Path | None = None,
    title: str = "",
    y: Numbers | None = None,
    names: Sequence[str] = (),
) -> bytes:
    """The PNG of images under a title, at least 800 pixels wide, each pixel a sharp square.

    Without labels it is a grid of the first 256 images; with labels it has a row for each class
    with what the class is called in front, and in it the first 20 images of that class. A line
    says what was left out.

    Arguments:
        x: images in [-1, 1], shape (B, 1, H, W) or (B, 3, H, W), as for `image_grid`.
        path: where to write.
        title: above the images; its first line is the larger one.
        y: labels, shape (B,).
        names: what the labels are called; those without a name are called by their number.

    Raises:
        ValueError: x is no batch of images, or another number of labels.
    """
    require_images(x)
    y = as_labels(y, len(x), name="images")
    classes = [] if y is None else sorted(set(y.tolist()))
    rows = [_of_class(y, label) for label in classes[:DOWN]] if y is not None else _grid(len(x))
    lines = [*filter(None, title.split("\n")), *_left_out(len(x), rows, len(classes))]
    scale = _scale(x, len(rows), columns := max(map(len, rows)))
    pixels = grid_pixels(_filled(x, rows, columns), columns, scale, SPACE)
    heads = [class_name(label, names) for label in classes[:DOWN]]
    sheet = _composed(canvas.image(pixels), lines, heads, x.shape[2] * scale)
    return canvas.write(canvas.encoded(sheet), path)


def _composed(
    grid: Image.Image, lines: Sequence[str], heads: Sequence[str], tile: int
) -> Image.Image:
    """A grid of images under lines of text, with a head in front of each row of this height."""
    size = max(8, min(18, tile))
    heads = [fitted(head, size, canvas.WIDTH // 4) for head in heads]
    wide = max((font(size).getlength(head) for head in heads), default=0.0)
    left = math.ceil(wide) + 2 * MARGIN if heads else 0
    tops = [MARGIN + k * SMALL * 3 // 2 + (LARGE - SMALL if k else 0) for k in range(len(lines))]
    top = tops[-1] + LARGE + MARGIN if lines else 0
    sheet = Image.new("RGB", (max(canvas.WIDTH, left + grid.width), top + grid.height), "white")
    sheet.paste(grid, (left, top))
    draw = ImageDraw.Draw(sheet)
    for k, (line, at) in enumerate(zip(lines, tops, strict=True)):
        height, ink = (SMALL, canvas.GREY) if k else (LARGE, canvas.INK)
        text = fitted(plain(line), height, sheet.width - 2 * MARGIN)
        draw.text((MARGIN, at), text, ink, font(height))
    for k, head in enumerate(heads):
        middle = top + SPACE + k * (tile + SPACE) + tile / 2
        draw.text((left - MARGIN, middle), head, canvas.INK, font(size), anchor="rm")
    return sheet


def _grid(count: int) -> list[list[int]]:
    """The rows of a grid, about as many as there are columns."""
    shown = min(count, MOST)
    columns = math.ceil(math.sqrt(shown))
    return [list(range(k, min(k + columns, shown))) for k in range(0, shown, columns)]


def _of_class(y: Tensor, label: int) -> list[int]:
    found: list[int] = (y == label).nonzero().flatten()[:ACROSS].tolist()
    return found


def _left_out(count: int, rows: list[list[int]], classes: int) -> list[str]:
    """A line on what is not shown, if anything."""
    shown = sum(map(len, rows))
    if shown == count:
        return []
    if not classes:
        return [f"the first {shown} of {count}"]
    some = f", the first {len(rows)} of {classes} rows" if len(rows) < classes else ""
    return [f"the first {max(map(len, rows))} of each row{some}"]


def _filled(x: Tensor, rows: list[list[int]], columns: int) -> Tensor:
    """The images row after row, with white ones where a row is short."""
    place = torch.tensor([row + [-1] * (columns - len(row)) for row in rows]).flatten()
    images = x.detach().cpu()[place]
    return images.where((place >= 0).view(-1, 1, 1, 1), torch.ones((), dtype=x.dtype))


def _scale(x: Tensor, rows: int, columns: int) -> int:
    """Screen pixels per pixel: 64 for an image at least, and more until a side is full."""
    height, width = x.shape[2:]
    least = max(1, round(SIDE / max(height, width)))
    full = math.ceil((canvas.WIDTH - SPACE) / columns - SPACE), HEIGHT // rows - SPACE
    return max(least, min(math.ceil(full[0] / width), full[1] // height))
