"""Loss: what a run logged in metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from diffode.viz.scene import Scene
from diffode.viz.theme import page

BINS = 200  # stretches whose means are drawn
RATIO = 5  # of the largest mean to the least, from which on the axis is logarithmic


def draw(scene: Scene) -> bytes:
    """The loss of each phase over the steps: as logged, and means over stretches."""
    losses = scene.losses or {}
    if not any(steps for steps, _ in losses.values()):
        raise ValueError(
            f"--kind loss draws what a run logged, and {scene.title} has no losses; "
            "give a run directory"
        )
    with page(scene.title, "loss over the steps of training", height=900, dark=scene.dark) as made:
        (axes,) = made.panels(1, 1)
        everything: list[float] = []
        colours = (made.theme.classes[1], made.theme.accent, made.theme.classes[2])
        several = len(losses) > 1
        for colour, (name, (steps, values)) in zip(
            colours * len(losses), losses.items(), strict=False
        ):
            means_at, means = stretches(steps, values)
            axes.plot(steps, values, color=colour, lw=1, alpha=0.25)
            mark = "o" if len(means) == 1 else ""
            axes.plot(means_at, means, color=colour, lw=3, marker=mark, ms=12, label=name)
            everything += means
        if logarithmic(everything):
            axes.set_yscale("log")
            ticks(axes.yaxis)
        axes.set(xlabel="training step", ylabel="loss", xlim=(0, None))
        axes.grid(True, which="major", alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
        if several:
            axes.legend()
        return made.bytes(scene.form)


def stretches(steps: Sequence[int], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Means of steps and of values over stretches, at most 200 of them."""
    size = max(1, math.ceil(len(values) / BINS))
    parts = range(0, len(values), size)
    pairs = [(steps[k : k + size], values[k : k + size]) for k in parts]
    return [sum(s) / len(s) for s, _ in pairs], [sum(v) / len(v) for _, v in pairs]


def logarithmic(values: Sequence[float]) -> bool:
    """Whether values span enough for a logarithmic axis."""
    return min(values) > 0 and max(values) > RATIO * min(values)


def ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda v, _: f"{v:g}")
    axis.set_minor_formatter(NullFormatter())
