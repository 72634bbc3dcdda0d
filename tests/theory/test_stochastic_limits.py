"""Stochastic samplers without noise, their steps one by one, rows, types and refusals."""

import math
import re

import pytest
import torch

from diffode.fields import VE, VP, Cosine, Karras, Mixture, Rectified
from diffode.options import validate
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.sampling import sample
from diffode.solvers import get_solver, grid
from diffode.solvers.churn import Churn
from diffode.solvers.ddim import DDIM
from diffode.solvers.sde import EulerMaruyama, PredictorCorrector
from diffode.solvers.sde_trig import TrigSDE, weights
from diffode.solvers.stochastic import Ancestral, SDEDPMpp
from tests.draws import Quick
from tests.samplers import (
    ALONG_A_PATH,
    MEAN,
    SAMPLERS,
    SCHEDULES,
    Gaussian,
    between,
    clusters,
    ends,
    law,
    tensor,
)

# ----------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("noise", [Normal(), StudentT(4.0)], ids=repr)
@pytest.mark.parametrize(
    ("quiet", "plain"),
    [
        (SDEDPMpp(order=1, eta=0), DDIM()),
        (EulerMaruyama(eta=0, clock="rho"), get_solver("euler", clock="rho")),
        (EulerMaruyama(eta=0, clock="native"), get_solver("euler")),
        (EulerMaruyama(eta=0), get_solver("euler", clock="theta")),
        (TrigSDE(order=1, eta=0), get_solver("euler", clock="theta")),
        (Churn(s_churn=0), get_solver("heun", clock="rho")),
    ],
    ids=repr,
)
def test_without_noise_they_are_the_solvers_of_the_ode(quiet, plain, noise):
    for schedule in (VP(), Karras(), VE()):
        field, times = clusters(schedule), between(schedule, 9)
        if isinstance(noise, StudentT):
            field = Mixture(tensor(1.0), tensor([0.5, 1.0]), tensor(0.5), schedule, noise)
        x = Rng(7).normal("x", (5, 2), torch.float64)
        expected = plain(field, x, times)
        found = quiet(field, x, times)
        torch.testing.assert_close(found.x, expected.x, rtol=1e-12, atol=1e-12)
        assert found.nfe == expected.nfe


@pytest.mark.parametrize("solver", [SDEDPMpp(eta=0), TrigSDE(eta=0)], ids=repr)
def test_without_noise_order_two_is_that_of_the_ode(solver):
    field, times = clusters(Karras()), tensor(4.0, 0.3)
    x = 4 * Rng(5).normal("x", (32, 2), torch.float64)
    exact = get_solver("dopri8", rtol=1e-9, atol=1e-9)(field, x, times).x
    far = [float((ends(solver, k) - exact).norm(dim=1).mean()) for k in (80, 160)]
    assert math.log2(far[0] / far[1]) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_order_one_of_sde_dpmpp_has_the_law_of_the_ancestral_sampler(schedule):
    field = Gaussian(SCHEDULES[schedule])
    times = grid(field, 11, "f1.5")
    first, second = law(Ancestral(), field, times), law(SDEDPMpp(order=1), field, times)
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-12)


def test_one_step_on_pure_noise():
    """Data at 0, where n = x / sigma: the variance of a step from sigma = 2 to 1.9 by hand."""
    field = Gaussian(Karras(), mean=tensor(0.0, 0.0), std=tensor(0.0, 0.0))
    times, snr, eta = tensor(2.0, 1.9), 0.3, 0.8
    factor, noise = 1 - (1 + eta**2) * 0.1 / 2, eta**2 * 2 * 2.0 * 0.1
    predicted = (1.9**2 / 2) ** 2 + 2.0**2 - 1.9**2
    corrected = (1 - 2 * snr**2) ** 2 * predicted + 4 * snr**2 * 1.9**2
    for solver, expected in (
        (EulerMaruyama(eta=eta, clock="native"), factor**2 * 4 + noise),
        (EulerMaruyama(eta=eta, clock="rho"), factor**2 * 4 + noise),
        (PredictorCorrector(snr=snr), corrected),
    ):
        _, variance = law(solver, field, times)
        torch.testing.assert_close(variance, torch.full_like(variance, expected))


@pytest.mark.parametrize(("start", "end"), [(1.5, 1.2), (0.3, 0.01), (math.pi / 2, 0.5)])
def test_weights_of_the_angle_are_the_integrals(start, end):
    """Of 1 and u - start at eta = 0, and times 2 cos u / cos end at eta = 1."""
    h, c = end - start, math.cos(end)
    sine = h * math.sin(end) + c - math.cos(start)
    assert weights(start, end, 0.0) == pytest.approx((h, h * h / 2), rel=1e-12)
    whole = 2 * (math.sin(end) - math.sin(start)) / c
    assert weights(start, end, 1.0) == pytest.approx((whole, 2 * sine / c), rel=1e-10)


