r"""Which noise meets which sample decides how straight a flow is.

A rectified flow is learned from lines between noise and samples. Where the lines cross, their mean
points elsewhere, and the flow bends. Three ways to pair them, one network and one training:

* independent pairs, whose lines all cross;
* optimal transport within each batch, whose lines cross little;
* reflow: the pairs that the first flow itself has made.

One Euler step x = n - v(n, 1) is right where a path is straight and its speed even.

References: Liu et al. (2022), https://arxiv.org/abs/2209.03003; Tong et al. (2023),
https://arxiv.org/abs/2302.00482.
"""

import tempfile
from pathlib import Path

import torch
import typer

from diffode.data import load
from diffode.metrics import sliced_wasserstein2, straightness
from diffode.rng import Rng
from diffode.runs.pairs import PAIRS
from diffode.runs.reflow import make_pairs
from diffode.runs.run import fit
from diffode.solvers import get_solver, grid
from diffode.viz import canvas
from diffode.viz.trajectories import by_angle, plot_lines

DATA, SHOWN, PAIRED = "eight-gaussians", 60, 4000


def main(out: Path = Path("."), steps: int = 600) -> Path:
    """Write a picture into the folder OUT."""
    small = {"steps": steps, "device": "cpu", "lr": 4e-3, "seed": 1}
    first = fit("rectified", DATA, **small)
    near = fit("rectified", DATA, coupling="ot", **small)
    with tempfile.TemporaryDirectory() as folder:
        teacher = first.field.eval().requires_grad_(False)
        count = PAIRED if steps > 100 else 500
        make_pairs(teacher, count, get_solver("heun"), 30, Path(folder))
        second = fit("rectified", DATA, pairs=Path(folder) / PAIRS, **small)
    runs = {"independent pairs": first, "optimal transport": near, "reflow": second}
    test = load(DATA).test[:1000]
    figure = canvas.figure(1500, 600)
    figure.set_layout_engine("constrained")
    for ax, (name, run) in zip(figure.subplots(1, 3), runs.items(), strict=True):
        field = run.field.eval().requires_grad_(False)
        x = field.start(1000, Rng(3)).x
        path = get_solver("heun")(field, x, grid(field, 40), path=True).path
        straight = straightness(path).value
        one = float(sliced_wasserstein2(x - field.velocity(x, 1.0), test).value)
        print(f"{name}: straightness {straight:.3f}, after one Euler step sliced W2 is {one:.2f}")
        plot_lines(ax, path[:, :SHOWN], by_angle(path[-1, :SHOWN]))
        ax.set_title(
            f"{name}: straightness {straight:.3f}\none step is {one:.2f} off", fontsize=13
        )
        canvas.plane(ax, torch.zeros(2), 3.0)
    canvas.save(figure, file := out / "straight_lines.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
