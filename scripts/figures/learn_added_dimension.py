"""The picture of docs/learn/added-dimension.md: collapse in the plane, none with a dimension more.

python scripts/figures/learn_added_dimension.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode import Rng
from diffode.fields import Field, Karras, Mixture
from diffode.priors import Normal, StudentT
from diffode.solvers import get_solver, grid
from diffode.viz import canvas
from diffode.viz.trajectories import by_angle, plot_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parents[2] / "docs/learn"
MEANS = torch.tensor([[-1.2, -0.8], [1.4, -0.5], [0.0, 1.2]], dtype=torch.float64)
WIDTH, HEIGHT = 0.35, 3.0
COLOURS = (canvas.BLUE, canvas.ORANGE, canvas.GREEN, canvas.INK)


class InPlane(Field):
    """Down the field of three Gaussians in their own plane: N = 2, no dimension added."""

    prior, span, event_shape = None, (0.0, 12.0), (2,)

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """By the shell theorem: the mass nearer than x to a mean, as if it were at the mean."""
        apart = x[:, None] - MEANS
        r2 = apart.square().sum(-1, keepdim=True)
        inside = -torch.expm1(-r2 / (2 * WIDTH**2))
        faster = 0.2 + x.square().sum(1, keepdim=True)  # the same lines
        return -faster * (apart / r2 * inside).mean(1)


def kernels(ax: Axes) -> None:
    """The densities of Student's laws in the plane, along a line through their middle."""
    r = torch.linspace(0, 7, 400, dtype=torch.float64)
    points = torch.stack((r, 0 * r), 1)
    laws = {"D = 1, PFGM": 1.0, "D = 4": 4.0, "D = 16": 16.0, "D infinite, diffusion": None}
    styles = ("-", "--", "-.", ":")
    for (name, dof), colour, style in zip(laws.items(), COLOURS, styles, strict=True):
        law = StudentT(dof) if dof else Normal()
        ax.semilogy(r, law.log_prob(points).exp(), style, color=colour, lw=2.5, label=name)
    ax.set(ylim=(1e-7, 0.5), xlim=(0, 7))
    ax.set_xlabel("distance from the data point, in sigma", fontsize=13)
    ax.legend(frameon=False, fontsize=13)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("Density of the noise (N = 2)\nby the number D of added dimensions", size=15)


def main(out: Path = HERE, count: int = 240, steps: int = 400) -> Path:
    """Write a picture into the folder OUT."""
    weights, stds = torch.full((3,), 1 / 3), torch.full((3,), WIDTH)
    above = Mixture(weights, MEANS, stds, Karras(1e-3, HEIGHT), StudentT(1))
    data = above.sample(1500, Rng(1))
    start = data[:count] + HEIGHT * StudentT(1).sample((count, 2), Rng(2), dtype=torch.float64)
    figure = canvas.figure(1800, 660)
    figure.set_layout_engine("constrained", rect=(0, 0.01, 1, 0.98))
    flat, lifted, last = figure.subplots(1, 3)
    titles = (
        "In the plane: all collapse\nto three points",
        "From the height z: the ends\nare spread as the data",
    )
    for ax, field, title in zip((flat, lifted), (InPlane(), above), titles, strict=True):
        times = grid(field, steps, "native" if field is not above else "logsnr")
        path = get_solver("heun")(field, start, times, path=True).path
        canvas.plane(ax, torch.zeros(2), 2.6).scatter(
            *data.T, s=7, color=canvas.PALE, linewidths=0
        )
        near = (MEANS - path[-1, :, None]).norm(dim=2).argmin(1)
        colours = by_angle(MEANS)[near]
        plot_lines(ax, path, colours, 0.3)
        ax.scatter(*path[-1].T, s=26, color=canvas.INK, zorder=5)
        ax.set_title(title, size=15)
    kernels(last)
    return written(figure, out / "added-dimension.png")


if __name__ == "__main__":
    typer.run(main)
