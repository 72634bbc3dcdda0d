r"""Every monotone h leads a GAN's samples to the data, each by a clock of its own.

Samples q_t that climb h(d), d = log p / q_t, lower KL(q_t | p) at the rate E_q[h'(d) |grad d|^2]:
for every h' > 0 its only rest is q = p. But far from the data d is large and negative, and there
h' = sigmoid(d) of the saturating GAN is e^d: its gradient vanishes, where that of -D is 1.

Here p = N(0, 1) and the generator is g(z) = m + s z, so that q_t = N(m, s^2) and d is known. Its
two parameters follow the regression on moved samples: m and s change by the straight line that
is nearest to the velocity over 99 even latents. Divergences that grow as e^d rest on the few
samples that are near the data already, and no batch from afar has those.

References: MonoFlow (Yi et al., 2023), https://arxiv.org/abs/2302.01075; Goodfellow et al. (2014),
https://arxiv.org/abs/1406.2661, section 3 (why to turn the loss round).
"""

import math
from pathlib import Path

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from diffode.fields.divergences import DIVERGENCES
from diffode.viz import canvas

Z = torch.special.ndtri((torch.arange(99, dtype=torch.float64) + 0.5) / 99)
STARTS = {"near": 1.0, "far": 6.0}
SHOWN = {name: entry for name, entry in DIVERGENCES.items() if entry.monotone}
SAME = {"reverse-kl": "logit", "js": "vanilla"}  # the same flow by another name


def slope(name: str, m: float, s: float) -> tuple[float, float]:
    """How m and s change: the line nearest to the samples' velocity h'(d) grad d."""
    x = m + s * Z
    d = Z.square() / 2 - x.square() / 2 + math.log(s)
    v = DIVERGENCES[name].slope(d) * (Z / s - x)
    return float(v.mean()), float((v * Z).mean() / Z.square().mean())


def divergence(name: str, start: float, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(q_t | p) at these times, from N(start, 1/4)."""

    def rate(_: float, state: NDArray[np.float64]) -> list[float]:
        dm, ds = slope(name, state[0], math.exp(state[1]))
        return [dm, ds / math.exp(state[1])]

    began = [start, math.log(0.5)]
    found = solve_ivp(
        rate, (0, times[-1]), began, "BDF", times, rtol=1e-5, atol=1e-8, first_step=1e-14
    )
    m, log_s = found.y
    return (m**2 + np.exp(2 * log_s) - 1) / 2 - log_s


def main(out: Path = Path("."), steps: int = 300) -> Path:
    """Write a picture into the folder OUT."""
    figure = canvas.figure(1500, 640)
    figure.set_layout_engine("constrained")
    times = np.geomspace(1e-13, 1e13, steps)
    for ax, (where, start) in zip(figure.subplots(1, 2, sharey=True), STARTS.items(), strict=True):
        for i, name in enumerate(n for n in SHOWN if n not in SAME):
            kl = divergence(name, start, times)
            names = ", ".join([name, *(other for other, one in SAME.items() if one == name)])
            half = times[np.argmax(kl < kl[0] / 2)]
            print(
                f"{where}: {names}: half of KL is gone at t = {half:.2g}, in the end {kl[-1]:.1e}"
            )
            style = "-" if i < 8 else "--"
            ax.loglog(times, kl, style, color=canvas.WHEEL[i % 8], linewidth=2, label=names)
        ax.set_title(f"From {where}: N({start:g}, 1/4) to N(0, 1)")
        ax.set(xlabel="t", ylabel="KL(q | p)", ylim=(1e-4, 40))
        ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower left", frameon=False)
    canvas.save(figure, file := out / "monoflow_clock.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
