r"""The tour: three generative models side by side in one picture, without training.

The fields are exact: the velocity of a data set known point by point, for Student-t noise with
one degree of freedom (Poisson) and for normal noise (VP, rectified flow). All three start from
one draw and pass the same noise levels :math:`\rho = \sigma / \alpha`, each on its own clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from diffode.data import load
from diffode.data.source import whole
from diffode.fields import VP, AffineField, Empirical, Karras, PoissonField, Rectified
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver
from diffode.viz import canvas
from diffode.viz.images import GAP, grid_pixels
from diffode.viz.trajectories import by_angle, plot_lines, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1600, 1352
PANEL, MARGIN, LEADING, TEXT = 494, 34, 36, 26  # pixels; no text is smaller
LINES, POINTS = 160, 1000
ROWS = (23, 25, 16, 31)  # of the draw, for digits: with seed 0 they end at four classes
TOP = 6  # rho falls from 2^6, in eight steps an octave
COLUMNS = [0, *(1 + 8 * (TOP - k) for k in (1, 0, -1, -2)), -1]  # rho = 2, 1, 1/2, 1/4 inside


class Model(NamedTuple):
    """A column of the picture: a name, a clock, the exact field of data, and its path."""

    name: str
    clock: str
    field: Callable[[Tensor], AffineField]
    path: str


MODELS = (
    Model(
        "Poisson flow",
        r"$\sigma$",
        lambda x: PoissonField(Empirical(x, Karras(), StudentT(1))),
        r"$x_\sigma = x_0 + \sigma n$,  $n$ Student-t",
    ),
    Model(
        "Diffusion (VP)",
        "$t$",
        lambda x: Empirical(x, VP()),
        r"$x_t = \alpha_t x_0 + \sigma_t n$,  $n$ normal",
    ),
    Model(
        "Rectified flow",
        "$t$",
        lambda x: Empirical(x, Rectified()),
        r"$x_t = (1 - t)\, x_0 + t\, n$,  $n$ normal",
    ),
)
INTRODUCTION = (
    "$dx/dt = f_t(x)$, from noise to data. The fields are exact (no training), and all three "
    "start from one draw."
)
ABOUT_LINES = (
    "Eight Gaussians: a line carries a point of the prior (ring) to the data (dot). Poisson:\n"
    r"states over $(1 + \sigma^2 / s^2)^{1/2}$, $s$ the data's spread; the rim of the prior is "
    "dashed."
)
ABOUT_DIGITS = (
    r"Digits, each on its own clock; inside, columns share $\sigma / \alpha$ = 2, 1, 1/2, 1/4. "
    "The same noise becomes the same\ndigit under VP and rectified flow: for one law of noise "
    "every path is one ODE on another clock."
)


def tour(path: str | Path, seed: int = 0) -> Path:
    """Draw the tour into a PNG file, in a few seconds: eight Gaussians above, digits below.

    Arguments:
        path: where to write.
        seed: of the draw that all three models start from.
    """
    plane = load("eight-gaussians").train[:POINTS]
    plane = plane / plane.std()  # s = 1
    digits = whole(load("digits").train)
    drawn = canvas.figure(WIDTH, HEIGHT)
    write(drawn, 62, "A generative model is a prior moved by a velocity", 40, weight="bold")
    write(drawn, 112, INTRODUCTION)
    for k, model in enumerate(MODELS):
        left = MARGIN + k * (WIDTH - 2 * MARGIN - PANEL) // 2
        write(drawn, 180, model.name, 32, left, weight="bold")
        write(drawn, 222, model.path, TEXT, left)
        lines(drawn, left, 246, model.field(plane), plane, seed)
        strips(drawn, left, 854, model, model.field(digits), seed)
    write(drawn, 780, ABOUT_LINES, colour=canvas.GREY)
    write(drawn, 1284, ABOUT_DIGITS, colour=canvas.GREY)
    canvas.save(drawn, path)
    return Path(path)


def flow(field: AffineField, rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Times (T,) and states (T, B, *event) of rows of a draw; the last states are denoised."""
    ends = torch.tensor(field.span, dtype=torch.float64)
    bottom = field.schedule.rho(ends[1]).log2().item()
    rho = 2.0 ** torch.arange(TOP, bottom, -1 / 8, dtype=torch.float64)
    times = torch.cat((ends[:1], field.schedule.time(rho), ends[1:]))
    start = field.start(len(rows), Rng(seed).rows(rows))
    assert isinstance(start.field, AffineField)
    with torch.no_grad():
        path = get_solver("ddim")(start.field, start.x, times, path=True).path
        assert path is not None  # asked for
        path[-1] = start.field.denoise(path[-1], times[-1])
    return times, shown(field, path, times) if isinstance(field, PoissonField) else path


def lines(drawn: Figure, left: int, top: int, field: AffineField, data: Tensor, seed: int) -> None:
    """Draw the trajectories of points in the plane, over the data."""
    _, states = flow(field, torch.arange(LINES), seed)
    ax = drawn.add_axes(_place(left, top, PANEL, PANEL))
    canvas.plane(ax, torch.zeros(2), 2.5)
    x, y = data.T.numpy()
    ax.scatter(x, y, s=5, color=canvas.PALE, linewidths=0)
    if isinstance(field, PoissonField):
        angle = torch.linspace(0, 2 * math.pi, 200)
        x, y = math.sqrt(3) * angle.cos(), math.sqrt(3) * angle.sin()  # sqrt(N + D)
        ax.plot(x, y, "--", color=canvas.GREY, linewidth=0.7, alpha=0.7)
    plot_lines(ax, states, by_angle(states[-1]))


def strips(
    drawn: Figure, left: int, top: int, model: Model, field: AffineField, seed: int
) -> None:
    """Draw digits on their way, a row for each, with the model's clock underneath."""
    times, states = flow(field, torch.tensor(ROWS), seed)
    pixels = grid_pixels(states[COLUMNS].transpose(0, 1).flatten(0, 1), len(COLUMNS), scale=10)
    height, width = pixels.shape[:2]
    ax = drawn.add_axes(_place(left, top, width, height))
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    ax.axis("off")
    for k, t in enumerate(times[COLUMNS].tolist()):
        label = f"{t:.2g}".removeprefix("0") if k else f"{model.clock} = {t:.2g}"
        place = GAP + (k + 0.5) * (width - GAP) / len(COLUMNS), height + 30
        ax.text(*place, label, ha="center", size=TEXT * 72 / canvas.DPI, color=canvas.GREY)


def write(
    drawn: Figure,
    top: int,
    text: str,
    size: int = TEXT,
    left: int = MARGIN,
    colour: str = canvas.INK,
    weight: str = "normal",
) -> None:
    """Write lines of text; sizes and places in pixels, from the figure's top left corner."""
    for k, line in enumerate(text.split("\n")):
        x, y = left / WIDTH, 1 - (top + LEADING * k) / HEIGHT
        drawn.text(x, y, line, size=size * 72 / canvas.DPI, color=colour, weight=weight)


def _place(left: int, top: int, width: int, height: int) -> tuple[float, float, float, float]:
    """A box in pixels from the top left, as matplotlib's fractions from the bottom left."""
    return left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT
