r"""From eight Gaussians to two moons and back: the same two ends by three families of curves.

A flow need not start from noise. Join points x_1 of one set and x_0 of another by curves, put a
little noise on them, and take the mean of the curves' rates at each point:

    x_t = I(t, x_0, x_1) + gamma(t) z,        f_t(x) = E[dI/dt + gamma' z | x_t = x].

The flow of f carries the one law to the other, whatever the curves are; only the way is another.
The first three pictures are exact, from the two sets alone; the last is a network's.

Reference: Albergo, Boffi and Vanden-Eijnden (2023), https://arxiv.org/abs/2303.08797.
"""

from pathlib import Path

import torch
import typer

import diffode
from diffode.data import load
from diffode.fields import EmpiricalInterpolant, Field, Interpolant
from diffode.viz import canvas

STARTS, POINTS = "eight-gaussians", "moons"
CURVES = {
    "linear": "Straight lines",
    "trigonometric": "Arcs that keep the variance",
    "bridge": "Bridges that swing to one side",
}


def exact(curve: str, count: int = 60) -> Field:
    """The exact field between some points of the two sets, on one family of curves."""
    data, start = load(POINTS).train[:count], load(STARTS).train[:count]
    return EmpiricalInterpolant(data, start, Interpolant(curve, gamma=0.2), bandwidth=0.15)


def learned(steps: int) -> Field:
    """The field of a network that has learned straight lines between the two sets."""
    small = {"steps": steps, "batch": 256, "width": 64, "depth": 2}
    return diffode.fit("interpolant", POINTS, prior_data=STARTS, **small).field


def main(out: Path = Path("."), steps: int = 50) -> Path:
    """Write a picture into the folder OUT."""
    fields = {title: exact(curve) for curve, title in CURVES.items()}
    fields[f"Straight lines, learned in {20 * steps} steps"] = learned(20 * steps)
    flows = {}
    for title, field in fields.items():
        flows[title] = flow = diffode.sample(field, 250, "heun", steps=steps, path=True)
        back = diffode.encode(field, flow.x, "heun", steps=steps).x
        error = float((back - flow.latent.x).square().mean().sqrt())
        print(f"{title}: back at the start to {error:.1e}")
    shown = torch.cat([flow.path[:, :60].reshape(-1, 2) for flow in flows.values()])
    shown = torch.cat([shown, *(torch.cat([flow.path[0], flow.x]) for flow in flows.values())])
    (left, bottom), (right, top) = shown.amin(0).tolist(), shown.amax(0).tolist()
    figure = canvas.figure(2000, round(475 * (top - bottom) / (right - left)) + 50)
    figure.set_layout_engine("constrained")
    for ax, (title, flow) in zip(figure.subplots(1, 4), flows.items(), strict=True):
        for k in range(60):
            ax.plot(*flow.path[:, k].T, color=canvas.INK, linewidth=0.4, alpha=0.5)
        ax.scatter(*flow.path[0].T, s=6, color=canvas.BLUE, zorder=3)
        ax.scatter(*flow.x.T, s=6, color=canvas.ORANGE, zorder=3)
        ax.set(title=title, aspect="equal", xticks=[], yticks=[])
        ax.set(xlim=(left - 0.1, right + 0.1), ylim=(bottom - 0.1, top + 0.1))
        ax.spines[:].set_visible(False)
    canvas.save(figure, file := out / "data_to_data.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
