"""Stochastic samplers: the exact laws of their results on Gaussians, weak and strong orders."""

import functools
import itertools
import math

import pytest
import torch

from diffode.fields import VP, Cosine, Karras, Mixture, Rectified
from diffode.rng import Rng
from diffode.solvers import grid
from diffode.solvers.sde import EulerMaruyama
from diffode.solvers.sde_trig import TrigSDE
from diffode.solvers.stochastic import Ancestral, SDEDPMpp
from tests.draws import Quick
from tests.samplers import (
    ALONG_A_PATH,
    MEAN,
    SAMPLERS,
    SCHEDULES,
    STD,
    Gaussian,
    between,
    ends,
    errors,
    law,
    tensor,
)

# ------------------------------------------------------------------------ the law of the results


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_law_of_the_data_is_reached(name, schedule):
    """From the prior's end to the data's: the mean at once, the variance with more steps."""
    solver, field = SAMPLERS[name], Gaussian(SCHEDULES[schedule])
    coarse, fine = (errors(solver, field, grid(field, k, solver.grid)) for k in (16, 32))
    assert float(fine[0].abs().max()) < 1e-9
    assert float(fine[1].abs().max()) < 0.2
    assert (fine[1].abs() < 0.75 * coarse[1].abs()).all()


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_sde_trig_is_exact_on_a_gaussian_in_three_steps(schedule, eta):
    field = Gaussian(SCHEDULES[schedule], std=tensor(0.6, 0.6))
    for order in (1, 2):
        solver = TrigSDE(order=order, eta=eta)
        mean, variance = errors(solver, field, grid(field, 3, solver.grid))
        assert float(mean.abs().max()) < 1e-9 and float(variance.abs().max()) < 1e-9


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_follow_the_law(name):
    """With `Rng`'s own numbers: the law is that of unit draws, within 4.5 standard errors."""
    solver, field, n = SAMPLERS[name], Gaussian(VP()), 2000
    times = grid(field, 6, solver.grid)
    mean, variance = law(solver, field, times)
    alpha, sigma = field.level(times[0], mean)
    spread = (alpha**2 * STD**2 + sigma**2).sqrt()
    x = alpha * MEAN + spread * Rng(1).normal("x", (n, 2), torch.float64)
    x = solver(field, x, times, rng=Rng(2)).x
    assert ((x.mean(0) - mean).abs() < 4.5 * (variance / n).sqrt()).all()
    assert ((x.var(0) / variance - 1).abs() < 4.5 * math.sqrt(2 / n)).all()


@pytest.mark.parametrize("schedule", ["vp", "rectified"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_two_classes_come_out_as_often_as_they_should(name, schedule):
    n, share = 3000, 0.3
    means, std = tensor(-1.0, 1.0)[:, None], tensor(0.2, 0.2)
    field = Mixture(tensor(share, 1 - share), means, std, SCHEDULES[schedule])
    solver = SAMPLERS[name]
    x = field.prior.sample((n, 1), Rng(3), dtype=torch.float64)
    x = solver(field, x, grid(field, 60, solver.grid), rng=Quick(4)).x
    error = float((x < 0).double().mean()) - share
    assert abs(error) < 4 * math.sqrt(share * (1 - share) / n)


# ----------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (Ancestral(), 1),
        (EulerMaruyama(), 1),
        (EulerMaruyama(clock="native"), 1),
        (EulerMaruyama(eta=0.5), 1),
        (SDEDPMpp(order=1), 1),
        (SDEDPMpp(order=2), 2),
        (SDEDPMpp(order=2, eta=0.5), 2),
        (TrigSDE(order=1), 1),
        (TrigSDE(order=2), 2),
        (TrigSDE(order=2, eta=0.5), 2),
    ],
    ids=lambda p: f"{p}-{getattr(p, 'order', '')}" if not isinstance(p, int) else str(p),
)
def test_weak_order(solver, order):
    """Of the variances of two coordinates whose std is not the data's rms, rho from 4 to 0.3."""
    field = Gaussian(Karras(), std=tensor(0.2, 0.8))
    found = [float(errors(solver, field, between(Karras(), k))[1].norm()) for k in (64, 128)]
    assert math.log2(found[0] / found[1]) == pytest.approx(order, abs=0.06)


@functools.cache
def fine_end():
    return ends(TrigSDE(), 512)


@pytest.mark.parametrize("name", ALONG_A_PATH)
def test_more_steps_follow_the_same_path_more_closely(name):
    """Strong convergence: order 1, to one end for all samplers."""
    exact = fine_end()
    far = [float((ends(SAMPLERS[name], k) - exact).norm(dim=1).mean()) for k in (16, 32, 64, 128)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(far)]
    assert sum(orders) / 3 == pytest.approx(1, abs=0.25) and min(orders) > 0.6
    assert far[-1] < 0.03 < 0.3 < float(exact.norm(dim=1).mean())


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_result_does_not_depend_on_the_schedule(name):
    """Equal rho, equal path: equal points in units of alpha, to the path's own smoothness."""
    expected = ends(SAMPLERS[name], 12)
    for schedule in (VP(), Rectified(), Cosine()):
        gap = ends(SAMPLERS[name], 12, schedule) - expected
        assert float(gap.abs().max()) < 1e-6
