"""The picture of docs/learn/fokker-planck.md: three processes with the same marginals.

python scripts/figures/learn_fokker_planck.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode import Rng
from diffode.fields import VP, Mixture
from diffode.solvers import get_solver, grid
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
MEMBERS = {"h = g: reverse SDE": 1.0, "h = g / 2": 0.5, "h = 0: the ODE": 0.0}
LINES = 14
COLOURS = (canvas.ORANGE, canvas.BLUE, canvas.GREEN)


def law() -> Mixture:
    """Two normal laws on a line."""
    numbers = [0.3, 0.7], [[-1.6], [1.0]], [0.25, 0.4]
    w, m, s = (torch.tensor(v, dtype=torch.float64) for v in numbers)
    return Mixture(w, m, s, VP())


def density(field: Mixture, x: Tensor, t: float) -> Tensor:
    """The exact density of x_t at points (M,)."""
    return field.log_marginal(x[:, None], t).exp()


def main(out: Path = HERE, count: int = 1500, steps: int = 300) -> Path:
    """Write a picture into the folder OUT."""
    field = law()
    times = grid(field, steps, "f1.5")
    start = field.prior.sample((count, 1), Rng(3), dtype=torch.float64)
    x = torch.linspace(-3.2, 3.2, 241, dtype=torch.float64)
    shown = torch.linspace(0.001, 1, 160, dtype=torch.float64)
    shade = torch.stack([density(field, x, float(t)) for t in shown], 1).sqrt()
    figure = canvas.figure(1500, 860)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(2, 3, sharex="row", sharey="row", height_ratios=(3, 2))
    for (top, below), (name, eta), colour in zip(axes.T, MEMBERS.items(), COLOURS, strict=True):
        solver = get_solver("euler-maruyama", eta=eta)
        path = solver(field, start, times, rng=Rng(7), path=True).path[..., 0]
        grey = {"cmap": "Greys", "vmax": 1.3, "shading": "gouraud"}
        top.pcolormesh(shown.numpy(), x.numpy(), shade.numpy(), **grey)
        top.plot(times, path[:, :LINES], color=colour, linewidth=1.1)
        top.set(xlim=(1, 0), ylim=(-3.2, 3.2))
        top.set_title(name, fontsize=17)
        top.set_xlabel("time t, from noise (1) to data (0)", fontsize=14)
        below.hist(path[-1].numpy(), 60, range=(-3.2, 3.2), density=True, color=colour, alpha=0.55)
        below.plot(x, density(field, x, float(times[-1])), color=canvas.INK, linewidth=2)
        below.set_xlabel("x at t = 0", fontsize=14)
        below.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("x", fontsize=14)
    axes[1, 0].set_ylabel("density", fontsize=14)
    axes[1, 0].legend(["exact density", "particles"], fontsize=13, frameon=False)
    for ax in axes.flat:
        ax.tick_params(labelsize=12)
    return written(figure, out / "fokker-planck.png")


if __name__ == "__main__":
    typer.run(main)
