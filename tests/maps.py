"""Flow maps that are known."""

import torch

from diffode.fields import FlowMap, Karras, Mixture
from diffode.fields.base import expand_like

MEAN = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
STD = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)


class GaussianMap(FlowMap):
    """The map of one Gaussian: its flow scales each coordinate by its standard deviation."""

    def __init__(self, schedule=None, evaluations=1):
        law = torch.ones(1).double(), MEAN[None], STD[None]
        super().__init__(Mixture(*law, schedule or Karras()), evaluations)
        self.ratio = (STD / self.moments[1]).square()

    def width(self, t):
        return (t.cos().square() * self.ratio + t.sin().square()).sqrt()

    def direction(self, z, s, t, y=None):
        s, t = (expand_like(v, z.double()) for v in (s, t))
        d = s - t
        chord = (self.width(t) / self.width(s) - d.cos()) / torch.where(d == 0, 1, d.sin())
        slope = (2 * s).sin() * (self.ratio - 1) / (2 * self.width(s).square())
        return torch.where(d == 0, slope, chord).to(z) * z


def flowed(field, x, s, t):
    """Where the flow of that Gaussian takes x, by its standard deviation at both times."""
    ends = []
    for time in (s, t):
        alpha, sigma = field.level(time, x)
        ends.append((alpha, ((alpha * STD).square() + sigma.square()).sqrt()))
    (a, w), (b, v) = ends
    return b * MEAN + (x - a * MEAN) * v / w
