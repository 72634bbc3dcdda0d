"""Paths: trajectories from the prior to the data."""

from __future__ import annotations

import torch

from diffode.fields.affine import AffineField
from diffode.viz.kinds import USUAL
from diffode.viz.marks import behind, frame, tall
from diffode.viz.scene import Scene
from diffode.viz.text import ALPHA, SIGMA, several
from diffode.viz.theme import page
from diffode.viz.trajectories import by_angle, plot_lines

LINES, STEPS = USUAL["paths"][1], 100


def draw(scene: Scene) -> bytes:
    r"""Lines of points that are moved by the field, with a ring at the start and a dot at the end.

    States are divided by :math:`\sqrt{\alpha^2 + \sigma^2 / s^2}`, see `diffode.viz.scene`.
    """
    scene.require_flow("--kind paths")
    scene.require_points("--kind paths", "--kind strip draws images on their way")
    drawn = scene.flow(LINES, STEPS)
    assert drawn.path is not None  # asked for
    plane, scale = scene.plane, scene.scale(drawn.times)
    states = plane.flat(drawn.path.double().flatten(2) / scale.view(-1, 1, 1))
    under = None if scene.behind is None else plane.flat(scene.behind)
    affine = isinstance(scene.field, AffineField)
    count, spent = several(states.shape[1], "path"), several(drawn.nfe, "evaluation")
    said = f"{count}, {spent} each, seed {scene.seed}"
    said += f"; shown divided by √({ALPHA}²+{SIGMA}²/s²), which is 1 at the data" if affine else ""
    seen = torch.cat((states[[0, -1]].flatten(0, 1), *([] if under is None else [under])))
    with page(scene.title, said, height=tall(seen), dark=scene.dark) as made:
        theme = made.theme
        (axes,) = made.panels(1, 1)
        if states.shape[2] == 1:
            progress = torch.linspace(0, 1, len(states)).numpy()
            ends = states[-1, :, 0]
            order = ((ends - ends.min()) / (ends.max() - ends.min()).clamp_min(1e-12)).tolist()
            from matplotlib import colormaps

            for k, place in enumerate(order):
                colour = colormaps["viridis"](0.05 + 0.85 * place)
                axes.plot(progress, states[:, k, 0].numpy(), color=colour, lw=1.2, alpha=0.7)
            axes.set(xlim=(0, 1), xlabel="steps of the solver, from prior to data")
            axes.set_ylabel(scene.named(0))
            return made.bytes(scene.form)
        frame(axes, seen)
        behind(axes, theme, under)
        plot_lines(axes, states, by_angle(states[-1]), alpha=0.55)
        axes.set(xlabel=scene.named(0), ylabel=scene.named(1))
        note = "ring: start, from the prior\ndot: end, at the data"
        note += "" if under is None else "\ngrey: data"
        axes.text(1.03, 0.98, note, transform=axes.transAxes, va="top", color=theme.grey)
        return made.bytes(scene.form)
