"""The sampler of corruptions: guess the data, then step back a little by the guess."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from diffode.fields.corruption import Corrupting
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.counted import CountedField


class Revise(Solver):
    r"""Guess x_0 and draw the next state by the guess, on every corruption.

    .. math:: \hat x_0 \sim q(x_0 | x_t), \qquad x_s \sim p(x_s | x_t, \hat x_0).

    A guess from the posterior of x_0 as a whole makes samples of the exact law in any number of
    steps. A guess that draws each position alone needs many: two positions that change in one
    step do not know of each other. On an affine path with the guess E[x_0 | x_t] it is DDIM.

    References: Su (2022), https://kexue.fm/archives/9262; D3PM (Austin et al., 2021),
    https://arxiv.org/abs/2107.03006, eq. 4.
    """

    name, needs = "revise", Corrupting

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:].

        Raises:
            ValueError: times that run away from the data.
        """
        field = f.field
        assert isinstance(field, Corrupting)  # by Solver.check
        first, last = field.span
        if float(times[1] - times[0]) * (last - first) <= 0:
            raise ValueError(
                "revise goes from t_prior to t_data alone; the other way is corruption.corrupt"
            )
        for k, (t, s) in enumerate(pairwise(times)):
            drawn = rng.at(k)
            x = field.corruption.step(x, f.guess(x, t, drawn), t, s, drawn)
            yield x
