"""A data set."""

import torch

from diffode import Rng


def spiral(seed):
    """400 points of two spirals and their arms, as a pair."""
    rng = Rng(seed)
    angle, arm = 6 * rng.uniform("angle", (400,)), torch.arange(400) % 2
    x = torch.stack((angle.cos(), angle.sin()), 1) * (0.2 + angle[:, None] / 6)
    return x * (1 - 2 * arm[:, None]) + 0.02 * rng.normal("noise", (400, 2)), arm
