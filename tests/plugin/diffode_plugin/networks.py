"""A network."""

import math

import torch
from torch import nn


class Sine(nn.Module):
    """One hidden layer of sines."""

    def __init__(self, event_shape, *, conditions, classes, extra, width, depth):
        super().__init__()
        size = math.prod(event_shape)
        self.shape, width = tuple(event_shape), width or 32
        self.first = nn.Linear(size + conditions, width)
        self.last = nn.Linear(width, size)

    def forward(self, x, cond, y=None):
        """The output for points (B, *event) and their conditioning numbers (B, k)."""
        h = self.first(torch.cat((x.flatten(1), cond), 1)).sin()
        return self.last(h).view(-1, *self.shape)
