"""The bound on the Wasserstein distance of flows: it holds, and is tight where it should be."""

import itertools

import pytest
import torch

from diffode.analysis.bound import wasserstein_bound
from diffode.fields import VP, Empirical, Karras, Mixture, PoissonField
from diffode.priors import StudentT
from diffode.rng import Rng
from tests.quick import quick

WEIGHTS = torch.tensor([0.5, 0.5], dtype=torch.float64)
MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)


def mixture(schedule, std=0.8, shift=0.0, means=MEANS):
    stds = torch.full((2,), std, dtype=torch.float64)
    return Mixture(WEIGHTS, means + shift, stds, schedule)


def bound(trained, exact, steps=60, n=80):
    return wasserstein_bound(trained, exact, exact.sample(n, Rng(3)), steps=steps)


@pytest.mark.parametrize("schedule", [VP(), Karras(0.002, 80.0)], ids=["vp", "karras"])
@pytest.mark.parametrize(
    ("std", "shift"), quick(itertools.product([0.8, 0.4], [0.0, 0.05, 0.3]), 1, 3)
)
def test_it_holds_on_mixtures_and_says_how_loose_it_is(schedule, shift, std):
    found = bound(mixture(schedule, std, shift), mixture(schedule, std))
    assert found.value >= found.measured
    assert found.value == pytest.approx(found.start + found.model)
    assert (found.model == 0) == (shift == 0)
    assert 1 <= found.looseness < (4 if std == 0.8 else 60)


def test_modes_that_are_apart_make_it_useless():
    near, far = (bound(mixture(VP(), s, 0.05), mixture(VP(), s)) for s in (0.8, 0.2))
    assert far.looseness > 10 * near.looseness and far.exponent > near.exponent + 2


def test_a_gaussian_has_no_exponent_and_the_bound_of_its_start_is_exact():
    """In the angle the flow of one round Gaussian stands still: nothing grows."""
    one = mixture(VP(), std=1.0, means=torch.zeros(2, 2, dtype=torch.float64))
    found = bound(one, one)
    assert abs(found.exponent) < 1e-6
    assert found.value == pytest.approx(found.measured, rel=1e-3)


def test_it_does_not_depend_on_the_steps():
    coarse, fine = (bound(mixture(VP(), shift=0.1), mixture(VP()), k) for k in (40, 120))
    assert coarse.value == pytest.approx(fine.value, rel=0.02)


def test_what_it_cannot_bound_is_refused():
    wide = Empirical(torch.randn(30, 17, generator=torch.Generator().manual_seed(0)), VP())
    with pytest.raises(ValueError, match="17 coordinates"):
        wasserstein_bound(wide, wide, torch.zeros(4, 17))
    points = Empirical(MEANS, Karras(), StudentT(1.0))
    with pytest.raises(ValueError, match="plane form"):
        wasserstein_bound(PoissonField(points), points, MEANS)
