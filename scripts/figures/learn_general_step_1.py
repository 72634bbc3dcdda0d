"""The picture of docs/learn/general-step-1.md: three laws of one point, and the flows they give.

python scripts/figures/learn_general_step_1.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode.fields import Empirical, EmpiricalRadial, Field, Karras, RadialPath
from diffode.priors import GeneralisedNormal, StudentT
from diffode.solvers import get_solver
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
POINTS = torch.tensor([[-2.0], [-0.6], [0.4], [2.2]], dtype=torch.float64)
VIEW, LINES = 6.0, 25
X = torch.linspace(-40, 40, 4001, dtype=torch.float64)


class Pareto(RadialPath):
    """A law whose shape changes: F_t(r) = 1 - (1 + r)^(-1/t) in one dimension."""

    span = (1.0, 0.04)

    def log_g(self, r: Tensor, t: Tensor, dim: int) -> Tensor:
        """The log-density at radii r."""
        return -(1 / t + 1) * torch.log1p(r)


def fields(points: Tensor) -> dict[str, Field]:
    """The exact fields of points by three laws."""
    clock = Karras(0.04, 3.0)
    return {
        "Cauchy: the same in all directions\nof space and time (PFGM)": Empirical(
            points, clock, StudentT(1)
        ),
        "Nearly a ball, $e^{-r^8/8}$:\na law of constant shape": Empirical(
            points, clock, GeneralisedNormal(8.0)
        ),
        "Pareto: the shape of the law\nchanges with time": EmpiricalRadial(points, Pareto()),
    }


def density(field: Field, t: float) -> Tensor:
    """The density of x_t on the grid."""
    if isinstance(field, Empirical):
        return field.log_marginal(X[:, None], t).exp()
    assert isinstance(field, EmpiricalRadial)
    law = field.path.law(t, 1)
    return torch.stack([law.log_prob(X[:, None] - y).exp() for y in field.points]).mean(0)


def main(out: Path = HERE, steps: int = 160) -> Path:
    """Write a picture into the folder OUT."""
    figure = canvas.figure(1620, 960)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(2, 3, sharey=True)
    for row, points, colour in zip(
        axes, (torch.zeros(1, 1).double(), POINTS), (canvas.BLUE, canvas.ORANGE), strict=True
    ):
        for ax, (name, field) in zip(row, fields(points).items(), strict=True):
            times = torch.logspace(*map(torch.log10, map(torch.tensor, field.span)), steps + 1)
            dense = torch.stack([density(field, float(t)) for t in times], 1)
            below = torch.cumulative_trapezoid(dense[:, 0], X)
            share = (torch.arange(LINES) + 0.5) / LINES * below[-1]
            start = X[torch.searchsorted(below, share.double()) + 1]
            path = get_solver("heun")(field, start[:, None], times.double(), path=True).path
            inside = X.abs() <= VIEW
            shade = (dense[inside] / dense[inside].amax(0)).sqrt()
            ax.pcolormesh(
                *(v.numpy() for v in (times, X[inside], shade)),
                cmap="Greys",
                vmax=1.6,
                shading="gouraud",
            )
            ax.plot(times, path[..., 0], color=colour, linewidth=1.5)
            ax.set(xlim=(0, field.span[0]), ylim=(-VIEW, VIEW))
            if points is POINTS:
                ax.set_xlabel("time t, from data (left) to the prior", fontsize=14)
            else:
                ax.set_title(name, fontsize=16)
    axes[0, 0].set_ylabel("one data point", fontsize=15)
    axes[1, 0].set_ylabel("four data points: the average", fontsize=15)
    return written(figure, out / "general-step-1.png")


if __name__ == "__main__":
    typer.run(main)
