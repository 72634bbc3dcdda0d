"""The picture of docs/learn/wasserstein.md: two flows that part, and the bound on how far.

python scripts/figures/learn_wasserstein.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from figure_file import written

from diffode import Rng
from diffode.analysis import wasserstein_bound
from diffode.fields import VP, Mixture
from diffode.solvers import get_solver, grid
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
WIDTHS = (0.8, 0.65, 0.5, 0.4, 0.3, 0.25, 0.2)
LINES = 26


def two(std: float, shift: float = 0.0, dim: int = 1, share: float = 0.5) -> Mixture:
    """Two clusters at -1 and 1 of the first coordinate; a shift or a share is a planted error."""
    means = torch.zeros(2, dim, dtype=torch.float64)
    means[:, 0] = torch.tensor([-1.0, 1.0]) + shift
    return Mixture(torch.tensor([1 - share, share]), means, torch.full((2,), std), VP())


def main(out: Path = HERE, steps: int = 300, bound_steps: int = 100) -> Path:
    """Write a picture into the folder OUT."""
    start = torch.special.ndtri((torch.arange(LINES).double() + 0.5) / LINES)[:, None]
    figure = canvas.figure(1560, 640)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    names = {"exact flow": (0.5, canvas.GREY), "model": (0.62, canvas.ORANGE)}
    for name, (share, colour) in names.items():
        field = two(0.25, share=share)
        times = grid(field, steps, "f1.5")
        path = get_solver("heun")(field, start, times, path=True).path[..., 0]
        left.plot(times, path, color=colour, linewidth=1.5, alpha=0.8)
        left.plot([], [], color=colour, linewidth=3, label=name)
    left.set(xlim=(1, 0), ylim=(-2.7, 2.7))
    left.set_xlabel("time t, from the prior (1) to data (0)", fontsize=14)
    left.set_ylabel("x", fontsize=14)
    left.legend(loc="upper left", fontsize=14, frameon=False, ncols=2)
    left.set_title("Two flows from the same starts", fontsize=16)
    bounds = []
    for std in WIDTHS:
        exact, model = two(std, dim=2), two(std, 0.1, dim=2)
        bounds.append(
            wasserstein_bound(model, exact, exact.sample(200, Rng(3)), steps=bound_steps)
        )
    right.semilogy(WIDTHS, [b.value for b in bounds], "o-", color=canvas.ORANGE, lw=2.5)
    right.semilogy(WIDTHS, [b.measured for b in bounds], "s--", color=canvas.BLUE, lw=2.5)
    right.axhline(0.1, color=canvas.INK, linewidth=1.5, linestyle=":")
    for text, y, colour in (
        ("bound (7)", bounds[-3].value * 2, canvas.ORANGE),
        ("distance of pairs (2)", bounds[-1].measured * 1.5, canvas.BLUE),
        ("$W_2$ of the exact laws: 0.1", 0.06, canvas.INK),
    ):
        right.text(0.5, y, text, color=colour, fontsize=15)
    right.set(xlim=(0.83, 0.17))
    right.set_ylim(bottom=0.04)
    right.set_xlabel("width of the two clusters", fontsize=14)
    right.set_title("An error of 0.1, and its bound", fontsize=16)
    right.spines[["top", "right"]].set_visible(False)
    return written(figure, out / "wasserstein.png")


if __name__ == "__main__":
    typer.run(main)
