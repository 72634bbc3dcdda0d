"""The picture of docs/learn/optimisers.md: the ODEs that steps of training follow.

python scripts/figures/learn_optimisers.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import typer
from figure_file import written
from torch import Tensor

from diffode.analysis import GameFlow, penalised
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
STEP, FINE = 0.04, 10  # of gradient descent, and the flows' steps in one of it
TURN = 0.2  # the step in the Dirac-GAN


def product(p: Tensor) -> Tensor:
    """The least network of two layers, x to a b x, which shall be x: all a b = 1 are best."""
    return (p[0] * p[1] - 1).square() / 2


def descend(kind: str, count: int) -> Tensor:
    """The points of gradient descent, or of the flow of the loss or of the changed loss."""
    p = torch.tensor([2.9, 1.5], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return product(p)

    used = penalised(loss, [p], STEP) if kind == "changed" else loss
    method, step, times = ("euler", STEP, 1) if kind == "steps" else ("rk4", STEP / FINE, FINE)
    flow, path = GameFlow([used], [[p]], method, step), [p.detach().clone()]
    for _ in range(count * times):
        flow.step()
        path.append(p.detach().clone())
    return torch.stack(path)


def play(method: str, regulariser: float, count: int) -> Tensor:
    """The points of the Dirac-GAN from (1, 0)."""
    g, c = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, 0.0))
    flow = GameFlow([lambda: -c * g, lambda: c * g], [[g], [c]], method, TURN, regulariser)
    path = [torch.stack((g, c)).detach()]
    for _ in range(count):
        flow.step()
        path.append(torch.stack((g, c)).detach())
    return torch.stack(path)


def main(out: Path = HERE) -> Path:
    """Write a picture into the folder OUT."""
    figure = canvas.figure(1600, 780)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    a, b = np.meshgrid(np.linspace(1.8, 3.1, 200), np.linspace(0.1, 1.7, 200))
    loss = (a * b - 1) ** 2 / 2
    left.contour(a, b, loss, np.geomspace(0.01, 8, 14), colors=canvas.PALE, linewidths=1)
    for kind, label, style in (
        ("flow", "gradient flow (1)", {"color": canvas.ORANGE, "lw": 3, "ls": "--"}),
        ("changed", "changed flow (6)", {"color": canvas.BLUE, "lw": 3}),
        (
            "steps",
            f"gradient descent, h = {STEP:g}",
            {"color": canvas.INK, "marker": "o", "ls": ""},
        ),
    ):
        path = descend(kind, 60)
        left.plot(*path.T.numpy(), label=label, **style)
        print(f"{label}: ends at ({float(path[-1, 0]):.3f}, {float(path[-1, 1]):.3f})")
    left.plot(
        line := np.linspace(0.5, 3.2, 100),
        1 / line,
        color=canvas.GREEN,
        lw=1.5,
        label="least loss",
    )
    left.set_xlim(1.8, 3.1)
    left.set_ylim(0.1, 1.7)
    left.set_xlabel("weight of the first layer", fontsize=14)
    left.set_ylabel("weight of the second layer", fontsize=14)
    left.set_title("one loss: a penalty for free", fontsize=17)
    t = torch.linspace(0, 60 * TURN, 800, dtype=torch.float64)
    spiral = torch.stack((t.cos(), -t.sin())) * (TURN / 2 * t).exp()
    right.plot(*spiral.numpy(), color=canvas.ORANGE, linewidth=1.2)
    for label, how, colour, mark in (
        ("Euler: gradient descent", ("euler", 0.0), canvas.ORANGE, "o"),
        ("RK4", ("rk4", 0.0), canvas.BLUE, "s"),
        ("RK4 with the regulariser (12)", ("rk4", 0.3), canvas.GREEN, "^"),
    ):
        path = play(*how, 60)
        right.plot(*path.T.numpy(), mark, color=colour, markersize=6, label=label)
        print(f"{label}: radius {float(path[-1].norm()):.3f} after 60 steps")
    canvas.plane(right, torch.zeros(2), 2.6)
    right.set_xlabel("generator's point", fontsize=14)
    right.set_ylabel("critic's slope", fontsize=14)
    right.set_title(f"the Dirac-GAN, h = {TURN:g}", fontsize=17)
    for ax in (left, right):
        ax.legend(fontsize=14, loc="upper left" if ax is left else "upper right")
        ax.tick_params(labelsize=12)
    return written(figure, out / "optimisers.png")


if __name__ == "__main__":
    typer.run(main)
