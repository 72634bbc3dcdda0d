"""Multistep and single-step exponential methods: identities and promises."""

import dataclasses

import numpy as np
import pytest
import torch
from test_orders import SCHEDULES, smooth, tensor

from diffode.fields import VP, Empirical, Karras, Mixture, Rectified
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.solvers import get_solver, grid
from diffode.solvers.coefficients import MultistepRule
from diffode.solvers.forms import Nodes, interpolatory

# ------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_first_order_of_two_forms_is_ddim(schedule):
    field = smooth(schedule)
    x = field.prior.sample((4, 2), Rng(1), dtype=torch.float64)
    times = grid(field, 7, "f1.5")
    ddim = get_solver("ddim")(field, x, times).x
    for form in ("noise", "data"):
        end = get_solver("ab", form=form, variable="fraction", order=1)(field, x, times).x
        torch.testing.assert_close(end, ddim, rtol=1e-9, atol=1e-9)


def test_the_first_order_of_the_velocity_form_is_euler():
    field = smooth(Rectified())
    x = field.prior.sample((4, 2), Rng(1), dtype=torch.float64)
    times = grid(field, 7, "f1.5")
    end = get_solver("ab", form="velocity", order=1)(field, x, times).x
    torch.testing.assert_close(end, get_solver("euler")(field, x, times).x)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_single_gaussian_is_exact_in_any_number_of_steps(schedule, steps):
    field = Mixture(tensor(1.0), tensor([1.0, -2.0]), tensor(0.7), schedule)
    x = field.prior.sample((4, 2), Rng(2), dtype=torch.float64)
    times = grid(field, steps, "f1.5")
    end = get_solver("trig")(field, x, times).x
    size = (schedule.alpha(times) * 0.7).square() + schedule.sigma(times).square()
    mean = tensor([1.0, -2.0]) * schedule.alpha(times)[:, None]
    expected = mean[-1] + (x - mean[0]) * (size[-1] / size[0]).sqrt()
    torch.testing.assert_close(end, expected, rtol=1e-9, atol=1e-9)


def test_all_schedules_are_one_flow_for_the_default():
    """From equal y at equal rho: the grid, the state and the weights see rho alone."""
    ends = []
    for schedule in SCHEDULES:
        times = schedule.time(tensor(4.0, 1.5, 0.8, 0.5, 0.3, 0.1))
        alpha = schedule.alpha(times)
        x = alpha[0] * 4 * tensor([1.0, 2.0], [-0.3, 0.5])
        ends.append(get_solver("trig")(smooth(schedule), x, times).x / alpha[-1])
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["noise", "data", "velocity", "trig"])
def test_the_weights_integrate_polynomials_of_their_variable(form):
    """A slope that is a cubic in u is carried exactly by four weights; checked by a fine sum."""
    rho = np.geomspace(3.0, 0.2, 5)
    schedule = Karras()
    nodes = Nodes(rho, np.ones(5), rho, 0.8, schedule, form, "fraction")
    w = interpolatory(nodes, np.array([[3, 2, 1, 0]]), np.array([3]))[0]
    cubic = np.polynomial.Polynomial([0.3, -1.0, 2.0, 0.7])
    fine = np.linspace(nodes.tau[3], nodes.tau[4], 200_001)
    to_rho = {"noise": fine, "data": 1 / fine, "velocity": fine, "trig": 0.8 * np.tan(fine)}[form]
    values = cubic(to_rho / (1 + to_rho))
    total = np.trapezoid(values, fine)
    u = rho / (1 + rho)
    assert float((w * cubic(u[[3, 2, 1, 0]])).sum()) == pytest.approx(total, rel=1e-8)


# ------------------------------------------------------------------------------------- promises


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("name", ["trig", "deis", "dpm", "dpm++", "dpm-single", "unipc"])
def test_every_family_runs_on_every_schedule_both_ways(name, schedule):
    """Also where alpha is 0 at the start; encoding is the way back."""
    field = smooth(schedule)
    x = field.prior.sample((4, 2), Rng(3), dtype=torch.float64)
    times = grid(field, 200, "f1.5")
    there = get_solver(name)(field, x, times)
    assert 200 <= there.nfe <= 200 * get_solver(name).nfe_per_step
    best = get_solver("dopri5", rtol=1e-8, atol=1e-8)(field, x, times[[0, -1]]).x
    torch.testing.assert_close(there.x, best, rtol=0, atol=5e-3)
    back = get_solver(name)(field, there.x, times.flip(0)).x
    assert float((back - x).abs().max() / x.abs().max()) < 0.1


