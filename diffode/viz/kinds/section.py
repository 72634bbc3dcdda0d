"""Section: a cut through the field, its velocity and, where it is known, its log-density."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffode.viz.clocks import times_of, when
from diffode.viz.marks import square
from diffode.viz.scene import Scene, View
from diffode.viz.sections import Law, law_of, mesh, velocities
from diffode.viz.theme import HEAD, WIDTH, Page, page

PANELS, SIDE, LINE = 3, 90, 400
DEPTH = 8.0  # nats below the largest value that are told apart


def draw(scene: Scene) -> bytes:
    """A line or a plane through the mean of the data, at several times.

    On a line: the velocity along it, and the density. On a plane: the speed along it, and the
    log-density.
    """
    scene.require_flow("--kind section")
    times = times_of(scene.field, PANELS, scene.times).tolist()
    law, line = law_of(scene), len(scene.plane.axes) == 1
    rows, columns = 1 if law is None else 2, len(times)
    height = HEAD + rows * (400 if line else (WIDTH - 160) // columns) + 115
    kind = "line" if line else "plane"
    cut = "" if scene.plane.whole else f" on a {kind} through the mean of the data"
    note = f"velocity and density{cut}" if law else f"velocity{cut}"
    with page(scene.title, note + scene.units, height=height, dark=scene.dark) as made:
        panels = made.panels(rows, columns)
        for k, t in enumerate(times):
            (_line if line else _plane)(scene, made, panels[k::columns], t, law)
            panels[k].set_title(when(scene.field, t))
        panels[0].set_ylabel("velocity" if line else "speed, own scale each")
        if law is not None:
            panels[columns].set_ylabel("density" if line else f"log p, {DEPTH:g} nats deep")
        return made.bytes(scene.form)


def _cut(scene: Scene, t: float, side: int) -> tuple[View, Tensor, Tensor, Tensor]:
    """The view of a time, the coordinates of its cells, their points, and the velocities there."""
    view = scene.view(t)
    x = mesh(view.centre, view.half, side)
    points = scene.plane.points(x, 1.0 if scene.plane.whole else view.alpha)
    return view, x, points, scene.plane.along(velocities(scene, points, t))


def _line(scene: Scene, made: Page, panels: list[Any], t: float, law: Law | None) -> None:
    _, x, points, v = _cut(scene, t, LINE)
    a = x[:, 0].numpy()
    panels[0].axhline(0, color=made.theme.pale, lw=1)
    panels[0].plot(a, v[:, 0].numpy(), color=made.theme.accent, lw=3)
    if law is not None:
        log = law(points, t)
        panels[1].plot(a, (log - log.max()).exp().numpy(), color=made.theme.accent, lw=3)
        panels[1].set(ylim=(0, None))
    for axes in panels:
        axes.set_xlabel(scene.plane.labels[0])
        axes.locator_params(axis="x", nbins=4)


def _plane(scene: Scene, made: Page, panels: list[Any], t: float, law: Law | None) -> None:
    view, _, points, v = _cut(scene, t, SIDE)
    speed = v.square().sum(1).sqrt().view(SIDE, SIDE)
    box = square(panels[0], view)
    drawn = {"extent": box, "origin": "lower", "interpolation": "bilinear"}
    panels[0].imshow(speed.numpy(), cmap="viridis", **drawn)
    if law is not None:
        square(panels[1], view)
        shade = shades(law(points, t)).view(SIDE, SIDE)
        panels[1].imshow(shade.numpy(), cmap=made.theme.heat, vmin=-DEPTH, vmax=0, **drawn)


def shades(log: Tensor, depth: float = DEPTH) -> Tensor:
    """Log-densities as nats below the largest of them, cut where they are too low."""
    finite = log[log.isfinite()]
    if not len(finite):
        raise ValueError("the log-density is finite nowhere in view; give other --times")
    return torch.nan_to_num(log - finite.max(), -depth).clamp_min(-depth)
