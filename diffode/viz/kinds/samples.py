"""Samples: points over the data, or images in rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.viz import canvas
from diffode.viz.kinds import USUAL
from diffode.viz.marks import behind, bins, frame, legend, scatter, tall, tiles
from diffode.viz.scene import Scene
from diffode.viz.text import class_name, several
from diffode.viz.theme import page
from diffode.viz.units import name_axes

IMAGES, POINTS = USUAL["samples"]
ROW, ACROSS, DOWN = 15, 40, 40  # images in a row, usually and at most, and rows at most


def draw(scene: Scene) -> bytes:
    """Samples of the field."""
    scene.require_numbers("samples")
    if scene.images:
        scene.require_few(scene.count(IMAGES), ACROSS * DOWN)
        scene.require_few(len(set([] if scene.y is None else scene.y.tolist())), DOWN, "classes")
    drawn = scene.ends(IMAGES if scene.images else POINTS)
    x, y = drawn.x, scene.y
    spent = several(drawn.nfe, "evaluation")
    said = f"{several(len(x), 'sample')}, {spent} each, seed {scene.seed}; nothing selected"
    if scene.images:
        return _images(scene, x, y, said)
    return _points(scene, x.double().flatten(1), y, said)


def _points(scene: Scene, x: Tensor, y: Tensor | None, said: str) -> bytes:
    plane = scene.plane
    shown = plane.flat(x)
    under = None if scene.behind is None else plane.flat(scene.behind)
    seen = shown if under is None else under
    with page(scene.title, said, height=tall(seen), dark=scene.dark) as made:
        (axes,) = made.panels(1, 1)
        if shown.shape[1] == 1:
            both = shown if under is None else torch.cat((shown, under))
            middle, half = canvas.box(both)
            ends = float(middle) - half, float(middle) + half
            axes.hist(shown[:, 0].numpy(), bins(len(shown)), range=ends, density=True,
                      color=made.theme.accent, label="samples")  # fmt: skip
            if under is not None:
                axes.hist(
                    under[:, 0].numpy(), bins(len(under)), range=ends, density=True,
                    histtype="step", linewidth=3, color=made.theme.ink, label="data",
                )  # fmt: skip
                axes.legend()
            name_axes(scene, axes, "x")
            axes.set(ylabel="density")
            if scene.field.scaling is not None:  # its numbers would be of other units
                axes.set(yticks=[])
            return made.bytes(scene.form)
        frame(axes, seen)
        behind(axes, made.theme, under)
        scatter(axes, made.theme, shown, y)
        name_axes(scene, axes, "x", "y")
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
    most = ROW if count <= ROW**2 else ACROSS
    usual = min(most, math.ceil(math.sqrt(2 * count)))
    return next((k for k in range(usual, min(most, usual + 3)) if count % k == 0), usual)
