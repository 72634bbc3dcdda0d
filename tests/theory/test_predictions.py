"""Predictions: what the output means, read back; sizes of inputs and targets; finite ends."""

import pytest
import torch

from diffode.data import load
from diffode.fields import VE, VP, Cosine, Karras, Mixture, Rectified
from diffode.fields.learned import Learned
from diffode.fields.precond import (
    DataPrediction,
    KarrasPrediction,
    NoisePrediction,
    ScorePrediction,
    VelocityPrediction,
    VPrediction,
)
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.runs.building import build
from diffode.training import data_stats

STD = 0.7
PREDICTIONS = {
    "noise": NoisePrediction(),
    "score": ScorePrediction(STD),
    "data": DataPrediction(),
    "v": VPrediction(),
    "velocity": VelocityPrediction(),
    "karras": KarrasPrediction(STD),
}
SCHEDULES = [VP(), VE(0.05, 5.0), Karras(0.05, 5.0), Rectified(), Cosine()]
each = pytest.mark.parametrize("name", PREDICTIONS)


def draw(schedule, count=400):
    """Centred data, noise, and levels at times inside the span, float64."""
    first, last = schedule.span
    t = last + (first - last) * Rng(1).uniform("t", (count,)) * 0.98
    x0 = Rng(2).normal("x0", (count, 3), torch.float64) * STD
    n = Rng(3).normal("n", (count, 3), torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return x0, n, alpha[:, None] * x0 + sigma[:, None] * n, alpha, sigma, t


@each
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_right_output_gives_back_data_and_noise(name, schedule):
    prediction = PREDICTIONS[name]
    x0, n, u, alpha, sigma, t = draw(schedule)
    c = prediction.coefficients(u, alpha, sigma, t)
    out = prediction.target(x0, n, alpha, sigma, c)
    data, noise = prediction.decode(u, out, None, c, sigma)
    torch.testing.assert_close(data, x0, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(noise, n, rtol=1e-7, atol=1e-7)


@each
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_halves_make_up_x_whatever_the_output(name, schedule):
    prediction = PREDICTIONS[name]
    *_, u, alpha, sigma, t = draw(schedule)
    c = prediction.coefficients(u, alpha, sigma, t)
    data, noise = prediction.decode(u, Rng(5).normal("o", u.shape, torch.float64), None, c, sigma)
    again = alpha[:, None] * data + sigma[:, None] * noise
    torch.testing.assert_close(again, u, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["score", "karras"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_inputs_and_targets_have_unit_variance(name, schedule):
    prediction = PREDICTIONS[name]
    x0, n, u, alpha, sigma, t = draw(schedule, 20_000)
    c = prediction.coefficients(u, alpha, sigma, t)
    for values in (c.in_[:, None] * u, prediction.target(x0, n, alpha, sigma, c)):
        for part in values[t.argsort()].chunk(5):
            assert part.square().mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_velocity_v_and_noise_targets_are_what_they_say(schedule):
    x0, n, u, alpha, sigma, t = draw(schedule)

    def target(name):
        c = PREDICTIONS[name].coefficients(u, alpha, sigma, t)
        return PREDICTIONS[name].target(x0, n, alpha, sigma, c)

    torch.testing.assert_close(target("noise"), n)
    torch.testing.assert_close(target("data"), x0)
    v = alpha[:, None] * n - sigma[:, None] * x0
    torch.testing.assert_close(target("v"), v, rtol=1e-7, atol=1e-9)
    if isinstance(schedule, Rectified):
        torch.testing.assert_close(target("velocity"), n - x0, rtol=1e-7, atol=1e-9)


class Nothing(torch.nn.Module):
    """A network that answers zero."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, cond, y=None):
        return torch.zeros_like(x)


@pytest.mark.parametrize("name", ["score", "karras"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_without_a_network_the_field_is_that_of_a_gaussian(name, schedule):
    """Of the data's mean and scale: the exact field of one round Gaussian."""
    mean = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    field = Learned(Nothing(), schedule, PREDICTIONS[name], Normal(), mean, STD)
    exact = Mixture(torch.ones(1), mean[None], torch.tensor([STD]).double(), schedule)
    *_, u, _, _, t = draw(schedule)
    torch.testing.assert_close(field.velocity(u, t), exact.velocity(u, t), rtol=1e-6, atol=1e-6)


def test_the_score_objective_counts_errors_of_sigma_times_the_score():
    schedule, prediction = VE(0.05, 5.0), PREDICTIONS["score"]
    field = Learned(Nothing(), schedule, prediction, Normal(), torch.zeros(3).double(), STD)
    x0, n, u, _, sigma, t = draw(schedule)
    error, _ = field.residual(u, x0, n, t)
    wanted = sigma[:, None] * field.score(u, t) + n
    torch.testing.assert_close(error.abs(), wanted.abs().float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["v", "velocity", "karras", "score"])
def test_the_ends_where_alpha_or_sigma_vanish_are_finite(name):
    mean = torch.zeros(3, dtype=torch.float64)
    field = Learned(Nothing(), Rectified(), PREDICTIONS[name], Normal(), mean, STD)
    x = torch.ones(2, 3, dtype=torch.float64)
    ends = (1.0, 0.0) if name in ("v", "velocity") else (1.0, 1e-3)
    for t in ends:
        assert field.velocity(x, t).isfinite().all(), t


@pytest.mark.parametrize("name", ["poisson", "pfgmpp", "edm", "vp"])
def test_derivatives_of_a_learned_velocity_are_complete(name):
    """Autograd's directional derivative equals a finite difference: nothing is cut off from x."""
    moons = load("moons").train[:256]
    objective = build(name, (2,), stats=data_stats(moons), width=16, depth=1)
    with torch.no_grad():
        for i, p in enumerate(objective.parameters()):
            p.add_(0.2 * Rng(i).normal("p", (1, *p.shape))[0])
    field = objective.double().field
    start = field.start(5, Rng(0))
    x = moons[:5].double() + 0.3
    t = 0.4
    direction = Rng(9).normal("direction", x.shape, torch.float64)
    exact = torch.func.jvp(lambda z: start.field.velocity(z, t), (x,), (direction,))[1]
    h = 1e-5
    ends = (start.field.velocity(x + s * h * direction, t) for s in (1, -1))
    difference = (next(ends) - next(ends)) / (2 * h)
    torch.testing.assert_close(exact, difference, rtol=1e-3, atol=1e-4)
