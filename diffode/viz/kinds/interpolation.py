"""Interpolation: the ways between samples, by their latents."""

from __future__ import annotations

import torch

from diffode.data.scaling import model_units
from diffode.sampling.interpolation import interpolate, random_pairs
from diffode.viz.kinds import USUAL
from diffode.viz.marks import behind, frame, tall, tiles
from diffode.viz.scene import Scene
from diffode.viz.text import several
from diffode.viz.theme import page
from diffode.viz.units import name_axes

EACH = 11, 60  # points of a way between images, and between points
MOST = 40  # pairs


def draw(scene: Scene) -> bytes:
    """Rows of images, or lines of points, each from one random sample to another."""
    scene.require_flow("--kind interpolation")
    points = not scene.images
    pairs, each = scene.count(USUAL["interpolation"][points]), EACH[points]
    scene.require_few(pairs, MOST, "ways")
    a, b = random_pairs(scene.field, pairs, scene.seed)
    told = {"y": scene.y, "progress": scene.telling(pairs * each), "batch": 250, **scene.moves}
    way = interpolate(scene.field, a, b, each, **told)
    x = model_units(way.x, scene.field.scaling).cpu().double()
    said = (
        f"{several(pairs, 'way')} of {each} points between random samples, "
        f"{several(way.nfe, 'evaluation')} each, seed {scene.seed}"
    )
    if scene.images:
        images = x if scene.seen is None else scene.seen(x.float())
        return tiles(
            scene, images, [range(k * each, (k + 1) * each) for k in range(pairs)],
            [""] * pairs, said,
        )  # fmt: skip
    flat = scene.plane.flat(x.flatten(1)).view(pairs, each, -1)
    under = None if scene.behind is None else scene.plane.flat(scene.behind)
    seen = flat.flatten(0, 1) if under is None else under
    with page(scene.title, said, height=tall(seen), dark=scene.dark) as made:
        (axes,) = made.panels(1, 1)
        if flat.shape[2] == 1:
            share = torch.linspace(0, 1, each).numpy()
            for way_ in flat[..., 0]:
                axes.plot(share, way_.numpy(), "o-", lw=2, ms=5)
            axes.set(xlabel="share of the way")
            name_axes(scene, axes, "y")
            return made.bytes(scene.form)
        frame(axes, seen)
        behind(axes, made.theme, under)
        for k, way_ in enumerate(flat):
            colour = made.theme.classes[k % len(made.theme.classes)]
            u, v = way_.T.numpy()
            axes.plot(u, v, "o-", color=colour, lw=1.5, ms=5, alpha=0.9)
            axes.plot(u[[0, -1]], v[[0, -1]], "o", color=colour, ms=13)
        name_axes(scene, axes, "x", "y")
        return made.bytes(scene.form)
