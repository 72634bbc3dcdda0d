r"""Your own data: a field trained on arrays in memory, drawn from by label, and held against rows.

The rows stand for any table (M, D) of yours, or images (M, C, H, W). Here they are made: three
arms of a spiral with shares of 60, 30 and 10 %, whose number is the label.

`fit` takes the pair (x, labels), holds a tenth of the rows out and trains on the others. `sample`
draws rows of the labels that it is given. `Panel` measures them against the rows held out. A
figure says little alone, so that of as many real rows stands beside it: the best there is.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

import diffode
from diffode.data import Dataset
from diffode.metrics import class_accuracy
from diffode.metrics.estimates import Estimate
from diffode.metrics.panel import Panel
from diffode.viz import canvas

SHARES = (0.6, 0.3, 0.1)
COLOURS = (canvas.BLUE, canvas.ORANGE, canvas.GREEN)


def rows(count: int = 6000, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Points on the arms (M, 2), and the arm that each is on (M,): put your own arrays here."""
    rng = np.random.default_rng(seed)
    arm = rng.choice(len(SHARES), count, p=SHARES)
    u = rng.uniform(0.2, 1, count)
    angle = 2 * np.pi * (arm / len(SHARES) + 0.6 * u)
    curve = 2 * u[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    return curve + 0.08 * rng.normal(size=(count, 2)), arm


def agreement(data: Dataset, x: Tensor, labels: Tensor) -> Estimate:
    """The share of points whose nearest training row has their label."""
    nearest = torch.cdist(x, data.train).argmin(1)
    return class_accuracy(data.train_labels[nearest], labels)


def main(out: Path = Path("."), steps: int = 1000) -> Path:
    """Write a picture into the folder OUT."""
    run = diffode.fit("edm", rows(), labels=True, steps=steps, batch=256, width=96)
    data = run.dataset
    labels = data.labels(len(data.test))  # each class in its share
    drawn = diffode.sample(run.field, len(labels), y=labels).x.cpu()
    panel = Panel(data, len(labels), labels=True)
    real = panel.floor | {"label": agreement(data, data.test, data.test_labels)}
    measured = panel.measure(drawn, labels) | {"label": agreement(data, drawn, labels)}
    for name in ("W2", "energy", "copying", "label"):
        print(f"{name:8} {measured[name]!s:>18}   real rows {real[name]!s:>18}")
    titles = (
        f"{len(labels)} rows that were held out",
        f"{len(labels)} samples of the same labels, W2 {measured['W2'].value:.2f} "
        f"(of real rows {real['W2'].value:.2f})",
    )
    figure = canvas.figure(1200, 620)
    figure.set_layout_engine("constrained")
    shown = ((data.test, data.test_labels), (drawn, labels))
    for ax, (x, y), title in zip(figure.subplots(1, 2), shown, titles, strict=True):
        for k, colour in enumerate(COLOURS):
            ax.scatter(*x[y == k].T, s=7, color=colour, label=f"label {k}")
        ax.set_title(title, fontsize=13)
        canvas.plane(ax, torch.zeros(2), 2.2)
    handles = ax.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    canvas.save(figure, file := out / "own_data.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
