"""The picture of docs/learn/ddim.md: what eta changes in a step, and DDIM's order.

python scripts/figures/learn_ddim.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode import Rng
from diffode.data import load
from diffode.fields import VP, Empirical, Mixture
from diffode.solvers import get_solver, grid
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
T, S = 0.45, 0.25
PARTS = {"eta = 0": 0.0, "eta = 1/2": 0.5, "eta = 1: DDPM": 1.0}
COLOURS = (canvas.GREEN, canvas.BLUE, canvas.ORANGE)


def steps_to(field: Empirical, x: Tensor, part: float, rng: Rng) -> Tensor:
    """Points at S drawn from points x at T, with x_0 drawn from its posterior."""
    (at, st), (as_, ss) = ([float(v) for v in field.level(t, x)] for t in (T, S))
    eta = part * ss * (1 - (ss * at / (as_ * st)) ** 2) ** 0.5
    k = (ss**2 - eta**2) ** 0.5 / st
    logits = -torch.cdist(x, at * field.points).square() / (2 * st**2)
    race = -torch.log(-torch.log(rng.uniform("race", tuple(logits.shape))))
    x0 = field.points[(logits + race).argmax(1)]
    return k * x + (as_ - at * k) * x0 + eta * rng.normal("fresh", tuple(x.shape), x.dtype)


def in_time(field: Empirical, x: Tensor, times: Tensor) -> Tensor:
    """Where Euler's method on x in the time t of the schedule leads."""
    for k, step in enumerate(times.diff()):
        x = x + step * field.velocity(x, times[k])
    return x


def error(std: float, method: str, count: int = 20) -> float:
    """The error at the end for one normal law about 0, in units of its standard deviation."""
    one = torch.ones(1, dtype=torch.float64)
    field = Mixture(one, 0 * one[:, None], std * one, VP())
    x, times = one[:, None], grid(field, count, "f1.5")
    alpha, sigma = field.level(times, times)
    spread = (alpha**2 * std**2 + sigma**2).sqrt()  # of x_t: the exact flow keeps x / spread
    end = get_solver(method)(field, x, times).x if method == "ddim" else in_time(field, x, times)
    return abs(float(end * spread[0] / spread[-1]) - 1)


def main(out: Path = HERE) -> Path:
    """Write a picture into the folder OUT."""
    data = load("moons").train[:400].double()
    field, rng = Empirical(data, VP()), Rng(1)
    noisy = field.corrupt(field.sample(3000, rng), T, rng.at(1))[0]
    one = torch.tensor([[0.15, 0.25]], dtype=torch.float64)
    law = field.corrupt(field.sample(3000, rng.at(2)), S, rng.at(3))[0]
    figure = canvas.figure(1600, 700)
    figure.set_layout_engine("constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
    axes = left.subplots(2, 3)
    for (top, below), (name, part), colour in zip(axes.T, PARTS.items(), COLOURS, strict=True):
        for ax, start in ((top, one.expand(300, 2)), (below, noisy)):
            made = steps_to(field, start, part, rng.at(4))
            ax.scatter(*law.T.numpy(), s=3, color=canvas.PALE)
            ax.scatter(*made.T.numpy(), s=5, color=colour, alpha=0.45)
            canvas.plane(ax, torch.zeros(2), 2.8)
        top.plot(*one[0].tolist(), "X", color=canvas.INK, markersize=13)
        top.set_title(name, fontsize=17)
    axes[0, 0].set_ylabel("x_s from one x_t", fontsize=15)
    axes[1, 0].set_ylabel("x_s from all x_t", fontsize=15)
    stds = torch.logspace(-4, 0.5, 120, dtype=torch.float64).tolist()
    ax = right.subplots()
    for method, label, colour, style in (
        ("ddim", "DDIM: y in rho", canvas.GREEN, "-"),
        ("euler", "Euler's method: x in t of VP", canvas.PINK, "--"),
    ):
        found = [error(std, method) for std in stds]
        ax.loglog(stds, found, style, color=colour, linewidth=3, label=label)
    ax.axvline(1, color=canvas.GREY, linestyle=":")
    ax.set_ylim(1e-4, 10)
    ax.set_title("20 steps on one normal law", fontsize=17)
    ax.set_xlabel("standard deviation of the data", fontsize=14)
    ax.set_ylabel("relative error of the end points", fontsize=14)
    ax.legend(fontsize=14, frameon=False, loc="upper left")
    ax.tick_params(labelsize=12)
    ax.spines[["top", "right"]].set_visible(False)
    return written(figure, out / "ddim.png")


if __name__ == "__main__":
    typer.run(main)