def test_churn_raises_the_noise_as_much_as_it_says():
    """Data at 0: Heun maps rho to rho' exactly, so the variance is that of the raised start."""
    field = Gaussian(Karras(), mean=tensor(0.0, 0.0), std=tensor(0.0, 0.0))
    for s_churn, s_noise, gamma in ((0.1, 1.0, 0.1), (9.0, 1.5, math.sqrt(2) - 1), (0, 2.0, 0)):
        solver = Churn(s_churn=s_churn, s_noise=s_noise)
        _, variance = law(solver, field, tensor(2.0, 1.0))
        raised = (1 + gamma) * 2
        start = 4 + s_noise**2 * (raised**2 - 4)
        torch.testing.assert_close(variance, torch.full_like(variance, start / raised**2))
    for outside in ({"s_min": 2.1}, {"s_max": 1.9}):
        _, variance = law(Churn(s_noise=3, **outside), field, tensor(2.0, 1.0))
        torch.testing.assert_close(variance, torch.ones_like(variance))
    _, variance = law(Churn(s_noise=3, s_max=90), field, tensor(80.0, 1.0))
    torch.testing.assert_close(variance, torch.ones_like(variance))  # the span ends at 80


# ---------------------------------------------------------------------------- rows, labels, types


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_depends_on_its_seed_and_row_only(name):
    field, y = Gaussian(Rectified()), torch.tensor([0, 1, 1])
    whole = sample(field, 3, SAMPLERS[name], steps=2, seed=8, y=y)
    split = sample(field, 3, SAMPLERS[name], steps=2, seed=8, y=y, batch=2)
    torch.testing.assert_close(whole.x, split.x, rtol=1e-6, atol=1e-6)
    assert not torch.equal(whole.x, sample(field, 3, SAMPLERS[name], steps=2, seed=9, y=y).x)
    other = sample(field, 3, SAMPLERS[name], steps=2, seed=8, y=1 - y)
    shift = (whole.x - other.x).double() / (2 * MEAN * (1 - 2 * y[:, None]))
    assert float(shift.min()) > 0.5  # linear in the label's mean


@pytest.mark.parametrize("name", SAMPLERS)
def test_type_and_event_shape_are_kept(name):
    means = Rng(9).normal("means", (2, 2, 3), torch.float64)
    field = Mixture(tensor(0.5, 0.5), means, tensor(0.4, 0.4), Cosine())
    x = Rng(10).normal("x", (3, 2, 3), torch.float64)
    times = grid(field, 6, "f1.5")
    single, double = (SAMPLERS[name](field, v, times, rng=Quick(11)).x for v in (x.float(), x))
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("solver", "nfe"),
    [
        (Ancestral(), 8),
        (EulerMaruyama(), 8),
        (SDEDPMpp(), 8),
        (TrigSDE(), 8),
        (PredictorCorrector(corrections=2), 24),
        (Churn(), 16),
    ],
    ids=repr,
)
def test_evaluations_are_counted(solver, nfe):
    field = Gaussian(Karras())
    x = field.prior.sample((2, 2), Rng(12))
    solution = solver(field, x, grid(field, 8), rng=Quick(13), path=True)
    assert solution.nfe == field.asked == nfe == 8 * solver.nfe_per_step
    assert solution.path.shape == (9, 2, 2) and bool(solution.path.isfinite().all())


@pytest.mark.parametrize(
    ("solver", "nfe"), [(Ancestral(), 3), (SDEDPMpp(), 3), (Churn(), 5)], ids=repr
)
def test_the_noise_may_be_removed_altogether(solver, nfe):
    """A last step to sigma = 0 ends at the conditional mean, and nothing is evaluated there."""
    field, times = Gaussian(Rectified()), tensor(0.5, 0.2, 1e-3, 0.0)
    x = Rng(14).normal("x", (2, 2), torch.float64)
    solution = solver(field, x, times, rng=Quick(15), path=True)
    assert solution.nfe == nfe and bool(solution.x.isfinite().all())
    torch.testing.assert_close(
        solution.x, field.denoise(solution.path[-2], 1e-3), atol=1e-3, rtol=0
    )


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", SAMPLERS)
def test_other_noise_is_refused(name):
    with pytest.raises(TypeError, match="adds normal noise, but this field's noise is StudentT"):
        sample(Gaussian(Karras(), StudentT(3.0)), 2, SAMPLERS[name], steps=3)


@pytest.mark.parametrize("name", [*ALONG_A_PATH, "pc", "churn"])
def test_data_are_not_encoded_by_removing_noise(name):
    field, solver = Gaussian(VP()), SAMPLERS[name]
    up = grid(field, 3, "native").flip(0)
    with pytest.raises(ValueError, match=re.escape(f"{name} removes noise")):
        solver(field, torch.zeros(2, 2), up)


def test_options_out_of_range_are_refused():
    for make in (EulerMaruyama, SDEDPMpp, TrigSDE):
        with pytest.raises(ValueError, match=r"got eta -0.1; wanted a finite number, 0 or more"):
            make(eta=-0.1)
    for make in (SDEDPMpp, TrigSDE):
        with pytest.raises(ValueError, match="got order 3"):
            make(order=3)
    for bad in ({"snr": 1.0}, {"snr": 0.0}, {"corrections": 0}):
        with pytest.raises(ValueError, match="got snr"):
            PredictorCorrector(**bad)
    for bad in ({"s_churn": -1.0}, {"s_min": 3.0, "s_max": 2.0}, {"s_noise": 0.0}):
        with pytest.raises(ValueError, match="got s_churn"):
            Churn(**bad)


def test_options_are_read_from_text():
    options = validate("solver", {"order": "1", "eta": "0.5"}, SDEDPMpp)
    assert options == {"order": 1, "eta": 0.5}
    assert validate("solver", {"clock": "rho"}, EulerMaruyama) == {"eta": 1.0, "clock": "rho"}
    assert validate("solver", {"s_churn": "0"}, Churn)["s_churn"] == 0
    assert validate("solver", {}, Ancestral) == {}
