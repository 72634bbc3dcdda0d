"""What every spherical law keeps, ours and a user's: a new law is tested by its line in LAWS."""

import itertools
import math

import pytest
import torch
from scipy import integrate
from test_third_law import Contaminated

from diffode.data import load
from diffode.fields import Cosine, Empirical
from diffode.priors import Ball, GeneralisedNormal, Normal, RadialLogistic, StudentT
from diffode.rng import Rng
from diffode.testing import check_field

LAWS = [
    Normal(),
    StudentT(1.0),
    StudentT(8.0),
    Contaminated(),
    GeneralisedNormal(1.0),
    RadialLogistic(),
    Ball(),
]
each = pytest.mark.parametrize("law", LAWS, ids=repr)


def share_within(law, radius, dim):
    """The probability of the ball of this radius, from the density alone."""
    area = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)

    def shell(r):
        x = torch.zeros(1, dim, dtype=torch.float64)
        x[0, 0] = r
        return area * r ** (dim - 1) * float(law.log_prob(x).exp())

    ends = [0.0, min(1.0, radius), *([radius] if radius > 1 else [])]
    return sum(integrate.quad(shell, a, b)[0] for a, b in itertools.pairwise(ends))


@each
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_density_integrates_to_one_and_its_draws_follow_it(law, dim):
    law = law.at(0.7)
    assert share_within(law, math.inf, dim) == pytest.approx(1, abs=1e-7)
    radii = law.sample((4000, dim), Rng(1), dtype=torch.float64).norm(dim=1)
    for radius in (0.3, 1.0, 2.5):
        share = share_within(law, radius, dim)
        inside = float((radii <= radius).double().mean())
        spread = math.sqrt(max(share * (1 - share), 0) / len(radii))
        assert abs(inside - share) < 4 * spread + 1e-7


@each
def test_a_row_is_drawn_alone(law):
    x, rng = law.sample((6, 2), Rng(2)), Rng(2)
    assert torch.equal(law.sample((2, 2), rng.rows(torch.tensor([4, 5]))), x[4:])


@each
def test_the_flow_of_exact_points_keeps_the_contract(law):
    check_field(Empirical(load("moons").train[:64], Cosine(), law))
