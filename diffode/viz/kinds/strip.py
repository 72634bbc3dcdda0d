"""Strip: samples at several times on their way, from the prior to the data."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.viz.clocks import PANELS as SIDE_BY_SIDE
from diffode.viz.clocks import nearest, times_of, when
from diffode.viz.kinds import USUAL
from diffode.viz.marks import behind, bins, scatter, square, tiles
from diffode.viz.scene import Scene
from diffode.viz.text import several
from diffode.viz.theme import HEAD, WIDTH, page
from diffode.viz.trajectories import by_angle

IMAGES, POINTS = USUAL["strip"]
PANELS = 5
ACROSS, ROWS = 30, 20  # of images, at most
STEPS = 64


def draw(scene: Scene) -> bytes:
    """Points: a panel for each time, from left to right. Images: a row for each time."""
    scene.require_flow("--kind strip")
    if scene.images:
        scene.require_few(scene.count(IMAGES), ACROSS)
    wanted = times_of(scene.field, PANELS, scene.times, ROWS if scene.images else SIDE_BY_SIDE)
    drawn = scene.flow(IMAGES if scene.images else POINTS, None if scene.images else STEPS)
    assert drawn.path is not None  # asked for
    if scene.times is None:
        ends = drawn.times[[0, -1]].double()
        wanted = torch.cat((ends[:1], wanted[1:-1] if len(wanted) > 3 else wanted, ends[1:]))
    places = nearest(drawn.times, wanted)
    between = ", " if scene.images else "\n"
    heads = [when(scene.field, float(drawn.times[k]), between) for k in places]
    spent = several(drawn.nfe, "evaluation")
    said = f"samples on their way to the data, {spent} each, seed {scene.seed}"
    states = drawn.path[places]
    if scene.images:
        return _images(scene, states, scene.scale(drawn.times[places]), heads, said)
    height = HEAD + 110 + WIDTH // max(2, len(places))
    with page(scene.title, said + scene.units, height=height, dark=scene.dark) as made:
        under = None if scene.behind is None else scene.plane.flat(scene.behind)
        row = made.panels(1, len(places))
        colours = None
        for axes, x, k, name in zip(row, states, places, heads, strict=True):
            flat, view = scene.plane.flat(x.double().flatten(1)), scene.view(float(drawn.times[k]))
            if flat.shape[1] == 1:
                sides = float(view.centre[0]) - view.half, float(view.centre[0]) + view.half
                axes.hist(flat[:, 0].numpy(), bins(len(flat)), range=sides, density=True,
                          color=made.theme.accent)  # fmt: skip
                axes.set(xlabel=scene.plane.labels[0], yticks=[])
                axes.locator_params(nbins=3)
            else:
                if colours is None and scene.y is None:
                    colours = by_angle(scene.plane.flat(states[-1].double().flatten(1)))
                square(axes, view)
                behind(axes, made.theme, None if under is None else view.alpha * under)
                scatter(axes, made.theme, flat, scene.y, colours)
            axes.set_title(name)
        return made.bytes(scene.form)


def _images(scene: Scene, states: Tensor, scale: Tensor, heads: list[str], said: str) -> bytes:
    """A row for each time, divided so that noise has the contrast of the data."""
    shown = (states / scale.to(states).view(-1, 1, *[1] * len(scene.shape))).flatten(0, 1)
    images = shown if scene.seen is None else scene.seen(shown)
    across = states.shape[1]
    rows = [range(k * across, (k + 1) * across) for k in range(len(states))]
    return tiles(scene, images, rows, heads, said)
