"""A class of one's own that leaves something out is told what, by every base."""

import itertools

import pytest
import torch

from diffode import sample
from diffode.fields import VP, Empirical, Field, Schedule
from diffode.priors import Normal, Spherical
from diffode.rng import Rng
from diffode.solvers import Solver

EXACT = Empirical(torch.tensor([[0.0, 1.0], [1.0, -1.0]]), VP())


class Empty(Solver):
    """It takes no step."""


class Still(Field):
    """It has no velocity."""

    prior, span, event_shape = Normal(), (0.0, 1.0), (2,)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: sample(EXACT, 2, Empty(), nfe=5), r"Empty has no states\(\)"),
        (lambda: sample(Still(), 2, nfe=5), r"Still has no velocity\(\)"),
        (lambda: Schedule().sigma(torch.tensor(0.5)), r"Schedule has no sigma\(\)"),
        (lambda: Spherical().sample((2, 2), Rng(0)), r"Spherical has no mixing\(\)"),
    ],
)
def test_what_a_class_leaves_out_is_named(act, said):
    with pytest.raises(NotImplementedError, match=f"{said}; write it in that class"):
        act()


class Ralston(Solver):
    """Two evaluations a step, which it does not say."""

    def states(self, f, x, times, rng):
        for t, end in itertools.pairwise(times):
            h = (end - t).to(x)
            slope = f.velocity(x, t)
            other = f.velocity(x + 2 / 3 * h * slope, t + 2 / 3 * (end - t))
            x = x + h * (slope + 3 * other) / 4
            yield x


def test_a_solver_that_spends_more_than_it_says_is_refused():
    with pytest.raises(ValueError, match=r"Ralston spent 17 .*, and nfe=9 .*per_step = 1"):
        sample(EXACT, 2, Ralston(), nfe=9)
    honest = Ralston()
    honest.nfe_per_step = 2
    assert sample(EXACT, 2, honest, nfe=9).nfe == 9
    assert sample(EXACT, 2, Ralston(), steps=4).nfe == 9
