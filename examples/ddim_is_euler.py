r"""DDIM is Euler's method, in the coordinates that every affine path shares.

A path x_t = alpha x_0 + sigma n becomes, with y = x / alpha and rho = sigma / alpha, the ODE

    dy / drho = E[n | y, rho],       y = x_0 + rho n,

whatever alpha and sigma are. DDIM keeps the two conditional means and moves the level,

    x' = alpha' E[x_0 | x] + sigma' E[n | x],    and so    y' = y + (rho' - rho) E[n | y, rho]:

one Euler step. Nothing here asks for normal noise: with Student-t noise the same step integrates a
Poisson flow (D = 1 is PFGM), so DDIM samples it unchanged.

Reference: DDIM (Song et al., 2021), https://arxiv.org/abs/2010.02502, eq. 12 and section 4.3.
"""

from pathlib import Path

import torch
import typer
from torch import Tensor

from diffode.data import load
from diffode.fields import VP, AffineField, Empirical, Karras
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver, grid
from diffode.viz import canvas

DATA = load("moons").train[:500].double()
FIELDS = {
    "VP diffusion": Empirical(DATA, VP()),
    "Poisson flow (D = 1)": Empirical(DATA, Karras(0.002, 20.0), StudentT(1)),
}


def compare(field: AffineField, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The states y of DDIM and of Euler's method (T, 24, 2), and rho at them (T,)."""
    times = grid(field, steps, "f1.5")
    alpha, rho = field.schedule.alpha(times), field.schedule.rho(times)
    x = field.prior.sample((24, 2), Rng(1), max_radius=3 * field.prior.scale, dtype=torch.float64)
    ddim = get_solver("ddim")(field, x, times, path=True).path / alpha[:, None, None]
    euler = [x / alpha[0]]
    for k in range(steps):
        slope = field.noise_part(alpha[k] * euler[-1], times[k])
        euler.append(euler[-1] + (rho[k + 1] - rho[k]) * slope)
    return ddim, torch.stack(euler), rho


def main(out: Path = Path("."), steps: int = 12) -> Path:
    """Write a picture into the folder OUT."""
    figure = canvas.figure(1400, 780)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 0.98))
    for ax, (name, field) in zip(figure.subplots(1, 2), FIELDS.items(), strict=True):
        ddim, euler, rho = compare(field, steps)
        gap = float((ddim - euler).abs().max())
        print(f"{name}: in {steps} steps DDIM and Euler differ by {gap:.0e} at most")
        exact, _, fine = compare(field, 25 * steps)
        ax.scatter(*DATA.T, s=4, color=canvas.PALE)
        for y, level, style in (
            (exact, fine, {"color": canvas.PALE, "lw": 2.5}),
            (ddim, rho, {"color": canvas.BLUE, "marker": "o", "ls": "", "mfc": "none", "ms": 8}),
            (euler, rho, {"color": canvas.ORANGE, "marker": ".", "lw": 0.9, "ms": 5}),
        ):
            shown = y / (1 + (level / field.moments[1]) ** 2).sqrt()[:, None, None]  # in view
            ax.plot(shown[..., 0], shown[..., 1], **style)
        ax.set_title(f"{name}: they differ by {gap:.0e} at most", fontsize=13)
        canvas.plane(ax, torch.zeros(2), 3.6)
    names = (f"DDIM, {25 * steps} steps", f"DDIM, {steps} steps", "Euler's method, the same steps")
    figure.legend(ax.lines[::24], names, loc="outside lower center", ncols=3, frameon=False)
    canvas.save(figure, file := out / "ddim_is_euler.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
