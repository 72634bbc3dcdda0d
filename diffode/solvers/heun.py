"""Heun's method, the workhorse of EDM."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from diffode.fields.reschedule import Clock
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.counted import CountedField


class Heun(Solver):
    r"""Heun's method of order 2 on any field, two evaluations a step.

    .. math:: \tilde x = x + h f(x, t), \qquad x' = x + \tfrac h2 [f(x, t) + f(\tilde x, t + h)].

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, algorithm 1.

    Arguments:
        clock: the time and state that are integrated in.
    """

    name, grid, nfe_per_step, per_coordinate = "heun", "karras", 2, True

    def __init__(self, *, clock: Clock = "native") -> None:
        self.clock = clock

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        for t, t_next in pairwise(times):
            h = (t_next - t).item()
            slope = f.velocity(x, t)
            slope_next = f.velocity(x + h * slope, t_next)
            x = x + h / 2 * (slope + slope_next)
            yield x
