"""Several fields side by side: the paths of one random draw, in a panel for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffode.viz.marks import behind, frame
from diffode.viz.scene import Scene
from diffode.viz.text import several
from diffode.viz.theme import HEAD, WIDTH, page
from diffode.viz.trajectories import by_angle, plot_lines

LINES, STEPS, MOST = 200, 80, 4  # panels at most


def beside(scenes: Sequence[Scene], title: str) -> bytes:
    r"""Paths of points from the prior (ring) to the data (dot), a panel for each scene.

    States of fields with noise are divided by :math:`\sqrt{\alpha^2 + \sigma^2 / s^2}`.

    Arguments:
        scenes: one to four, of points with two numbers or more, with the same data.
        title: of the page.

    Raises:
        ValueError: another number of them, images, or points of one number.
    """
    if not 1 <= len(scenes) <= MOST:
        raise ValueError(f"got {len(scenes)} fields; wanted 1 to {MOST} side by side")
    for scene in scenes:
        scene.require_flow("a tour")
        scene.require_points("a tour", "give data of points")
        if scene.size == 1:
            raise ValueError("got points of one number; wanted two or more side by side")
    plane, first = scenes[0].plane, scenes[0]
    paths = several(first.count(LINES), "path")
    note = f"exact fields, {paths} of one random draw (seed {first.seed})"
    height = HEAD + 120 + (WIDTH - 60) // max(2, len(scenes))
    with page(title, f"{note}; ring: prior, dot: data", height=height, dark=first.dark) as made:
        row = made.panels(1, len(scenes), sharey=True)
        under = None if first.behind is None else plane.flat(first.behind)
        for axes, scene in zip(row, scenes, strict=True):
            drawn = scene.flow(LINES, STEPS)
            assert drawn.path is not None  # asked for
            scale = scene.scale(drawn.times).view(-1, 1, 1)
            states = plane.flat(drawn.path.double().flatten(2) / scale)
            ends = states[[0, -1]].flatten(0, 1)
            frame(axes, ends if under is None else torch.cat((ends, under)))
            behind(axes, made.theme, under)
            plot_lines(axes, states, by_angle(states[-1]), alpha=0.55)
            axes.set_title(scene.title)
        made.figure.supxlabel(first.named(0))
        row[0].set_ylabel(first.named(1))
        return made.bytes(first.form)