def test_the_default_lands_on_the_data_without_an_evaluation():
    field = smooth(Karras())
    landed = sample(field, 64, nfe=20, seed=4)
    assert landed.nfe == 20 and landed.final == "denoise" and len(landed.times) == 21
    assert float(landed.times[-2]) > 0.002 and float(landed.times[-1]) == 0.002
    tight = sample(field, 64, "dopri5", seed=4, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(landed.x, tight.x, rtol=0, atol=0.02)
    stays = sample(field, 64, nfe=20, seed=4, final="none")
    assert stays.final == "none" and stays.nfe == 20
    assert 1e-5 < float((stays.x - landed.x).abs().max()) < 0.02


@pytest.mark.parametrize("steps", [150, 1500])
def test_many_steps_denoise_at_the_end_of_the_span(steps):
    """No step begins beyond t_data, and the end is that of a tight solve, denoised."""
    field = smooth(VP())
    many = sample(field, 16, steps=steps, seed=4)
    assert many.nfe == steps + 1 and many.final == "denoise"
    tight = sample(field, 16, "dopri5", seed=4, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(many.x, tight.x, rtol=0, atol=1e-5)


def test_a_solver_that_cannot_land_is_not_asked_to():
    field = smooth(Karras())
    with pytest.raises(TypeError, match="heun cannot end where sigma is 0"):
        get_solver("heun")(field, torch.zeros(1, 2), grid(field, 3), to_zero_noise=True)


def test_lowering_and_the_start_are_explicit():
    rho = np.geomspace(3.0, 0.2, 9)
    nodes = Nodes(rho, np.ones(9), rho, 1.0, Karras(), "data", "logsnr")
    assert MultistepRule("data", "logsnr", 3).orders(nodes).tolist() == [1, 2, 3, 3, 3, 3, 3, 3]
    lowered = MultistepRule("data", "logsnr", 3, lower=2).orders(nodes)
    assert lowered.tolist() == [1, 2, 3, 3, 3, 3, 2, 1]


def test_an_infinite_node_is_no_history():
    """At alpha = 0, log rho is infinite: the next step starts the history anew."""
    alpha = np.array([0.0, 0.2, 0.5, 0.8, 0.95])
    nodes = Nodes(1 - alpha, alpha, 1 - alpha, 1.0, Rectified(), "data", "logsnr")
    assert MultistepRule("data", "logsnr", 3).orders(nodes).tolist() == [1, 1, 2, 3]
    shared = dataclasses.replace(nodes, form="trig", variable="fraction")
    assert MultistepRule("trig", "fraction", 3).orders(shared).tolist() == [1, 2, 3, 3]


def test_the_path_holds_the_corrected_states():
    """The state at a node is the one that the next step leaves from."""
    field = smooth(Karras(0.1, 10.0))
    x = field.prior.sample((4, 2), Rng(5), dtype=torch.float64)
    times = grid(field, 8, "f1.5")
    path = get_solver("trig")(field, x, times, path=True).path
    exact_path = get_solver("dopri8", rtol=1e-9, atol=1e-9)(field, x, times, path=True).path
    plain = get_solver("trig", corrected=False)(field, x, times, path=True).path
    error = (path - exact_path)[1:-1].abs().mean()
    assert error < (plain - exact_path)[1:-1].abs().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_flow_through_a_solve(dtype):
    field = smooth(Karras(0.1, 10.0))
    x = field.prior.sample((3, 2), Rng(6), dtype=dtype).requires_grad_()
    end = get_solver("trig")(field, x, grid(field, 6, "f1.5")).x
    assert end.dtype == dtype
    (gradient,) = torch.autograd.grad(end.sum(), x)
    assert bool(gradient.isfinite().all()) and float(gradient.abs().max()) > 0


@pytest.mark.parametrize("noise", [None, StudentT(1.0)], ids=repr)
def test_a_flow_that_settles_on_a_point_ends_there(noise):
    """Point masses: where the posterior has chosen one, the default ends on it."""
    points = 2 * Rng(7).normal("points", (40, 16), torch.float64)
    field = Empirical(points, Karras(), noise)
    ends = sample(field, 200, nfe=15, seed=8).x.double()
    assert float(_nearest(ends, points).median()) < 1e-6
    if noise is None:  # the polynomials alone miss it
        ends = sample(field, 200, "trig", nfe=15, seed=8, corrected=False).x.double()
        assert float(_nearest(ends, points).median()) > 1e-3


def _nearest(x, points):
    """How far each row is from its nearest point."""
    return (x[:, None] - points).norm(dim=2).min(1).values


def test_rows_of_a_heavy_tailed_prior_have_times_of_their_own():
    """From the plane law of PFGM: each row's answer is its own, and more accurate."""
    points = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [-4.0, -4.0]]).double()
    stds = torch.full((4,), 0.3).double()
    heavy = Mixture(torch.ones(4).double(), points, stds, Karras(0.01), StudentT(1.0))
    x = heavy.prior.sample((64, 2), Rng(9), dtype=torch.float64)
    times = grid(heavy, 12, "f1.5")
    exact_end = get_solver("dopri5", rtol=1e-7, atol=1e-7)(heavy, x, times[[0, -1]]).x
    solver = get_solver("trig")
    whole = solver(heavy, x, times).x
    alone = torch.cat([solver(heavy, x[i : i + 1], times).x for i in range(4)])
    torch.testing.assert_close(whole[:4], alone, rtol=1e-9, atol=1e-9)
    shared = get_solver("ab", form="trig", variable="fraction", order=4, corrected=True)
    own, common = ((end - exact_end).norm(dim=1) for end in (whole, shared(heavy, x, times).x))
    assert float(own.median()) < float(common.median())
