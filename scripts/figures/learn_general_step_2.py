"""The picture of docs/learn/general-step-2.md: chosen curves, the flow of their mean, and reflow.

python scripts/figures/learn_general_step_2.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode import Rng
from diffode.fields import Mixture, Rectified
from diffode.metrics import straightness
from diffode.solvers import get_solver
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
COUNT = 34


def two() -> Mixture:
    """Data of two clusters on a line, and rectified flow's straight lines to normal noise."""
    weights, means, stds = [0.5, 0.5], [[-2.0], [2.0]], [0.15, 0.15]
    return Mixture(*(torch.tensor(v).double() for v in (weights, means, stds)), Rectified())


def main(out: Path = HERE, steps: int = 200) -> Path:
    """Write a picture into the folder OUT."""
    field = two()
    rng = Rng(4)
    x0 = field.sample(COUNT, rng)
    x1 = rng.normal("x1", (COUNT, 1), torch.float64)
    times = torch.linspace(1, 0.001, steps + 1).double()
    even = torch.special.ndtri((torch.arange(COUNT).double() + 0.5) / COUNT)[:, None]
    path = get_solver("heun")(field, even, times, path=True).path
    straight = even + (1 - times)[:, None, None] * (path[-1] - even)
    chosen = x1 + (1 - times)[:, None, None] * (x0 - x1)
    names = {
        "1. Chosen: a straight line\nfrom every start to any data point": chosen,
        "2. The flow of the mean velocity:\nno paths cross, and they bend": path,
        "3. Reflow: straight lines between\nthe two ends of each path": straight,
    }
    figure = canvas.figure(1620, 640)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(1, 3, sharey=True)
    x = torch.linspace(-3.4, 3.4, 301).double()
    shade = torch.stack([field.log_marginal(x[:, None], float(t)).exp() for t in times], 1)
    dense = (shade / shade.amax(0)).sqrt().numpy()
    for ax, (name, lines) in zip(axes, names.items(), strict=True):
        if lines is not straight:  # those have other laws between the ends
            ax.pcolormesh(times.numpy(), x.numpy(), dense, cmap="Greys", vmax=2.2)
        ends: Tensor = lines[-1, :, 0]
        for low, colour in ((True, canvas.BLUE), (False, canvas.ORANGE)):
            ax.plot(times, lines[:, (ends < 0) == low, 0], color=colour, linewidth=1.4)
        ax.set(xlim=(1, 0), ylim=(-3.4, 3.4))
        ax.set_title(name, fontsize=16)
        ax.set_xlabel("time t, from the prior (1) to data (0)", fontsize=14)
        in_time = torch.stack((lines[..., 0], times[:, None].expand(-1, COUNT)), 2)
        print(f"{name!r}: straightness in (t, x) {straightness(in_time).value:.3f}")
    axes[0].set_ylabel("x", fontsize=15)
    return written(figure, out / "general-step-2.png")


if __name__ == "__main__":
    typer.run(main)
