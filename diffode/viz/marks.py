"""The marks of which pictures are made: points, the data behind, lines, rows of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffode.inputs import brief
from diffode.viz import canvas
from diffode.viz.images import MAGENTA, require_images
from diffode.viz.scene import Scene, View
from diffode.viz.text import class_name
from diffode.viz.theme import HEAD, TEXT, WIDTH, Theme, class_colours, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TALL = 2400  # pixels that a page of images is high, at most
SPACE = 0.08  # between images, in widths of one


def tall(points: Tensor) -> int:
    """How high a page is for one panel of points (M, N) in equal units, at most 1,000 pixels."""
    if points.shape[1] == 1:
        return 900
    (_, wide), (_, high) = _sides(points)
    return HEAD + 102 + min(770, round(1240 * high / wide))


def _sides(points: Tensor) -> list[tuple[float, float]]:
    """The middle and half the width of a view across and upwards, no flatter than 1 to 2."""
    parts = [canvas.box(points[:, k : k + 1]) for k in (0, 1)]
    least = max(half for _, half in parts) / 2
    return [(float(middle), max(half, least)) for middle, half in parts]


def frame(axes: Axes, points: Tensor) -> None:
    """Equal units on a view of all but the far tails of points (M, 2), no flatter than 1 to 2."""
    (a, wide), (b, high) = _sides(points)
    axes.set(xlim=(a - wide, a + wide), ylim=(b - high, b + high))
    axes.set_aspect("equal")
    axes.locator_params(nbins=6)


def square(axes: Axes, view: View) -> tuple[float, float, float, float]:
    """Equal units on a square; its sides."""
    (a, b), half = view.centre.tolist(), view.half
    axes.set(xlim=(a - half, a + half), ylim=(b - half, b + half), aspect="equal")
    axes.locator_params(nbins=3)
    return a - half, a + half, b - half, b + half


def behind(axes: Axes, theme: Theme, points: Tensor | None) -> None:
    """The data, light and behind all else."""
    if points is not None:
        x, y = points.T.numpy()
        axes.scatter(x, y, s=point_size(len(points)), color=theme.pale, linewidths=0, zorder=0,
                     rasterized=True)  # fmt: skip


def scatter(
    axes: Axes,
    theme: Theme,
    points: Tensor,
    y: Tensor | None = None,
    each: NDArray[np.float64] | None = None,
) -> None:
    """Points (n, 2), each class in its colour where they are few; else in those given, (n, 3)."""
    colours: object = theme.accent if each is None else each
    if y is not None:
        classes = sorted(set(y.tolist()))
        if (known := class_colours(theme, len(classes))) is not None:
            by = dict(zip(classes, known, strict=False))
            colours = [by[k] for k in y.tolist()]
    a, b = points.T.numpy()
    axes.scatter(a, b, s=point_size(len(points)), c=colours, alpha=0.75, linewidths=0,
                 rasterized=len(points) > 5000)  # fmt: skip


def point_size(count: int) -> float:
    """The area of a dot of so many, in square points."""
    return float(max(3.0, 160 * max(1, count) ** -0.35))


def bins(count: int) -> int:
    """How many bins so many numbers have in a histogram."""
    return max(10, min(80, round(2 * math.sqrt(count))))


def legend(axes: Axes, theme: Theme, y: Tensor | None, names: Sequence[str], data: bool) -> None:
    """What the colours stand for, beside the axes."""
    from matplotlib.lines import Line2D

    rows = [("data", theme.pale)] if data else []
    classes = [] if y is None else sorted(set(y.tolist()))
    colours = class_colours(theme, len(classes))
    if classes and colours is not None:
        rows += [
            (brief(class_name(k, names), 24), c) for k, c in zip(classes, colours, strict=False)
        ]
    else:
        rows.append(("samples", theme.accent))
    dots = [Line2D([], [], color=c, marker="o", markersize=10, linestyle="") for _, c in rows]
    made = axes.legend(dots, [name for name, _ in rows], loc="upper left", bbox_to_anchor=(1, 1))
    for text in made.get_texts():
        text.set_parse_math(False)


def tiles(
    scene: Scene, x: Tensor, rows: Sequence[Sequence[int]], heads: Sequence[str], note: str
) -> bytes:
    """A page of images in rows, each with a head in front.

    Arguments:
        scene: what is drawn.
        x: images (B, 1 or 3, H, W) in [-1, 1].
        rows: which images each row has.
        heads: what stands in front of each row.
        note: below the title.
    """
    require_images(x)
    x = x.detach().cpu().float()
    bad = x.isnan().any(1, keepdim=True)
    x = torch.where(bad, MAGENTA, x) if bool(bad.any()) else x
    pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1).numpy()
    pixels = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels
    across, ratio = max(map(len, rows)), x.shape[2] / x.shape[3]
    left = 0.0 if not any(heads) else 17.0 * (1 + max(len(brief(head, 30)) for head in heads))
    left = min(left, WIDTH / 3)
    cell = min((WIDTH - left - 48) / across, (TALL - HEAD - 24) / (len(rows) * ratio))
    height = math.ceil(HEAD + 24 + cell * ratio * len(rows))
    with page(scene.title, note, height=height, dark=scene.dark) as made:
        made.figure.set_layout_engine("none")
        wide = (WIDTH - left - 48) / cell
        tall = (height - HEAD - 24) / cell
        axes = made.figure.add_axes(
            ((left + 24) / WIDTH, 24 / height, (WIDTH - left - 48) / WIDTH,
             (height - HEAD - 24) / height)
        )  # fmt: skip
        for k, row in enumerate(rows):
            for i, index in enumerate(row):
                extent = (i, i + 1 - SPACE, (k + 1 - SPACE) * ratio, k * ratio)
                axes.imshow(pixels[index], extent=extent, aspect="auto")
            at = (-0.1, (k + 0.5) * ratio)
            axes.text(
                *at, brief(heads[k], 30), ha="right", va="center", size=TEXT, parse_math=False
            )
        axes.set(xlim=(0, wide), ylim=(tall, 0))
        axes.axis("off")
        return made.bytes(scene.form)
