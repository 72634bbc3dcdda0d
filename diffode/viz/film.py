"""Films: samples on their way from the prior to the data, or the law that they follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.solvers import grid
from diffode.viz import canvas
from diffode.viz.clocks import factor, when
from diffode.viz.encoders import Frame, encoder_for
from diffode.viz.kinds import USUAL
from diffode.viz.kinds.section import DEPTH, shades
from diffode.viz.marks import bins, scatter
from diffode.viz.marks import frame as fit
from diffode.viz.scene import Scene, View
from diffode.viz.sections import law_of, mesh
from diffode.viz.theme import Page, page
from diffode.viz.trajectories import by_angle

__all__ = ["encoder_for", "film"]

WIDTH, HEIGHT = 1280, 960  # pixels
IMAGES, POINTS = USUAL["film"]
SIDE = 96  # cells of a side of a density
ACROSS, MOST = 8, 400  # images in a row, usually, and images, at most


@dataclass(frozen=True)
class _Shot:
    """What changes from frame to frame: how many there are, their times, and how one is set."""

    times: list[float]
    show: Callable[[int], None]


def film(
    scene: Scene,
    path: str | Path,
    *,
    frames: int = 60,
    fps: float = 20.0,
    density: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    r"""Write a film, 1,280 pixels wide, and return how many frames it has.

    The frames of a field with noise are even in the angle :math:`\arctan(\sigma / (\alpha s))`, s
    the data's standard deviation, and each is a state of the solver. States are shown divided by
    :math:`\sqrt{\alpha^2 + \sigma^2 / s^2}`. The first frame is held for half a second, the last
    for two.

    Arguments:
        scene: what is shown, see `diffode.viz.scene.Scene`.
        path: a .gif, .webp or .mp4 file; the last needs the program ffmpeg.
        frames: how many, at most: a field that moves in stages of its own has as many as those.
        fps: frames a second.
        density: show the log-density of points with one or two numbers, not samples.
        progress: called with how many frames are done, and of how many.

    Raises:
        ValueError: a field that is not shown so, another ending, or no ffmpeg.
    """
    encode = encoder_for(path)
    scene.require_flow("a film")
    kind = "density" if density else "samples"
    note = f"{kind} on the way to the data, seed {scene.seed}" if not density else (
        "log-density on the way to the data"
    )  # fmt: skip
    with page(
        scene.title,
        note + (scene.units if density else ""),
        width=WIDTH,
        height=HEIGHT,
        dark=scene.dark,
    ) as made:
        shot = (_law if density else _images if scene.images else _points)(scene, made, frames)
        clock = made.figure.text(
            0.5, 0.02, "", ha="center", va="bottom", size=22, family="monospace"
        )
        shot.show(0)  # with the names of its axes, which need room
        made.lay_out()
        count = len(shot.times)

        def drawn(k: int) -> Frame:
            shot.show(k)
            clock.set_text(when(scene.field, shot.times[k], "   "))
            if progress is not None:
                progress(k + 1, count)
            return made.pixels()

        encode(path, count, drawn, fps)
    return count


def _flow(scene: Scene, usual: int, frames: int) -> tuple[list[float], Tensor]:
    """The times of the frames, and the states of the samples (T, B, *event), as they are shown."""
    if scene.field.sampling_defaults is None:
        more = {"grid": "theta"} if isinstance(scene.field, AffineField) else {}
        scene = replace(scene, moves={**more, **scene.moves})
        drawn = scene.flow(usual, frames - 1)
    else:
        drawn = scene.flow(usual)
    assert drawn.path is not None  # asked for
    count = len(drawn.times)
    places = sorted(
        set(np.linspace(0, count - 1, min(frames, count)).round().astype(int).tolist())
    )
    times, path = drawn.times[places].double(), drawn.path[places].double()
    return times.tolist(), path / scene.scale(times).view(-1, *[1] * (path.ndim - 1))


def _points(scene: Scene, made: Page, frames: int) -> _Shot:
    """Points over the data, which are seen times alpha, as the points are."""
    times, states = _flow(scene, POINTS, frames)
    flat = scene.plane.flat(states.flatten(2))
    under = None if scene.behind is None else scene.plane.flat(scene.behind)
    (axes,) = made.panels(1, 1)
    made.margin(bottom=60)
    if flat.shape[2] == 1:
        middle, half = canvas.box(flat[[0, -1]].flatten(0, 1))
        a, b = float(middle) - 1.2 * half, float(middle) + 1.2 * half
        edges = np.linspace(a, b, bins(flat.shape[1]) + 1)
        top = max(np.histogram(x[:, 0].numpy(), edges, density=True)[0].max() for x in flat)

        def heights(k: int) -> None:
            axes.clear()
            axes.hist(flat[k, :, 0].numpy(), edges.tolist(), density=True, color=made.theme.accent)
            axes.set(xlabel=scene.named(0), ylabel="density", ylim=(0, 1.05 * top), yticks=[])

        return _Shot(times, heights)
    data = axes.scatter([], [], s=6, color=made.theme.pale, linewidths=0, zorder=0)
    both = [flat[[0, -1]].flatten(0, 1), *([] if under is None else [under])]
    fit(axes, torch.cat(both))
    colours = None if scene.y is not None else by_angle(flat[-1])
    scatter(axes, made.theme, flat[0], scene.y, colours)
    dots = axes.collections[-1]
    axes.set(xlabel=scene.named(0), ylabel=scene.named(1))
    scale = scene.scale(torch.tensor(times)).tolist()

    def places(k: int) -> None:
        dots.set_offsets(flat[k].numpy())
        if under is not None:
            data.set_offsets((factor(scene.field, times[k]) / scale[k] * under).numpy())

    return _Shot(times, places)


def _images(scene: Scene, made: Page, frames: int) -> _Shot:
    """A sheet of images."""
    scene.require_few(scene.count(IMAGES), MOST)
    times, states = _flow(scene, IMAGES, frames)
    sheet = _sheet(scene, states[0], made)
    (axes,) = made.panels(1, 1)
    made.margin(bottom=60)
    axes.axis("off")
    shown = axes.imshow(sheet)
    return _Shot(times, lambda k: shown.set_data(_sheet(scene, states[k], made)))


def _sheet(scene: Scene, x: Tensor, made: Page) -> NDArray[np.uint8]:
    """Images in rows on the page's colour, (H, W, 3)."""
    images = (x.float() if scene.seen is None else scene.seen(x.float())).clamp(-1, 1)
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
    pixels = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels
    enlarge = max(1, 64 // pixels.shape[1])
    pixels = pixels.repeat(enlarge, 1).repeat(enlarge, 2)
    count, height, width, _ = pixels.shape
    across = ACROSS if count <= 6 * ACROSS else math.ceil((count * WIDTH / HEIGHT) ** 0.5)
    across, gap = min(across, count), max(2, width // 16)
    paper = [int(made.theme.paper[k : k + 2], 16) for k in (1, 3, 5)]
    size = -(-count // across) * (height + gap), across * (width + gap), 3
    sheet = np.full(size, paper, np.uint8)
    for k, image in enumerate(pixels):
        top, left = k // across * (height + gap), k % across * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def _law(scene: Scene, made: Page, frames: int) -> _Shot:
    """The log-density, in the view of each time."""
    scene.require_points("--density", "leave --density away", 2)
    law = law_of(scene)
    if law is None:
        raise ValueError(f"the density of {scene.title} is not known; leave --density away")
    kind = "theta" if isinstance(scene.field, AffineField) else "native"
    times = grid(scene.field, frames - 1, kind).double().tolist()
    (axes,) = made.panels(1, 1)
    made.margin(bottom=60)
    line = len(scene.plane.axes) == 1

    def values(k: int) -> tuple[View, Tensor, Tensor]:
        view = scene.view(times[k])
        x = mesh(view.centre, view.half, 4 * SIDE if line else SIDE)
        return view, x, law(scene.plane.points(x), times[k])

    def curve(k: int) -> None:
        view, x, log = values(k)
        axes.clear()
        scale = float(scene.scale(torch.tensor(times[k : k + 1])))
        a = (x[:, 0] - view.centre[0]).numpy() / scale
        axes.fill_between(a, (log - log.max()).exp().numpy(), color=made.theme.accent)
        axes.set(ylim=(0, 1.05), xlabel=f"{scene.named(0)}, about the middle, in the data's scale",
                 ylabel="density over its largest")  # fmt: skip

    if line:
        return _Shot(times, curve)
    image = axes.imshow(
        np.zeros((SIDE, SIDE)), cmap=made.theme.heat, vmin=-DEPTH, vmax=0, origin="lower",
        interpolation="bilinear",
    )  # fmt: skip
    axes.set(xticks=[], yticks=[])

    def shade(k: int) -> None:
        image.set_data(shades(values(k)[2]).view(SIDE, SIDE).numpy())

    return _Shot(times, shade)
