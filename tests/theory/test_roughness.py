"""Which networks are rough at the prior, and what the default does on them."""

import copy
import math

import numpy as np
import pytest
import torch

from diffode import Rng, build, sample
from diffode.data.stats import data_stats
from diffode.doors import as_time
from diffode.fields import AffineField, Empirical, Karras, Rectified, classifier_free
from diffode.fields.base import expand_like
from diffode.priors import Normal
from diffode.solvers import get_solver, grid
from diffode.solvers.forms import Nodes
from diffode.solvers.grids import warp
from diffode.solvers.mixed import Mixed
from diffode.solvers.roughness import THRESHOLD, VERY, is_rough, roughness

X = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))


def network(name="edm", scale=1.0, classes=None, **options):
    """An untrained network, its answers made larger or smaller."""
    field = build(name, (3,), classes, data_stats(X), width=16, depth=1, **options).field
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.normal_(0, scale, generator=torch.Generator().manual_seed(1))
    return field


class Constant(AffineField):
    """E[x_0 | x] is one point."""

    def posterior(self, x, t, y=None):
        alpha, sigma = (expand_like(v, x) for v in self.level(as_time(t, x), x))
        x0 = torch.full_like(x, 2.0)
        return x0, (x - alpha * x0) / sigma


def test_the_roughness_is_the_rms_of_the_slope_at_the_prior():
    """At an angle near pi / 2 the slope is (m - E[x_0]) / s."""
    field = Constant(Karras(0.02, 1e4), Normal(), torch.zeros(3), 4.0)
    assert roughness(field) == pytest.approx(0.5, rel=1e-2)


def test_exact_fields_are_never_asked():
    assert not is_rough(Empirical(X, Karras()))


def test_what_was_found_stays_while_the_weights_do():
    field = network(scale=1.0)
    assert is_rough(field) and roughness(field) > THRESHOLD
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.zero_()
    assert not is_rough(field)
    assert is_rough(network(scale=1.0)), "another network is another one"


def test_guidance_and_the_rows_of_a_poisson_field_are_looked_through():
    labelled = network(scale=1.0, classes=2)
    assert is_rough(labelled) and is_rough(classifier_free(labelled, 2.0))
    poisson = network("poisson", scale=1.0)
    assert is_rough(poisson) and is_rough(poisson.start(4, Rng(0)).field)


def test_few_steps_and_smooth_networks_are_as_before():
    rough, smooth, solver = network(scale=1.0), network(scale=0.0), get_solver()
    assert solver.rule(9, rough) == solver.rule(9, smooth)
    assert torch.equal(grid(rough, 9, "mixed"), grid(smooth, 9, "mixed"))
    parts = [warp(rough, n).part for n in (9, 10, 19, 22, 40, 52, 100)]
    assert parts == pytest.approx([9 / 400, 0.3, 0.3, 0.4, 0.5, 0.7, 0.9])
    assert solver.rule(20, rough).variable == "grid" and solver.rule(49, rough).order == 3
    assert solver.rule(50, rough).order == 4
    assert solver.rule(20, smooth).variable == "fraction" and solver.rule(60, smooth).order == 5


def test_more_steps_are_at_both_ends_of_a_rough_network():
    rough, smooth = (grid(network(scale=s), 40, "mixed").log() for s in (1.0, 0.0))
    most = max(abs(rough.diff())), max(abs(smooth.diff()))
    assert most[0] < 0.7 * most[1]


