r"""A flow in one evaluation: its map from the prior to the data, learned from its own paths.

In the angle theta = atan(sigma / (alpha s)) the map of a flow from s to t is written

    Z(z, s, t) = cos(s - t) z + sin(s - t) F(z, s, t).

One step of DDIM is this with an F that does not look at t, and from the prior it leads to the mean
of the data. A network that is told both times learns F as the chord between two states of a path,

    F = (z_t - cos(s - t) z_s) / sin(s - t),

here of the exact field of eight Gaussians, so that it can be compared with the exact map.

Reference: Boffi et al. (2025), https://arxiv.org/abs/2505.18825.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import typer

from diffode import build, sample, train
from diffode.data.stats import data_stats
from diffode.data.toys import TOYS
from diffode.fields import Karras, Mixture
from diffode.rng import Rng
from diffode.runs.paths import Drawing, saved_paths
from diffode.training.jumps import Teacher
from diffode.viz import canvas

LAW = TOYS["eight-gaussians"].law
FIELD = Mixture(LAW.weights, LAW.means.float(), torch.full((8,), LAW.std), Karras())


def main(out: Path = Path("."), steps: int = 1400) -> Path:
    """Write a picture into the folder OUT."""
    mean, std = FIELD.moments
    stats = replace(data_stats(LAW.sample(10_000, Rng(3))[0].float()), mean=mean.float(), std=std)
    objective = build(
        "flowmap", (2,), stats=stats, objective="pairs", of="edm", width=128, depth=3
    )
    count = min(16384, 64 * steps)
    with TemporaryDirectory() as folder:
        drawing = Drawing(Path(folder), "exact", count, 32, seed=1_000_000)
        paths, angles = saved_paths(FIELD, drawing)
    objective.follow(Teacher(FIELD, angles))
    *_, last = train(objective, paths, steps=steps, batch=512, lr=6e-3, device="cpu")

    exact = sample(FIELD, 2000, nfe=100, seed=5).x
    drawn = {
        "exact, 100 evaluations": exact,
        "DDIM, 1 step": sample(FIELD, 2000, "ddim", steps=1, seed=5).x,
        "flow map, 1 jump": sample(last.averaged, 2000, nfe=1, seed=5).x,
    }
    figure = canvas.figure(1500, 520)
    for ax, (name, x) in zip(figure.subplots(1, 3), drawn.items(), strict=True):
        error = float((x - exact).square().sum(1).mean().sqrt())
        ax.scatter(*exact.T, s=4, color=canvas.PALE)
        ax.scatter(*x.T, s=2, color=canvas.BLUE)
        ax.set_title(name if x is exact else f"{name}: off by {error:.2f}", fontsize=13)
        canvas.plane(ax, torch.zeros(2), 3)
        print(f"{name}: {error:.3f} from the exact map")
    canvas.save(figure, file := out / "one_evaluation.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
