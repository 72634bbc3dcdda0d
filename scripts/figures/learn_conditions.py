"""The picture of docs/learn/conditions.md: what guided samples are a law of.

python scripts/figures/learn_conditions.py
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from figure_file import written
from torch import Tensor

from diffode import Rng
from diffode.fields import Karras, Mixture, classifier_free
from diffode.likelihood import log_prob
from diffode.solvers import get_solver, grid
from diffode.viz import canvas

HERE = Path(__file__).parents[2] / "docs/learn"
LOW, HIGH, WEIGHT = 0.05, 400.0, 3.0


def law() -> Mixture:
    """A class of one normal law, and one of two beside it."""
    numbers = [0.4, 0.3, 0.3], [[-1.0], [0.6], [2.4]], [0.6, 0.4, 0.5]
    w, m, s = (torch.tensor(v, dtype=torch.float64) for v in numbers)
    return Mixture(w, m, s, Karras(LOW, HIGH), labels=torch.tensor([0, 1, 1]))


def normalised(log: Tensor, x: Tensor) -> Tensor:
    """The density on an even grid x whose logarithm is known up to a constant."""
    return log.softmax(0) / (x[1] - x[0])


def main(out: Path = HERE, count: int = 3000) -> Path:
    """Write a picture into the folder OUT."""
    field = law()
    guided = classifier_free(field, WEIGHT)
    x = torch.linspace(-1.2, 5, 311, dtype=torch.float64)[:, None]
    y = torch.ones(max(count, len(x)), dtype=torch.long)

    def tilted(x: Tensor, t: float = LOW) -> Tensor:
        plain, told = field.log_marginal(x, t), field.log_marginal(x, t, y[: len(x)])
        return (1 - WEIGHT) * plain + WEIGHT * told

    start = guided.prior.sample((count, 1), Rng(0), dtype=torch.float64)
    times = grid(guided, 120, "f1.5")
    path = get_solver("heun")(guided, start, times, y=y[:count], path=True).path[..., 0]
    exact = log_prob(guided, x, y=y[: len(x)], terminal=lambda x: tilted(x, HIGH)).nats
    figure = canvas.figure(1600, 700)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    shown = x[:, 0].numpy()
    told = field.log_marginal(x, LOW, y[: len(x)]).exp().numpy()
    left.fill_between(shown, told, color=canvas.PALE, label="the class, w = 1")
    bins = {"bins": 90, "range": (-1.2, 5), "density": True}
    left.hist(path[-1].numpy(), **bins, color=canvas.BLUE, alpha=0.35, label="guided samples")
    for values, name, colour, style in (
        (tilted(x), "tilted law (7)", canvas.ORANGE, "--"),
        (exact, "law of the samples (12)", canvas.BLUE, "-"),
    ):
        density = normalised(values, x[:, 0]).numpy()
        left.plot(shown, density, style, color=colour, linewidth=3, label=name)
    left.set_xlabel("x", fontsize=14)
    left.set_ylabel("density", fontsize=14)
    left.set_title(f"one class of two, w = {WEIGHT:g}", fontsize=17)
    left.legend(fontsize=14, frameon=False, loc="upper left")
    left.spines[["top", "right"]].set_visible(False)
    places = torch.linspace(-4, 7, 221, dtype=torch.float64)[:, None]
    levels = torch.logspace(-1.3, 0.9, 120, dtype=torch.float64)
    y = torch.ones(len(places) + count, dtype=torch.long)
    rows = [
        field.score(places, t, y[: len(places)]) - field.score(places, t) for t in levels.tolist()
    ]
    slope = (torch.stack(rows)[..., 0].abs() * levels[:, None]).T.numpy()  # in units of the noise
    grey = {"cmap": "Greys", "vmax": 3.0, "shading": "gouraud"}
    right.pcolormesh(levels.numpy(), places[:, 0].numpy(), slope, **grey)
    first = path[-1].argsort()[:: count // 16]
    right.plot(times.numpy(), path[:, first].numpy(), color=canvas.BLUE, linewidth=1.4)
    right.set(xscale="log", xlim=(float(levels[-1]), float(levels[0])), ylim=(-4, 7))
    right.set_xlabel("noise sigma, falling to the data on the right", fontsize=14)
    right.set_ylabel("x", fontsize=14)
    right.set_title("grey: sigma times the classifier's slope", fontsize=17)
    for ax in (left, right):
        ax.tick_params(labelsize=12)
    return written(figure, out / "conditions.png")


if __name__ == "__main__":
    typer.run(main)
