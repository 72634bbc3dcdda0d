"""The picture of docs/learn/heat-equation.md: heat, cells that grow, and points that flow.

python scripts/figures/learn_heat_equation.py
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode import Rng
from diffode.fields import Karras, Mixture
from diffode.solvers import get_solver
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
LEVELS = (0.05, 0.3, 0.6, 1.2)
HALF, SIZE = 6.0, 256
CELLS, WIDE = 9, 0.32  # of the net, and how wide it is at first


def law() -> Mixture:
    """Six small spots on a ring and one in its middle."""
    turns = 2 * math.pi * torch.arange(6, dtype=torch.float64) / 6
    ring = 1.5 * torch.stack((turns.cos(), turns.sin()), 1)
    means = torch.cat((ring, torch.zeros(1, 2, dtype=torch.float64)))
    stds = torch.full((7,), 0.22, dtype=torch.float64)
    return Mixture(torch.full((7,), 1 / 7, dtype=torch.float64), means, stds, Karras(1e-3, 20.0))


def heat(first: Tensor, sigma2: float) -> Tensor:
    """The density (SIZE, SIZE) after heat of variance sigma2, by Fourier's solution."""
    k = 2 * math.pi * torch.fft.fftfreq(SIZE, 2 * HALF / SIZE, dtype=torch.float64)
    decay = torch.exp(-sigma2 / 2 * (k[:, None].square() + k.square()))
    return torch.fft.ifft2(torch.fft.fft2(first) * decay).real


def main(out: Path = HERE, count: int = 1500) -> Path:
    """Write a picture into the folder OUT."""
    field, solver = law(), get_solver("dopri5", rtol=1e-6, atol=1e-6)
    line = torch.linspace(-HALF, HALF, SIZE + 1, dtype=torch.float64)[:-1]
    grid = torch.cartesian_prod(line, line)
    first = field.log_marginal(grid, LEVELS[0]).exp().view(SIZE, SIZE)
    times = torch.tensor(LEVELS, dtype=torch.float64)
    net = torch.linspace(-WIDE, WIDE, CELLS, dtype=torch.float64)
    net = torch.cartesian_prod(net, net) + field.means[0]
    points = field.corrupt(field.sample(count, Rng(0)), LEVELS[0], Rng(1))[0]
    nets = solver(field, net, times, path=True).path.view(-1, CELLS, CELLS, 2)
    paths = solver(field, points, times, path=True).path
    figure = canvas.figure(1600, 830)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(2, 4)
    extent = (-HALF, HALF, -HALF, HALF)
    for k, (above, below) in enumerate(axes.T):
        density = heat(first, LEVELS[k] ** 2 - LEVELS[0] ** 2)
        above.imshow(density.T.sqrt().numpy(), extent=extent, origin="lower", cmap="Greys")
        for lines in (nets[k], nets[k].transpose(0, 1)):
            above.plot(*lines.permute(2, 1, 0).numpy(), color=canvas.ORANGE, linewidth=1.1)
        top = float(density.max())
        steps = [top * part for part in (0.05, 0.2, 0.5, 0.8)]
        ticks = line.numpy()
        below.contour(ticks, ticks, density.T.numpy(), steps, colors=canvas.INK, linewidths=0.8)
        below.scatter(*paths[k].T.numpy(), s=5, color=canvas.BLUE, alpha=0.6)
        above.set_title(f"sigma = {LEVELS[k]:g}", fontsize=17)
        for ax in (above, below):
            canvas.plane(ax, torch.zeros(2), 3.4)
    axes[0, 0].set_ylabel("heat, and a net of cells", fontsize=15)
    axes[1, 0].set_ylabel("points moved by the score", fontsize=15)
    return written(figure, out / "heat-equation.png")


if __name__ == "__main__":
    typer.run(main)
