r"""A GAN as a flow: particles that climb the critic, and a generator that does so in its own time.

Both columns of the picture train a critic to tell data from samples, and move the samples by
grad h(d), here d itself. Particles step by themselves (`monoflow`); those of a generator are
taken along by its weights, x_t = g_t(z), t being training time (`gan`).

One generator step on the loss -h(d) is one of regression on the moved samples. Below, both take
32 steps from the same generator and the same critic, which knows the log-ratio of the start only:
the loss carries samples beyond that, the regression stops them at epsilon grad h(d).

Reference: MonoFlow (Yi et al., 2023), https://arxiv.org/abs/2302.01075.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from diffode import Rng, build, sample, train
from diffode.data import load
from diffode.training import data_stats
from diffode.training.history import GeneratorHistory, followed
from diffode.viz import canvas

DATA = load("eight-gaussians").train
COLUMNS, COUNT, EPSILON = 5, 600, 0.3


def particles(steps: int) -> Tensor:
    """Fresh particles at five times of a march, shape (5, 600, 2)."""
    stages = max(COLUMNS - 1, min(40, steps // 40))
    objective = build("monoflow", (2,), stats=data_stats(DATA), stages=stages, width=64)
    for _ in train(objective, DATA, steps=steps, batch=64, lr=2e-3, clip=1e6):
        pass
    path = sample(objective.field, COUNT, path=True).path
    return path[torch.linspace(0, stages, COLUMNS).long()]


def generator(steps: int) -> tuple[Tensor, list[int], Tensor, list[tuple[float, float]]]:
    """Samples of fixed latents at five steps; then those of the loss and of the regression."""
    objective = build(
        "gan", (2,), stats=data_stats(DATA), width=64, regression=True, epsilon=EPSILON
    )
    z = Rng(1).normal("latents", (COUNT, 2))
    history, when = GeneratorHistory(), [max(1, steps * k // 16) for k in (0, 1, 3, 8, 16)]
    for state in train(objective, DATA, steps=steps, batch=128, lr=1e-3, clip=1e6):
        if state.step in when:
            history.keep(state.step, objective.field)
    return history.path(z), history.steps
