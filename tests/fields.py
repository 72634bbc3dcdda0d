"""Small fields as a user would write them."""

import torch
from torch import nn

from diffode.fields import Field
from diffode.priors import Normal


class Point(Field):
    """It pulls to a place, its one parameter."""

    prior, span, event_shape = Normal(), (0.0, 1.0), (2,)

    def __init__(self, where=1.0):
        super().__init__()
        self.where = nn.Parameter(torch.full((2,), where))

    def velocity(self, x, t, y=None):
        return self.where - x


class Turning(Field):
    """Rotations of the plane, row i at the i-th rate."""

    prior, span, event_shape = Normal(), (0.0, 1.0), (2,)

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def rows(self, index):
        return Turning(self.rate[index])

    def velocity(self, x, t, y=None):
        return self.rate[:, None] * x.flip(-1) * x.new_tensor([-1.0, 1.0])

    def end(self, x):
        c, s = self.rate.cos()[:, None], self.rate.sin()[:, None]
        return c * x + s * x.flip(-1) * x.new_tensor([-1.0, 1.0])
