"""Samples: points over the data, or images in rows."""

from __future__ import annotations

import math

from torch import Tensor

from diffode.viz.marks import behind, frame, legend, scatter, tiles
from diffode.viz.scene import Scene
from diffode.viz.text import class_name
from diffode.viz.theme import page

IMAGES, POINTS = 60, 2000
ACROSS = 15  # images in a row


def draw(scene: Scene) -> bytes:
    """Samples of the field."""
    scene.require_numbers("samples")
    drawn = scene.ends(IMAGES if scene.images else POINTS)
    x, y = drawn.x, scene.y
    said = f"{len(x):,} samples, {drawn.nfe} evaluations each, seed {scene.seed}; nothing selected"
    if scene.images:
        return _images(scene, x, y, said)
    return _points(scene, x.double().flatten(1), y, said)


def _points(scene: Scene, x: Tensor, y: Tensor | None, said: str) -> bytes:
    plane = scene.plane
    shown = plane.flat(x)
    under = None if scene.behind is None else plane.flat(scene.behind)
    with page(scene.title, said, height=1000, dark=scene.dark) as made:
        (axes,) = made.panels(1, 1)
        if shown.shape[1] == 1:
            axes.hist(shown[:, 0].numpy(), 80, density=True, color=made.theme.accent)
            if under is not None:
                axes.hist(
                    under[:, 0].numpy(), 80, density=True, histtype="step", linewidth=2,
                    color=made.theme.ink, label="data",
                )  # fmt: skip
                axes.legend()
            axes.set(xlabel=scene.named(0), ylabel="density")
            return made.bytes(scene.form)
        frame(axes, under if under is not None else shown)
        behind(axes, made.theme, under)
        scatter(axes, made.theme, shown, y)
        axes.set(xlabel=scene.named(0), ylabel=scene.named(1))
        legend(axes, made.theme, y, scene.names, under is not None)
        return made.bytes(scene.form)


def _images(scene: Scene, x: Tensor, y: Tensor | None, said: str) -> bytes:
    images = x if scene.seen is None else scene.seen(x)
    if y is None:
        across = _across(len(images))
        rows = [
            list(range(k, min(k + across, len(images)))) for k in range(0, len(images), across)
        ]
        heads = [""] * len(rows)
    else:
        classes = sorted(set(y.tolist()))
        rows = [(y == k).nonzero().flatten().tolist() for k in classes]
        heads = [class_name(k, scene.names) for k in classes]
    return tiles(scene, images, rows, heads, said)


def _across(count: int) -> int:
    """How many images a row has: rows that are full, where that is near twice as many as rows."""
    usual = min(ACROSS, math.ceil(math.sqrt(2 * count)))
    return next((k for k in range(usual, min(ACROSS, usual + 3)) if count % k == 0), usual)
