"""Errors that are stated: near 0 and 1, of few points, of a width; equal rows and far origins."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from diffode.metrics import (
    bandwidth,
    copying,
    energy_distance,
    mmd,
    nearest,
    precision_recall,
)
from diffode.metrics.estimates import fraction, stated
from diffode.rng import Rng
from tests.draws import Quick
from tests.test_metrics import draw, spread

SHARES = ["precision", "recall", "density", "coverage"]


def covered(measure, name, repeats=60):
    """How often 1.96 stated errors reach the mean over fresh draws, in percent."""
    found = [measure(k)[name] for k in range(repeats)]
    middle = np.mean([e.value for e in found])
    return 100 * np.mean([abs(e.value - middle) <= 1.96 * e.stderr + 1e-12 for e in found])


@pytest.mark.parametrize("dim", [2, 16])
def test_stated_error_of_shares_is_their_spread_over_both_sets(dim):
    found = [precision_recall(draw(300, dim, 2 * k), draw(240, dim, 2 * k + 1)) for k in range(40)]
    for name in SHARES:
        ratio = np.std([f[name].value for f in found], ddof=1) / np.mean(
            [f[name].stderr for f in found]
        )
        assert (0.4 if name == "density" else 0.25) < ratio < 1.3, name  # Wilson's is wider


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_intervals_of_shares_near_one_hold_for_few_points(width, n=30):
    found = [precision_recall(width * draw(n, 2, 2 * k), draw(n, 2, 2 * k + 1)) for k in range(60)]
    for name in ("precision", "recall", "coverage"):
        assert covered(lambda k: found[k], name) > 93, name


def test_a_fraction_of_nothing_or_all_has_the_error_of_wilsons_interval():
    """The ends are those that scipy gives."""
    for hits, n in ((0, 30), (30, 30), (29, 30), (3, 200)):
        ends = stats.binomtest(hits, n).proportion_ci(0.95, "wilson")
        far = max(abs(end - hits / n) for end in (ends.low, ends.high))
        found = fraction(hits / n, hits / n * (1 - hits / n) / n, n)
        assert 1.96 * found.stderr == pytest.approx(far, rel=1e-3)
    nothing = precision_recall(draw(50, 2, 1), draw(50, 2, 2, mean=50.0))
    assert all(nothing[name].value == 0 < nothing[name].stderr < 0.1 for name in SHARES)


def test_few_points_state_no_error_and_more_state_students():
    assert math.isnan(energy_distance(draw(29, 2, 1), draw(100, 2, 2)).stderr)
    assert stated(1.0, 1.0, 30, 100).stderr == pytest.approx(stats.t.ppf(0.975, 29) / 1.96)


def test_stated_error_of_mmd_has_the_share_of_its_default_width():
    """Where a width follows the draws, they move the value less than at a width of its own."""

    def ratio(width):
        return spread(
            lambda k: mmd(draw(150, 2, 2 * k, mean=3.0), draw(60, 2, 2 * k + 1), width), 60
        )

    assert 0.8 < ratio(None) < 1.25
    assert 0.8 < ratio(1.5) < 1.25


def test_equal_rows_leave_a_kernel_its_width():
    """The median distance of rows of which 71 % are equal is 0; that of different rows is not."""
    x = draw(400, 5, 1, mean=0.37)
    x[Rng(1).uniform("equal", (400,)) < 0.71] = torch.tensor([0.11, 0.27, 1.71, 0.5, 0.9]).double()
    different = torch.pdist(x)
    assert float(different.median()) == 0
    expected = float(different[different > 0].median())
    assert bandwidth(x) == pytest.approx(expected, rel=1e-9)
    assert math.isfinite(mmd(x, x + 0.1).value)
    with pytest.raises(ValueError, match="5 points that are all equal"):
        bandwidth(torch.ones(5, 2) / 3)


def test_equal_and_equally_distant_rows_are_inside_whatever_rounding_makes_of_them():
    x = draw(300, 7, 1, mean=0.3)[Rng(1).uniform("rows", (300,)).mul(40).long()]
    found = precision_recall(x, x.flip(0))
    assert all(found[name].value == 1 for name in ("precision", "recall", "coverage"))


@pytest.mark.parametrize("offset", [0.0, 300.0, 1000.0])
def test_copies_are_found_far_from_the_origin(offset):
    noise = [0.3 * Quick(k).normal("x", (n, 784)) for k, n in ((1, 500), (2, 100), (3, 100))]
    copies = noise[0][:100] + 0.2 * noise[2]
    found = copying(copies + offset, noise[0] + offset, noise[1] + offset)
    assert found.value == 1
    assert nearest(copies + offset, noise[0] + offset)[1].tolist() == list(range(100))


def test_the_error_of_a_root_near_zero_is_bounded():
    x = draw(100, 2, 1)
    for distance in (energy_distance(x, x), energy_distance(x, x + 1e-9)):
        assert math.isnan(distance.stderr) or distance.stderr < 1
