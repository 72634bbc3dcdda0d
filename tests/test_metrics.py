"""Distances between sets of points, beside independent implementations of the same numbers."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import linear_sum_assignment

from diffode import metrics
from diffode.metrics import (
    energy_distance,
    frechet,
    kernel_distance,
    mmd,
    precision_recall,
    require_second_moment,
    sliced_wasserstein2,
    wasserstein2,
)
from diffode.priors import Normal, Radial, StudentT
from diffode.rng import Rng
from tests.draws import Quick

CLOSE = 1e-6


def draw(n, d, seed, mean=0.0, std=1.0):
    return mean + std * Quick(seed).normal("x", (n, d), torch.float64)


def pairs(n=120, m=80, d=3):
    return draw(n, d, 1), draw(m, d, 2, mean=0.4, std=1.5)


def directions(d, count=256, seed=0):
    p = Rng(seed).normal("directions", (count, d), torch.float64)
    return p / p.norm(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def ot():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("ot")


# --------------------------------------------------------------------- independent implementations


@pytest.mark.parametrize(("n", "m"), [(50, 50), (60, 40), (37, 101)])
def test_sliced_distance_is_that_of_pot(ot, n, m):
    x, y = pairs(n, m)
    theirs = ot.sliced_wasserstein_distance(
        x.numpy(), y.numpy(), projections=directions(3).T.numpy()
    )
    assert abs(sliced_wasserstein2(x, y).value - theirs) < CLOSE


def test_exact_distance_is_that_of_scipys_assignment(ot):
    x, y = pairs(150, 150)
    cost = (x[:, None] - y).square().sum(2).numpy()
    rows, columns = linear_sum_assignment(cost)
    assert abs(wasserstein2(x, y).value - math.sqrt(cost[rows, columns].mean())) < CLOSE


def test_exact_distance_of_unequal_counts_is_that_of_pots_program(ot):
    x, y = pairs(40, 25)
    theirs = ot.solve_sample(x.numpy(), y.numpy()).value
    assert abs(wasserstein2(x, y).value - math.sqrt(theirs)) < CLOSE


def test_exact_distance_in_one_dimension_is_the_sliced_one(ot):
    x, y = pairs(90, 61, d=1)
    assert abs(wasserstein2(x, y).value - sliced_wasserstein2(x, y, 1).value) < CLOSE


@pytest.mark.parametrize(("n", "m"), [(100, 100), (64, 101)])
def test_energy_distance_on_the_line_is_that_of_scipy(n, m):
    x, y = pairs(n, m, d=1)
    theirs = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy())
    assert abs(energy_distance(x, y).value - theirs) < CLOSE


class Flat(torch.nn.Module):
    """Features of torchmetrics that are the points themselves."""

    num_features = 4

    def forward(self, x):
        return x.flatten(1)


@pytest.fixture(scope="module")
def torchmetrics():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torchmetrics")
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance

        def score(metric, x, y):
            metric.update(y.view(-1, 1, 2, 2).double(), real=True)
            metric.update(x.view(-1, 1, 2, 2).double(), real=False)
            return metric.compute()

        def distances(x, y):
            shape = (1, 2, 2)
            fid = FrechetInceptionDistance(Flat(), input_img_size=shape).set_dtype(torch.float64)
            kid = KernelInceptionDistance(Flat(), subsets=1, subset_size=len(x))
            return float(score(fid, x, y)), float(score(kid, x, y)[0])

        yield distances


def test_frechet_and_kernel_distances_are_those_of_torchmetrics(torchmetrics):
    x, y = pairs(200, 200, d=4)
    fid, kid = torchmetrics(x, y)
    assert abs(frechet(x, y).value - fid) < CLOSE
    assert abs(kernel_distance(x, y).value - kid) < CLOSE


def test_the_kernel_distance_far_from_the_origin_keeps_its_digits():
    """Against whole numbers without rounding, a million from the origin: it is not invariant."""
    (x, y), far = pairs(9, 7, 2), 10**6
    a, b = ((8 * v).round().long() + far for v in (x, y))

    def kernel(u, v):  # times d^3
        return [[(sum(i * j for i, j in zip(p, q, strict=True)) + 2) ** 3 for q in v] for p in u]

    def apart(u):
        known = kernel(u, u)
        off = sum(map(sum, known)) - sum(known[i][i] for i in range(len(u)))
        return Fraction(off, len(u) * (len(u) - 1))

    between = Fraction(sum(map(sum, kernel(a.tolist(), b.tolist()))), len(a) * len(b))
    exact = float((apart(a.tolist()) + apart(b.tolist()) - 2 * between) / 8)
    assert kernel_distance(a.double(), b.double()).value == pytest.approx(exact, rel=1e-10)


def test_shares_in_balls_are_those_of_prdc():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prdc = pytest.importorskip("prdc")
        x, y = pairs(250, 180)
        theirs = prdc.compute_prdc(y.numpy(), x.numpy(), nearest_k=5)
    ours = precision_recall(x, y, 5)
    assert {k: v.value for k, v in ours.items()} == pytest.approx(theirs, abs=CLOSE)


def test_mmd_is_the_distance_of_means_of_random_features():
    """Features cos(w x + b), w normal, have the Gaussian kernel as their mean product."""
    x, y = draw(300, 2, 1), draw(300, 2, 2, mean=1.0)
    count, width = 60_000, 1.3
    w, b = draw(2, count, 3) / width, 2 * math.pi * Rng(4).uniform("b", (1, count))
    fx, fy = (math.sqrt(2) * (v @ w + b).cos() for v in (x, y))
    own = sum((f.sum(0).square() - f.square().sum(0)).mean() / (300 * 299) for f in (fx, fy))
    theirs = float(own - 2 * (fx.mean(0) * fy.mean(0)).mean())
    assert mmd(x, y, width).value == pytest.approx(theirs, abs=0.015)


def test_mmd_of_two_normals_is_known():
    """E k(x, y) of N(m, 1) and N(0, 1) is normal in m, of variance 2 + w^2."""
    w2, m = 1.5**2, 1.0
    closed = 2 * math.sqrt(w2 / (w2 + 2)) * (1 - math.exp(-(m**2) / (2 * (w2 + 2))))
    found = mmd(draw(2000, 1, 1), draw(2000, 1, 2, mean=m), 1.5)
    assert abs(found.value - closed) < 4 * found.stderr and found.stderr < closed / 10


def test_frechet_distance_of_two_normals_is_known():
    found = frechet(draw(20_000, 2, 1), draw(20_000, 2, 2, mean=1.0, std=3.0))
    assert abs(found.value - (2 + 2 * 2**2)) < 4 * found.stderr < 0.5


def test_frechet_distance_of_a_shift_in_a_plane_of_space_is_the_shift():
    """Coordinates without variance, as the corners of the digits, do no harm."""
    x = torch.cat((draw(100, 2, 1), torch.zeros(100, 3).double()), dim=1)
    shift = torch.tensor([1.0, 0, 0, 2, 0]).double()
    found = frechet(x, x + shift)
    assert math.isclose(found.value, 5.0, rel_tol=1e-6) and math.isfinite(found.stderr)


# ------------------------------------------------------------------------------- standard errors


def spread(measure, repeats=40):
    """The standard deviation of a measure over fresh draws, over its mean stated error."""
    found = [measure(k) for k in range(repeats)]
    return np.std([e.value for e in found], ddof=1) / np.mean([e.stderr for e in found])


MEASURES = {
    "sliced": lambda x, y: sliced_wasserstein2(x, y, 64),
    "exact": wasserstein2,
    "energy": energy_distance,
    "mmd": lambda x, y: mmd(x, y, 1.5),
    "kid": kernel_distance,
    "frechet": frechet,
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize(("n", "m"), [(150, 150), (100, 250)])
def test_stated_error_is_the_spread_over_fresh_draws(name, n, m, ot):
    def measure(k):
        return MEASURES[name](draw(n, 2, 2 * k), draw(m, 2, 2 * k + 1, mean=1.0, std=1.5))

    assert 0.7 < spread(measure) < 1.45


@pytest.mark.parametrize("name", MEASURES)
def test_stated_error_of_equal_laws_is_not_below_the_spread(name, ot):
    def measure(k):
        return MEASURES[name](draw(150, 2, 2 * k), draw(150, 2, 2 * k + 1))

    assert 0.45 < spread(measure) < 1.2


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("name", MEASURES)
def test_sets_that_cannot_be_compared_are_refused(name):
    x = draw(10, 2, 1)
    with pytest.raises(ValueError, match="of 2 and of 3 coordinates"):
        MEASURES[name](x, draw(10, 3, 1))
    with pytest.raises(ValueError, match="1 of 10 points are not finite"):
        MEASURES[name](x.clone().index_fill_(0, torch.tensor([3]), math.nan), x)
    with pytest.raises(ValueError, match="got 1 and 10 points"):
        MEASURES[name](x[:1], x)


def test_second_moments_are_asked_for():
    require_second_moment(Normal(), "W2")
    require_second_moment(StudentT(3), "W2")
    with pytest.raises(ValueError, match=r"W2 needs second moments, and StudentT\(dof=1\) has"):
        require_second_moment(StudentT(1), "W2")
    heavy = Radial(lambda r: -2 * torch.log1p(r.square()))  # r^-4, whose mean square needs N < 2
    require_second_moment(heavy, "W2", 1)
    for distance in (frechet, sliced_wasserstein2, wasserstein2):
        with pytest.raises(ValueError, match=r"second moments; Radial.* finite mean square"):
            distance(torch.zeros(3, 2), torch.ones(3, 2), law=heavy)


def test_distances_without_pot_name_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ot", None)
    with pytest.raises(ImportError, match=r"diffode\[bench\]"):
        metrics.wasserstein2(draw(10, 2, 1), draw(10, 2, 2))


def test_more_points_than_the_exact_distance_takes_are_refused():
    with pytest.raises(ValueError, match=r"got 10001 points.*10000 of a set at most.*sliced"):
        wasserstein2(torch.zeros(3, 1), torch.zeros(10_001, 1))
