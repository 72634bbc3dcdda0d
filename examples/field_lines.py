r"""Field lines of four charges: near they are tangled, far away they are those of one charge.

Put data points y_k with probabilities w_k as charges on the line z = 0 of a plane (x, z). With the
data's single dimension N = 1, the electric field of all of them is

    E(x, z) = sum_k w_k (x - y_k, z) / (|x - y_k|^2 + z^2),       dx/dz = E_x / E_z.

From far away the four look like one, so their lines leave evenly spread over a half circle: the
prior of a Poisson flow. By Gauss's law charge k sends out a share w_k of the lines. So lines that
are followed home from even directions end at y_k with probability w_k: a sampler. The flux beside
a line, psi = sum_k w_k angle(x - y_k, z) / pi, does not change along it: that checks the solver.

Reference: Xu et al. (2022), Poisson Flow Generative Models, https://arxiv.org/abs/2209.11178.
"""

import math
from pathlib import Path

import torch
import typer
from torch import Tensor

from diffode.fields import Empirical, Karras, PoissonField
from diffode.priors import StudentT
from diffode.solvers import get_solver, grid
from diffode.viz import canvas

CHARGES = torch.tensor([[-3.0], [-1.0], [0.5], [3.5]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.1, 0.4, 0.2], dtype=torch.float64)
RADIUS, COUNT = 200.0, 40


def field_lines(steps: int) -> tuple[Tensor, Tensor]:
    """Coordinates x and z (T, 40) of lines, from even angles on a far half circle to the data."""
    exact = Empirical(CHARGES, Karras(1e-3, RADIUS), StudentT(1), WEIGHTS)
    angle = (torch.arange(COUNT, dtype=torch.float64) + 0.5) * math.pi / COUNT
    start = exact.mean + RADIUS * angle.cos()[:, None]
    field = PoissonField(exact).bind(angle.sin())  # each line has its own z = sigma sin(angle)
    times = grid(field, steps, "logsnr")
    path = get_solver("heun")(field, start, times, path=True).path
    return path[..., 0], times[:, None] * angle.sin()


def flux(x: Tensor, z: Tensor) -> Tensor:
    """The share psi of all flux that passes to the right of (x, z)."""
    return (torch.atan2(z[..., None], x[..., None] - CHARGES[:, 0]) * WEIGHTS).sum(-1) / math.pi


def main(out: Path = Path("."), steps: int = 300) -> Path:
    """Write a picture into the folder OUT."""
    x, z = field_lines(steps)
    home = (x[-1, :, None] - CHARGES[:, 0]).abs().argmin(1)
    change = float((flux(x, z) - flux(x[0], z[0])).abs().max())
    print(f"{COUNT} lines end at the charges {home.bincount(minlength=4).tolist()} times")
    print(f"the flux beside a line changes by {change:.1e} at most")
    figure = canvas.figure(1500, 480)
    figure.set_layout_engine("constrained")
    colours = (canvas.BLUE, canvas.PINK, canvas.ORANGE, canvas.GREEN)
    near, far = figure.subplots(1, 2)
    for ax, view in ((near, 6), (far, 24)):
        for i in range(COUNT):
            ax.plot(x[:, i], z[:, i], color=colours[home[i]], linewidth=1.2)
        for y, w, colour in zip(CHARGES, WEIGHTS, colours, strict=True):
            ax.scatter(y, 0, s=5000 * w / view, color=colour, zorder=3, clip_on=False)
        ax.set(xlim=(-view, view), ylim=(0, 1.1 * view), ylabel="z", aspect="equal")
        ax.spines[["top", "right"]].set_visible(False)
    mean = float(WEIGHTS @ CHARGES)
    for angle in torch.atan2(z[0], x[0] - mean).tolist():
        far.axline((mean, 0), slope=math.tan(angle), color=canvas.INK, lw=0.7, dashes=(4, 6))
    near.set_title("Near: charges of 30, 10, 40 and 20 % send out that share of all lines")
    far.set_title("Far: the lines are those of one charge at the mean (dashed)")
    canvas.save(figure, file := out / "field_lines.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