def test_steps_above_the_balance_go_to_the_end_where_t_data_is_coarse():
    """Far above c a step in log rho is 1 / (1 - b) times as long as far below it."""

    def ends(field):
        step = -grid(field, 50, "mixed").log().diff()
        return float(step[0]), float(step[-1])

    rough, very = (network(scale=scale, sigma_min=0.02) for scale in (0.1, 1.0))
    assert THRESHOLD < roughness(rough) < VERY < roughness(very)
    assert [warp(rough, n).less for n in (49, 50, 75, 100, 150)] == [0, 0.5, 0.25, 0, 0]
    assert 0 < warp(network(scale=0.1, sigma_min=0.002), 50).less < 0.2
    assert warp(very, 50).less == 0
    assert ends(rough)[0] > 1.2 * ends(very)[0] and ends(rough)[1] < ends(very)[1]
    rho = torch.tensor([1e4, 1e4 * math.e, 1e9], dtype=torch.float64)
    made = Mixed(1.0, 1e-3, 1e9, 1.0, 0.5)
    w = made.warp(rho)
    assert float((w[1] - w[0]) / made.slope) == pytest.approx(0.5, rel=1e-3)
    assert float(w[2]) == pytest.approx(1)
    torch.testing.assert_close(made.found(w), rho, rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [50, 100])
def test_the_last_steps_of_many_are_as_long_as_the_first(steps):
    """In log rho the logarithm's own last step is twice as long where it bends at t_data."""
    field = network(scale=1.0)
    few, many = (-grid(field, n, "mixed").log().diff() for n in (49, steps))
    assert float(many[-1] / many[0]) == pytest.approx(1.1, abs=0.05)
    assert float(few[-1] / few[0]) > 1.5
    rate = {n: 1 / (1 + warp(field, n).knee / field.span[1]) for n in (49, steps)}
    assert rate == pytest.approx({49: 1 / 2, steps: 10 / 11})
    assert warp(network(scale=0.0), steps).knee == pytest.approx(field.span[1])


@pytest.mark.parametrize("schedule", [Karras(), Rectified()], ids=repr)
def test_polynomials_in_the_grids_own_variable_are_integrated_exactly(schedule):
    """Slopes that are a cubic in w give its integral over the angle."""
    field = Empirical(X, schedule)
    own = warp(field, 20)
    times = grid(field, 20, "mixed").numpy()
    t = torch.from_numpy(times)
    alpha, sigma = schedule.alpha(t).numpy(), schedule.sigma(t).numpy()
    nodes = Nodes(times, alpha, sigma, 1.0, schedule, "trig", "grid", warp=own)
    w = own.warp(torch.from_numpy(sigma / np.maximum(alpha, 1e-9)).clamp(max=own.rho_max))
    assert w.diff().abs().std() < 1e-6 * w.diff().abs().mean()
    u = nodes.u(nodes.clock)
    np.testing.assert_allclose(u, w, rtol=1e-6)


def test_rows_do_not_look_at_each_other():
    field = network(scale=0.5)
    assert is_rough(field)
    together = sample(field, 6, nfe=30, seed=3).x
    apart = torch.cat([sample(field, 2, nfe=30, seed=3, first=k).x for k in (0, 2, 4)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_the_search_leaves_the_random_numbers_of_the_caller_alone():
    field = network(scale=1.0)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    is_rough(copy.deepcopy(field))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("nfe", [5, 9, 10, 13, 16, 20, 60])
def test_no_row_of_a_heavy_tail_is_thrown_out_by_a_rough_network(nfe):
    """A row that starts far out is solved in its own levels, up to a thousand times the rest."""
    field = network("pfgmpp", 0.2, dof=1)
    assert is_rough(field)
    exact = sample(field, 400, "dopri5-rows", rtol=1e-5, atol=1e-5).x
    far = (exact - field.moments[0]).norm(dim=1)
    off = (sample(field, 400, nfe=nfe).x - exact).norm(dim=1)
    assert bool((off < far + 6 * field.moments[1]).all())


@pytest.mark.parametrize("nfe", [5, 12, 30])
def test_a_row_that_arrives_early_leaves_the_others_as_they_are(nfe):
    """The one that starts furthest out is at t_data before its last steps and stands still."""
    field = network("pfgmpp", 0.2, dof=1).double()
    whole, apart = (sample(field, 60, nfe=nfe, seed=1, batch=b).x.double() for b in (60, 1))
    assert float(((whole - apart).norm(dim=1) / apart.norm(dim=1)).max()) < 1e-5
