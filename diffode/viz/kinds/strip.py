"""Strip: samples at several times on their way, from the prior to the data."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.viz.clocks import nearest, times_of, when
from diffode.viz.marks import behind, scatter, square, tiles
from diffode.viz.scene import Scene
from diffode.viz.theme import HEAD, WIDTH, page
from diffode.viz.trajectories import by_angle

POINTS, IMAGES, PANELS = 2000, 12, 5
STEPS = 64


def draw(scene: Scene) -> bytes:
    """Points: a panel for each time, from left to right. Images: a row for each time."""
    scene.require_flow("strip")
    wanted = times_of(scene.field, PANELS, scene.times)
    drawn = scene.flow(IMAGES if scene.images else POINTS, None if scene.images else STEPS)
    assert drawn.path is not None  # asked for
    if scene.times is None:
        ends = drawn.times[[0, -1]].double()
        wanted = torch.cat((ends[:1], wanted[1:-1] if len(wanted) > 3 else wanted, ends[1:]))
    places = nearest(drawn.times, wanted)
    between = ", " if scene.images else "\n"
    heads = [when(scene.field, float(drawn.times[k]), between) for k in places]
    said = f"samples on their way to the data, {drawn.nfe} evaluations each, seed {scene.seed}"
    states = drawn.path[places]
    if scene.images:
        return _images(scene, states, scene.scale(drawn.times[places]), heads, said)
    with page(
        scene.title, said, height=HEAD + 100 + WIDTH // len(places), dark=scene.dark
    ) as made:
        under = None if scene.behind is None else scene.plane.flat(scene.behind)
        row = made.panels(1, len(places))
        colours = None
        for axes, x, k, name in zip(row, states, places, heads, strict=True):
            flat, view = scene.plane.flat(x.double().flatten(1)), scene.view(float(drawn.times[k]))
            if flat.shape[1] == 1:
                axes.hist(flat[:, 0].numpy(), 60, density=True, color=made.theme.accent)
                axes.set(xlabel=scene.named(0), yticks=[])
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
