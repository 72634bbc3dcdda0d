"""The picture of docs/learn/gravity.md: field lines of four sources, and what crosses each height.

python scripts/figures/learn_gravity.py
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode.fields import Empirical, Karras, PoissonField
from diffode.priors import StudentT
from diffode.solvers import get_solver, grid
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
SOURCES = torch.tensor([[-3.0], [-1.0], [0.5], [3.5]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.1, 0.4, 0.2], dtype=torch.float64)
COLOURS = (canvas.BLUE, canvas.PINK, canvas.ORANGE, canvas.GREEN)
RADIUS, COUNT, HEIGHTS = 400.0, 40, (0.5, 1.5, 3.5)


def lines(field: Empirical, steps: int) -> tuple[Tensor, Tensor]:
    """Coordinates x and z (T, COUNT) of lines from even angles on a far half circle."""
    angle = (torch.arange(COUNT, dtype=torch.float64) + 0.5) * math.pi / COUNT
    bound = PoissonField(field).bind(angle.sin())
    times = grid(bound, steps, "logsnr")
    start = field.mean + RADIUS * angle.cos()[:, None]
    path = get_solver("heun")(bound, start, times, path=True).path
    return path[..., 0], times[:, None] * angle.sin()


def main(out: Path = HERE, steps: int = 400) -> Path:
    """Write a picture into the folder OUT."""
    field = Empirical(SOURCES, Karras(1e-3, RADIUS), StudentT(1), WEIGHTS)
    x, z = lines(field, steps)
    home = (x[-1, :, None] - SOURCES[:, 0]).abs().argmin(1)
    figure = canvas.figure(1560, 600)
    figure.set_layout_engine("constrained")
    near, far = figure.subplots(1, 2)
    for ax, view in ((near, 6.0), (far, 30.0)):
        for i in range(COUNT):
            ax.plot(x[:, i], z[:, i], color=COLOURS[home[i]], linewidth=1.3, alpha=0.8)
        for y, w, colour in zip(SOURCES, WEIGHTS, COLOURS, strict=True):
            ax.scatter(y, 0, s=6000 * w / view, color=colour, zorder=4, clip_on=False)
        ax.set(xlim=(-view, view), ylim=(0, 1.15 * view), aspect="equal")
        ax.set_xlabel("x, the data's space", fontsize=14)
        ax.set_ylabel("z, the added height", fontsize=14)
        ax.spines[["top", "right"]].set_visible(False)
    across = torch.linspace(-6, 6, 481, dtype=torch.float64)
    for height in HEIGHTS:
        density = field.log_marginal(across[:, None], height).exp()
        near.fill_between(across, height, height + 3.2 * density, color=canvas.GREY, alpha=0.35)
        near.plot(across, height + 3.2 * density, color=canvas.INK, linewidth=1.4, zorder=3)
    mean = float(WEIGHTS @ SOURCES)
    for angle in torch.atan2(z[0], x[0] - mean).tolist():
        far.axline((mean, 0), slope=math.tan(angle), color=canvas.INK, lw=0.7, dashes=(4, 6))
    near.set_title(
        "Near: each source takes its share of the lines;\ngrey: $p_z$, the density of lines",
        size=15,
    )
    far.set_title("Far: the lines of one source\nat the mean of the data (dashed)", size=15)
    return written(figure, out / "gravity.png")


if __name__ == "__main__":
    typer.run(main)
