"""The Brownian path: its law to rounding, one path for all grids, and what a query costs."""

import itertools
import math

import pytest
import torch
from scipy import stats

from diffode.rng import Rng
from diffode.solvers.brownian import DEPTH, BrownianPath
from tests.draws import Impulses

RATIOS = [3.0, 80.0, 0.002, 1.0, 0.5, 0.4995, 1e-4, 900.0, 1e16, 0.02, 3.0]


def levels(steps, first=80.0, last=0.002):
    return torch.logspace(math.log10(first), math.log10(last), steps + 1).tolist()


def impulses(*queries):
    """What a path gives for unit draws: one column of responses for each query."""
    path = BrownianPath(Impulses(), (600, 1))
    return torch.cat([query(path) for query in queries], 1)


# ------------------------------------------------------------------------------------ the law


def test_the_unit_noise_has_the_covariance_of_a_path_to_rounding():
    """Cov[W(a^2), W(b^2)] = a^2, so that W / rho correlates as the ratio of the two rhos."""
    responses = impulses(*(lambda p, rho=rho: p.unit(rho) for rho in RATIOS))
    rho = torch.tensor(RATIOS, dtype=torch.float64)
    exact = torch.minimum(rho[:, None], rho) / torch.maximum(rho[:, None], rho)
    torch.testing.assert_close(responses.T @ responses, exact, rtol=0, atol=1e-12)


def test_increments_are_independent_and_have_the_variance_of_their_interval():
    """Of W in rho^2, and of B = zeta / rho, which runs the other way, in 1 / rho^2."""
    rho = torch.tensor(levels(12), dtype=torch.float64)
    zeta = impulses(*(lambda p, r=r: p.unit(r) for r in rho.tolist()))
    for path, clock in ((zeta * rho, rho**2), (zeta / rho, rho**-2)):
        increments = path.diff(dim=1) / clock.diff().abs().sqrt()
        covariance = increments.T @ increments
        torch.testing.assert_close(covariance, torch.eye(12).double(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("first", [80.0, 1e16, math.inf])
def test_the_noise_of_the_steps_of_a_grid_is_white(first):
    rho = [first, *levels(20)[1:]]
    z = impulses(*(lambda p, a=a, b=b: p.fresh(a, b) for a, b in itertools.pairwise(rho)))
    torch.testing.assert_close(z.T @ z, torch.eye(20).double(), rtol=0, atol=1e-10)


def test_steps_add_up():
    """B(a, b) + B(b, c) = B(a, c), each the noise of its step times its standard deviation."""

    def increment(a, b):
        path = BrownianPath(Rng(3), (4, 5))
        return path.fresh(a, b) * math.sqrt(b**-2 - a**-2)

    for a, b, c in ((40.0, 3.0, 0.7), (math.inf, 1.0, 0.01), (0.5, 0.49, 0.48)):
        parts = increment(a, b) + increment(b, c)
        torch.testing.assert_close(parts, increment(a, c), rtol=1e-12, atol=1e-12 / c)


def test_draws_are_normal():
    path = BrownianPath(Rng(1), (100, 20))
    z = torch.stack([path.fresh(a, b) for a, b in itertools.pairwise(levels(5))])
    assert stats.kstest(z.flatten(), "norm").pvalue > 1e-3
    assert abs(float(z.var()) - 1) < 4 * math.sqrt(2 / z.numel())
    correlation = z.flatten(1).corrcoef() - torch.eye(5)
    assert float(correlation.abs().max()) < 4.5 / math.sqrt(2000)


def test_the_path_is_continuous():
    path = BrownianPath(Rng(2), (3, 4))
    for rho in (5.0, 1.0, 0.03):
        gap = path.unit(rho * (1 + 1e-10)) - path.unit(rho)
        assert 0 < float(gap.abs().max()) < 6 * math.sqrt(2e-10)


# ------------------------------------------------------------------- one path, whatever is asked


def test_values_do_not_depend_on_the_other_queries():
    walked, shape = BrownianPath(Rng(4), (3, 2, 2)), (3, 2, 2)
    values = [walked.unit(rho) for rho in levels(30)]
    for rho, value in list(zip(levels(30), values, strict=True))[::-7]:
        assert torch.equal(BrownianPath(Rng(4), shape).unit(rho), value)


def test_rows_do_not_depend_on_the_batch():
    whole = BrownianPath(Rng(5), (6, 3))
    parts = [
        BrownianPath(Rng(5).rows(torch.tensor(rows)), (len(rows), 3)) for rows in ([4, 0], [5])
    ]
    for a, b in itertools.pairwise(levels(4)):
        split = torch.cat([p.fresh(a, b) for p in parts])
        assert torch.equal(whole.fresh(a, b)[[4, 0, 5]], split)
    other = BrownianPath(Rng(6), (6, 3))
    assert float((other.unit(1.0) - whole.unit(1.0)).abs().min()) > 1e-6


def test_types():
    double = BrownianPath(Rng(7), (2, 3)).fresh(2.0, 1.0)
    single = BrownianPath(Rng(7), (2, 3), torch.float32).fresh(2.0, 1.0)
    assert single.dtype == torch.float32 and torch.equal(double.float(), single)


def test_a_walk_draws_only_what_it_has_not_passed():
    for steps in (8, 64, 512):
        rng = Impulses()
        path = BrownianPath(rng, (DEPTH * (steps + 2), 1))
        for a, b in itertools.pairwise(levels(steps)):
            path.fresh(a, b)
        assert len(rng.seen) / (steps + 1) < DEPTH + 3 - math.log2(steps)


# --------------------------------------------------------------------------------------- refusals


def test_steps_that_raise_rho_or_are_too_fine_are_refused():
    path = BrownianPath(Rng(8), (1, 1))
    with pytest.raises(ValueError, match="a reverse step lowers rho"):
        path.fresh(1.0, 1.0)
    with pytest.raises(ValueError, match="finer than the Brownian path's 65536 cells"):
        path.fresh(2.0, 2.0 * (1 - 1e-9))
    for a, b in itertools.pairwise(levels(8000)[:3]):
        path.fresh(a, b)
