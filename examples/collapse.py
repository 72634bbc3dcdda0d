r"""A ring that no point inside it can reach, unless the field has one dimension more.

Spread charges evenly on the unit circle. In the plane itself, N = 2, their field

    E(x) = mean_k (x - y_k) / |x - y_k|^N

vanishes inside the ring, as Newton found for shells: a point there stays and never becomes a
sample. PFGM lifts the plane into N + 1 dimensions: charges at z = 0, samples come from z > 0, and

    E(x, z) = mean_k (x - y_k, z) / (|x - y_k|^2 + z^2)^((N + 1) / 2),     dx/dz = E_x / E_z.

Seen from z > 0 a ring has no inside, and every line ends on it.

Reference: Poisson Flow Generative Models (Xu et al., 2022), https://arxiv.org/abs/2209.11178.
"""

import math
from pathlib import Path

import torch
import typer
from torch import Tensor

from diffode.fields import Empirical, Field, Karras
from diffode.priors import StudentT
from diffode.solvers import get_solver, grid
from diffode.viz import canvas
from diffode.viz.trajectories import by_angle, plot_lines

ANGLE = torch.arange(1000, dtype=torch.float64) * (2 * math.pi / 1000)
RING = torch.stack((ANGLE.cos(), ANGLE.sin()), 1)


class InPlane(Field):
    """Down the field of the ring in its own plane, dx/dt = -E(x), charges being specks of 1e-3."""

    prior, span, event_shape = None, (0.0, 1.3), (2,)

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:  # noqa: D102
        apart = x[:, None] - RING
        return -(apart / apart.square().sum(-1, keepdim=True).clamp_min(1e-6)).mean(1)


WITH_Z = Empirical(RING, Karras(1e-5, 2.0), StudentT(1))  # here sigma is z, and falls from 2


def fall(field: Field, steps: int) -> Tensor:
    """The paths (T, 200, 2) of points spread over a disc of radius 1.8 like sunflower seeds."""
    k = torch.arange(200, dtype=torch.float64) + 0.5
    radius, turn = 1.8 * (k / 200).sqrt(), k * math.pi * (3 - math.sqrt(5))
    x = radius[:, None] * torch.stack((turn.cos(), turn.sin()), 1)
    times = grid(field, steps, "native" if isinstance(field, InPlane) else "logsnr")
    return get_solver("heun")(field, x, times, path=True).path


def main(out: Path = Path("."), steps: int = 200) -> Path:
    """Write a picture into the folder OUT."""
    probe = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    print(f"at (0.3, 0.2) in the plane, |E| = {float(InPlane().velocity(probe, 0).norm()):.0e}")
    print(f"at (0.3, 0.2) and z = 0.1, dx/dz = {WITH_Z.velocity(probe, 0.1)[0].tolist()}")
    figure = canvas.figure(1400, 780)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 0.98))
    fields = {"In the plane": InPlane(), "From z = 2, seen from above": WITH_Z}
    for ax, (name, field) in zip(figure.subplots(1, 2), fields.items(), strict=True):
        path = fall(field, steps)
        home = (path[-1].norm(dim=1) - 1).abs() < 0.02
        print(title := f"{name}: {int(home.sum())} of {len(home)} points reach the ring")
        canvas.plane(ax, torch.zeros(2), 1.95).plot(*RING.T, color=canvas.PALE, linewidth=6)
        plot_lines(ax, path[:, home], by_angle(path[-1, home]))
        ax.scatter(*path[-1, ~home].T, s=16, color=canvas.INK)
        ax.set_title(title, size=14)
    canvas.save(figure, file := out / "collapse.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
