"""A solver."""

from itertools import pairwise

from diffode.options import Positive
from diffode.solvers import Solver


class Halves(Solver):
    """Euler's method whose step is taken in two parts.

    Arguments:
        part: how much of the step the first one is.
    """

    name, nfe_per_step = "halves", 2

    def __init__(self, *, part: Positive = 0.5):
        self.part = part

    def states(self, f, x, times, rng):
        """Yield the states at times[1:]."""
        for t, end in pairwise(times):
            middle = t + self.part * (end - t)
            x = x + (middle - t).to(x) * f.velocity(x, t)
            x = x + (end - middle).to(x) * f.velocity(x, middle)
            yield x
