"""Distances between sets of points, beside independent implementations of the same numbers."""

import math
import warnings

import numpy as np
import pytest
import torch

from diffode.bench.metrics import sliced_wasserstein2
from diffode.rng import Rng


def draw(n, d, seed, mean=0.0, std=1.0):
    return mean + std * Rng(seed).normal("x", (n, d), torch.float64)


def directions(d, count=256, seed=0):
    p = Rng(seed).normal("directions", (count, d), torch.float64)
    return p / p.norm(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def ot():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("ot")


def spread(measure, repeats=40):
    """The standard deviation of a measure over fresh draws, and its mean standard error."""
    found = [measure(k) for k in range(repeats)]
    values = np.array([e.value for e in found])
    return values.std(ddof=1), np.mean([e.stderr for e in found])


@pytest.mark.parametrize(("n", "m"), [(50, 50), (60, 40), (37, 101)])
def test_sliced_distance_is_that_of_pot(ot, n, m):
    x, y = draw(n, 3, 1), draw(m, 3, 2, mean=0.5, std=2.0)
    theirs = ot.sliced_wasserstein_distance(
        x.numpy(), y.numpy(), projections=directions(3).T.numpy()
    )
    assert abs(sliced_wasserstein2(x, y).value - theirs) < 1e-6


def test_sliced_distance_of_a_shift_is_the_mean_projection_of_it():
    x, shift = draw(100, 5, 1), torch.arange(5).double()
    wanted = (directions(5) @ shift).square().mean().sqrt()
    assert math.isclose(sliced_wasserstein2(x, x + shift).value, float(wanted), rel_tol=1e-9)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (150, 300)])
def test_error_of_the_sliced_distance_is_its_spread(n, m):
    measured, stated = spread(
        lambda k: sliced_wasserstein2(
            draw(n, 2, 2 * k), draw(m, 2, 2 * k + 1, mean=1.0, std=1.5), projections=64
        )
    )
    assert 0.7 < measured / stated < 1.4
