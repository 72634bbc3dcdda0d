"""The picture of docs/learn/monoflow-derived.md: particles climb the exact log-ratio.

python scripts/figures/learn_monoflow_derived.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode import Rng
from diffode.fields import Empirical, Karras, Mixture
from diffode.fields.divergences import get_divergence
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
LEVEL, STEP = 0.3, 0.03  # the noise through which both laws are seen, and the step in time
SHOWN = (0, 20, 100, 500)
LOSSES = {"logit": ("h = d", canvas.BLUE), "vanilla": ("h' = s(d)", canvas.ORANGE)}


def data() -> Mixture:
    """Four normal laws."""
    means = torch.tensor([[0.6, 1.3], [2.6, 1.3], [0.6, -1.3], [2.6, -1.3]], dtype=torch.float64)
    even, stds = torch.full((4,), 0.25), torch.full((4,), 0.3)
    return Mixture(even.double(), means, stds.double(), Karras(1e-3, 20.0))


def climb(p: Mixture, x: Tensor, loss: str) -> Tensor:
    """The particles at the times shown, shape (4, n, 2)."""
    kept = []
    for k in range(SHOWN[-1] + 1):
        if k in SHOWN:
            kept.append(x)
        q = Empirical(x, p.schedule)
        d = p.log_marginal(x, LEVEL) - q.log_marginal(x, LEVEL)
        slope = p.score(x, LEVEL) - q.score(x, LEVEL)
        x = x + STEP * get_divergence(loss).slope(d)[:, None] * slope
    return torch.stack(kept)


def main(out: Path = HERE, count: int = 400) -> Path:
    """Write a picture into the folder OUT."""
    p = data()
    start = 0.5 * Rng(0).normal("start", (count, 2), torch.float64)
    start[:, 0] -= 2.4
    line = torch.linspace(-4.2, 4.2, 200, dtype=torch.float64)
    density = p.log_marginal(torch.cartesian_prod(line, line), LEVEL).exp().view(200, 200)
    levels = [float(density.max()) * part for part in (0.05, 0.3, 0.7)]
    figure = canvas.figure(1600, 830)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(2, 4)
    for row, (loss, (label, colour)) in zip(axes, LOSSES.items(), strict=True):
        for ax, x, k in zip(row, climb(p, start, loss), SHOWN, strict=True):
            ticks = line.numpy()
            ax.contour(ticks, ticks, density.T.numpy(), levels, colors=canvas.GREY, linewidths=1)
            ax.scatter(*x.T.numpy(), s=9, color=colour, alpha=0.7)
            canvas.plane(ax, torch.zeros(2), 4.2)
            ax.set_title(f"{label}, t = {k * STEP:g}", fontsize=17)
    return written(figure, out / "monoflow-derived.png")


if __name__ == "__main__":
    typer.run(main)
