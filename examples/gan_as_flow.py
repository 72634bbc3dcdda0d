r"""A GAN as a flow: particles that climb the critic, and a generator that does so in its own time.

Both rows of the picture train a critic to tell data from samples, and move the samples by grad
h(d), here d itself. Particles step by themselves (`monoflow`); those of a generator are taken
along by its weights, x_t = g_t(z), t being training time (`gan`).

One generator step on the loss -h(d) is one of regression on the moved samples. At the end both
take 32 steps from the same generator and the same critic, which knows the log-ratio of the start
only: the loss carries samples on, the regression stops them at epsilon grad h(d).

Reference: MonoFlow (Yi et al., 2023), https://arxiv.org/abs/2302.01075.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import typer
from torch import Tensor

from diffode import Rng, build, sample, train
from diffode.data import load
from diffode.devices import choose
from diffode.training import data_stats
from diffode.training.adversarial import AlternatingGAN, GeneratorRegression
from diffode.viz import canvas

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

DATA = load("eight-gaussians").train
COLUMNS, FRAMES, COUNT, EPSILON = 5, 25, 600, 0.1


def particles(steps: int) -> Tensor:
    """Fresh particles at 25 times of a march, shape (25, 600, 2)."""
    stages = max(COLUMNS - 1, min(40, steps // 60))
    objective = build("monoflow", (2,), stats=data_stats(DATA), stages=stages, width=64)
    for _ in train(objective, DATA, steps=steps, batch=128, lr=2e-3, clip=1e6):
        continue
    path = sample(objective.field, COUNT, path=True).path.cpu()
    return path[torch.linspace(0, stages, FRAMES).long()]


class Carried(NamedTuple):
    """How far samples went, in lengths of epsilon v, and the cosine of their angle with it."""

    ratio: float
    cosine: float


def generator(steps: int) -> tuple[Tensor, dict[str, Carried]]:
    """Samples of fixed latents at 25 steps, and how far several steps on one critic carry."""
    stats = data_stats(DATA)
    objective = build("gan", (2,), stats=stats, width=64, regression=True, epsilon=EPSILON)
    z = Rng(1).normal("latents", (COUNT, 2), device=choose("auto"))
    path, steps = [], max(steps, FRAMES)
    when = [1 + (steps - 1) * k // (FRAMES - 1) for k in range(FRAMES)]
    several = {}
    for state in train(objective, DATA, steps=steps, batch=128, lr=1e-3, clip=1e6):
        if state.step in when:
            path.append(objective.generated.make(z).detach().cpu())
        if state.step == when[6]:
            several = {
                "-h(d)": carried(objective, AlternatingGAN, z),
                "regression": carried(objective, GeneratorRegression, z),
            }
    return torch.stack(path), several


def carried(objective: GeneratorRegression, kind: type[AlternatingGAN], z: Tensor) -> Carried:
    """Where 32 steps of a loss take the samples, beside epsilon v."""
    trial = copy.deepcopy(objective)
    before = trial.generated.make(z).detach()
    optimiser = torch.optim.Adam(trial.generated.generator.parameters(), lr=3e-3)
    for _ in range(32):
        optimiser.zero_grad()
        kind.generator_loss(trial, z, None, Rng(0)).backward()
        optimiser.step()
    went = (trial.generated.make(z) - before).detach().flatten()
    wanted = EPSILON * trial.velocity(before, None).detach().flatten()
    cosine = torch.cosine_similarity(went, wanted, dim=0)
    return Carried(float(went.norm() / wanted.norm()), float(cosine))


def drawn(ax: Axes, x: Tensor, title: str, colour: str) -> list[Artist]:
    """Points over the data."""
    ax.clear()
    ax.scatter(*DATA[:COUNT].T, s=2, color="0.8")
    points = ax.scatter(*x.T, s=3, color=colour)
    ax.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xticks=[], yticks=[], title=title)
    return [points]


def animated(paths: dict[str, Tensor], file: Path) -> None:
    """Both flows side by side, as a GIF."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    figure = canvas.figure(800, 420)
    axes = figure.subplots(1, 2)

    def frame(k: int) -> list[Artist]:
        rows = zip(axes, paths.items(), canvas.WHEEL, strict=False)
        return [p for ax, (name, x), c in rows for p in drawn(ax, x[k], name, c)]

    FuncAnimation(figure, frame, FRAMES).save(file, PillowWriter(fps=6))
    print(f"wrote {file}")


def main(out: Path = Path("."), steps: int = 800, animate: bool = False) -> Path:
    """Write a picture into the folder OUT."""
    paths = {"particles": particles(2 * steps)}
    paths["generator"], several = generator(steps)
    figure = canvas.figure(1500, 640)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(2, COLUMNS, sharex=True, sharey=True)
    for row, (name, path), colour in zip(axes, paths.items(), canvas.WHEEL, strict=False):
        for k, ax in enumerate(row):
            drawn(ax, path[k * (FRAMES // (COLUMNS - 1))], f"{name}, {k} of {COLUMNS - 1}", colour)
    for name, found in several.items():
        print(f"32 steps of {name}: {found.ratio:.2f} times epsilon v, cosine {found.cosine:.2f}")
    canvas.save(figure, file := out / "gan_as_flow.png")
    print(f"wrote {file}")
    if animate:
        animated(paths, file.with_suffix(".gif"))
    return file


if __name__ == "__main__":
    typer.run(main)
