"""Fields given a linear observation: exact where the theory is, and what they keep."""

import math

import pytest
import torch

from diffode import encode, log_prob, sample
from diffode.data.scaling import Scaling
from diffode.fields import (
    VP,
    Cosine,
    Empirical,
    Karras,
    Mixture,
    PoissonField,
    Rectified,
    Wrapped,
    classifier_free,
    conditioned,
    exact_posterior,
    rescheduled,
)
from diffode.fields.base import expand_like
from diffode.fields.operators import downsample, mask, matrix
from diffode.priors import Normal, Spherical, StudentT
from diffode.rng import Rng
from diffode.solvers import grid

NOISE = 0.3


def numbers(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


FACTOR = numbers(4, 4)
COVARIANCE = FACTOR @ FACTOR.T / 4 + 0.05 * torch.eye(4, dtype=torch.float64)
MEAN = numbers(4)
H = matrix(numbers(2, 4))
SEEN = numbers(2)
SCHEDULES = [Karras(0.01, 50.0), VP(), Rectified(), Cosine()]


def gaussian(schedule, covariance=COVARIANCE, mean=MEAN, noise=None):
    return Mixture(torch.ones(1), mean[None], covariance[None], schedule, noise)


def given(covariance):
    """The mean and the covariance of a Gaussian given the observation."""
    h, one = H.rows(), torch.eye(2, dtype=torch.float64)
    precision = torch.linalg.inv(covariance) + h.T @ h / NOISE**2
    posterior = torch.linalg.inv(precision)
    residual = torch.linalg.solve(h @ covariance @ h.T + NOISE**2 * one, SEEN - h @ MEAN)
    return MEAN + covariance @ h.T @ residual, (posterior + posterior.T) / 2


def mixture(schedule, noise=None):
    means = torch.tensor([[-1.0, 0.5, 0, 1], [1, -1, 0.5, 0], [0, 1, 1, -1]]).double()
    return Mixture(torch.tensor([0.2, 0.3, 0.5]), means, torch.full((3,), 0.4), schedule, noise)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("method", ["tmpd", "pigdm"])
def test_one_gaussian_given_an_observation_is_another_gaussian(method, schedule):
    """TMPD is exact for every covariance, PiGDM for a multiple of the identity."""
    covariance = COVARIANCE if method == "tmpd" else 0.7 * torch.eye(4, dtype=torch.float64)
    exact = gaussian(schedule, *reversed(given(covariance)))
    field = conditioned(gaussian(schedule, covariance), H, SEEN, NOISE, method)
    for t in grid(field, 7):
        if method == "tmpd" and schedule.rho(t) > 999:
            continue  # no signal is left: data of one variance are assumed
        x = field.corrupt(numbers(5, 4), t, Rng(0))[0]
        for got, wanted in zip(field.posterior(x, t), exact.posterior(x, t), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(
            field.velocity(x, t), exact.velocity(x, t), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("method", ["tmpd", "pigdm"])
@pytest.mark.parametrize("noise", [Normal(), StudentT(3.0)], ids=repr)
def test_an_observation_that_says_nothing_changes_nothing(method, noise):
    field = mixture(Karras(0.01, 50.0), noise)
    for t in (0.01, 0.4, 3.0, 50.0):
        x = 2 * numbers(6, 4)
        vague = conditioned(field, H, SEEN, 1e8, method)
        for got, wanted in zip(vague.posterior(x, t), field.posterior(x, t), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["tmpd", "pigdm"])
def test_student_noise_of_many_degrees_is_normal(method):
    fields = [mixture(Karras(0.01, 20.0), noise) for noise in (Normal(), StudentT(1e6))]
    normal, student = (conditioned(f, H, SEEN, NOISE, method) for f in fields)
    for t in (0.05, 0.5, 3.0, 20.0):
        x = normal.corrupt(numbers(6, 4), t, Rng(0))[0]
        gap = student.denoise(x, t) - normal.denoise(x, t)
        assert float(gap.norm()) < 1e-5 * float(normal.denoise(x, t).norm())


def test_each_row_of_a_poisson_flow_is_conditioned_at_its_own_level():
    plane = mixture(Karras(0.01, 20.0), StudentT(4.0))
    start = conditioned(PoissonField(plane), H, numbers(4, 2), NOISE).start(4, Rng(0))
    flow, inner = start.field, start.field.inner
    x, t = numbers(4, 4), torch.tensor(0.7, dtype=torch.float64)
    own = t * flow.q / math.sqrt(4.0)
    torch.testing.assert_close(flow.denoise(x, t), inner.denoise(x, own))
    index = torch.tensor([2, 0])
    torch.testing.assert_close(flow.rows(index).denoise(x[index], t), flow.denoise(x, t)[index])


def test_rows_have_observations_of_their_own_whatever_the_batch():
    inner, seen = mixture(VP()), numbers(5, 2)
    field = conditioned(inner, H, seen, NOISE)
    whole = sample(field, 5, nfe=8).x
    torch.testing.assert_close(sample(field, 5, nfe=8, batch=2).x, whole)
    alone = conditioned(inner, H, seen[3], NOISE)
    torch.testing.assert_close(sample(alone, 1, nfe=8, first=3).x, whole[3:4])
    with pytest.raises(ValueError, match="got 3 rows for a field with an observation for each"):
        field.denoise(numbers(3, 4), 0.5)


@pytest.mark.parametrize("solver", ["default", "heun", "dopri5", "ddim", "dpm++", "ancestral"])
def test_solvers_draw_what_was_seen(solver):
    """Samples of a Gaussian given an observation have the conditional law's mean."""
    field = conditioned(gaussian(Karras(0.01, 50.0)), H, SEEN, NOISE, "tmpd")
    drawn = sample(field, 400, solver, steps=40, seed=1)
    mean, covariance = given(COVARIANCE)
    error = (drawn.x.double().mean(0) - mean) / (covariance.diagonal() / 400).sqrt()
    assert float(error.abs().max()) < 4
    assert drawn.network_calls == 3 * drawn.nfe


def test_the_flow_goes_back_and_has_a_likelihood():
    field = conditioned(gaussian(Karras(0.01, 50.0)), H, SEEN, NOISE, "tmpd")
    exact = gaussian(Karras(0.01, 50.0), *reversed(given(COVARIANCE)))
    x = exact.sample(6, Rng(0))
    torch.testing.assert_close(encode(field, x).x, encode(exact, x).x, rtol=1e-4, atol=1e-3)
    got, wanted = (
        log_prob(f, x, terminal=lambda z: exact.log_marginal(z, 50.0)).nats for f in (field, exact)
    )
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)


def test_other_clocks_and_guided_fields_are_conditioned_too():
    field = conditioned(mixture(VP()), H, SEEN, NOISE)
    other = rescheduled(field, "theta")
    t = other.times(torch.tensor(0.4, dtype=torch.float64))
    x = numbers(3, 4)
    z = other.to_state(x, torch.tensor(0.4, dtype=torch.float64))
    torch.testing.assert_close(
        other.denoise(z, t) + other.shift, field.denoise(x, torch.tensor(0.4))
    )
    on_it = conditioned(rescheduled(mixture(VP()), "logsnr"), H, SEEN, NOISE)
    other = rescheduled(field, "logsnr")
    torch.testing.assert_close(on_it.denoise(x, 0.4), other.denoise(x, 0.4))
    twice = conditioned(field, matrix(numbers(1, 4)), [0.0], NOISE)
    assert twice.calls_per_evaluation == 4
    points = Empirical(numbers(9, 4), VP(), labels=torch.arange(9) % 3)
    guided = conditioned(classifier_free(points, 0.5, (0.1, 1.0)), H, SEEN, NOISE)
    drawn = sample(guided, 3, nfe=6, y=1)
    assert drawn.network_calls == 4 * drawn.nfe


def test_units_of_the_data_are_respected():
    """The same law in other units, conditioned in these."""
    shift, width = numbers(4), 1 + numbers(4).abs()
    plain = mixture(Karras(0.01, 20.0))
    scaled = mixture(Karras(0.01, 20.0))
    scaled.scaling = Scaling("standard", shift, width)
    h = H.rows()
    in_data = conditioned(scaled, matrix(h / width), SEEN + (h / width) @ shift, NOISE)
    wanted = conditioned(plain, H, SEEN, NOISE)
    x = numbers(5, 4)
    torch.testing.assert_close(in_data.denoise(x, 0.7), wanted.denoise(x, 0.7))
    pixels = mixture(Karras(0.01, 20.0))
    pixels.scaling = Scaling.pixels()
    in_bytes = conditioned(pixels, H, 127.5 * SEEN + 127.5 * h.sum(1), 127.5 * NOISE)
    torch.testing.assert_close(in_bytes.denoise(x, 0.7), wanted.denoise(x, 0.7))


def test_single_precision_follows_double():
    field = conditioned(mixture(VP()), H, SEEN, NOISE)
    x = numbers(5, 4)
    single = field.denoise(x.float(), 0.3)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, field.denoise(x, 0.3).float(), rtol=1e-4, atol=1e-4)


class Wide(Spherical):
    """A third law."""

    def log_radial(self, r2, dim):
        return -r2.sqrt()

    def log_norm(self, dim):
        return 0.0


def conditioned_on(observation=SEEN, noise=NOISE, method="pigdm", field=None, made=H):
    return conditioned(field or mixture(VP()), made, observation, noise, method)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"observation": numbers(3)}, ValueError, r"wanted \(2\), what the operator matrix"),
        ({"observation": SEEN * math.nan}, ValueError, "not finite"),
        ({"observation": "seen"}, TypeError, "of type str"),
        ({"noise": 0.0}, ValueError, "got noise 0.0; wanted .* positive"),
        ({"noise": -1}, ValueError, "positive"),
        ({"noise": math.inf}, ValueError, "positive"),
        ({"noise": "little"}, ValueError, "positive"),
        ({"noise": 1e200}, ValueError, "whose square is out of range"),
        ({"noise": 1e-200}, ValueError, "whose square is out of range"),
        ({"method": "dps"}, ValueError, "wanted pigdm or tmpd"),
        ({"made": mask(torch.ones(3))}, ValueError, r"of shape \(3,\) for a field of .*\(4,\)"),
        ({"field": rescheduled(mixture(VP()), "theta")}, ValueError, "condition the field, then"),
        ({"field": 3}, TypeError, "got a int"),
        (
            {"field": Empirical(numbers(5, 4), VP(), Wide())},
            TypeError,
            "for Normal and StudentT noise",
        ),
    ],
)
def test_what_cannot_be_conditioned_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        conditioned_on(**arguments)


def test_tmpd_is_for_few_observed_numbers():
    field = Empirical(numbers(5, 1, 16, 16), VP())
    with pytest.raises(ValueError, match=r"256 observed numbers; tmpd .*64 at most: use pigdm"):
        conditioned(field, mask(torch.ones(16, 16), (1, 16, 16)), torch.zeros(256), 1.0, "tmpd")
    made = downsample((1, 16, 16), 2)
    small = conditioned(field, made, torch.zeros(1, 8, 8), 1.0, "tmpd")
    assert small.denoise(numbers(2, 1, 16, 16), 0.5).shape == (2, 1, 16, 16)


@pytest.mark.parametrize("dof", [1.0, 3.0, 8.0])
def test_student_noise_is_conditioned_about_as_well_as_normal(dof):
    """Where J does not tell C along x - alpha x_0, since |x - alpha x_0|^2 is near D sigma^2."""
    weights, made = torch.tensor([0.3, 0.2, 0.15, 0.15, 0.1, 0.1]), mask(torch.arange(8) < 2)
    errors = {"normal": [], "student": []}
    for seed in range(3):
        stds = 0.1 + 0.25 * numbers(6, 8, seed=seed + 3).abs()
        for kind, noise in (("normal", Normal()), ("student", StudentT(dof))):
            plain = Mixture(weights, numbers(6, 8, seed=seed), stds, Karras(0.02, 20.0), noise)
            seen = plain.sample(1, Rng(seed))[0, :2]
            exact = exact_posterior(plain, made, seen, 0.2)
            field = conditioned(plain, made, seen, 0.2, "tmpd")
            for t in (3.0, 10.0):
                x = exact.corrupt(exact.sample(100, Rng(7)), t, Rng(4))[0]
                wanted = exact.denoise(x, t)
                off, before = (float((f.denoise(x, t) - wanted).norm()) for f in (field, plain))
                errors[kind].append(off / before)
    normal, student = (torch.tensor(errors[kind]) for kind in ("normal", "student"))
    assert float(student.max()) < 1 and float(student.mean()) < float(normal.mean()) + 0.1


class Wavy(Wrapped):
    """A mixture with an error of 5 % of the data's width, as a network has it at any noise."""

    def __init__(self, inner, learned):
        super().__init__(inner)
        size = torch.tensor(0.05)
        self.size = torch.nn.Parameter(size) if learned else size

    def posterior(self, x, t, y=None):
        x0, _ = self.inner.posterior(x, t, y)
        alpha, sigma = (expand_like(v, x) for v in self.level(t, x))
        x0 = x0 + self.size * torch.sin(5 * x.flip(1) / (1 + sigma**2).sqrt())
        return x0, (x - alpha * x0) / sigma


def test_the_jacobian_of_a_network_is_left_alone_where_noise_magnifies_its_error():
    """So that E[x_0 | x] stays where data are; without that it does not."""
    furthest = {}
    for learned in (True, False):
        field = Wavy(mixture(Karras(0.02, 80.0)), learned)
        given = conditioned(field, mask([1, 0, 0, 0]), [0.3], 0.1, "tmpd")
        x = given.corrupt(numbers(100, 4), 60.0, Rng(0))[0]
        furthest[learned] = float(given.denoise(x, 60.0).detach().abs().max())
    assert furthest[True] < 1.5 and furthest[False] > 3


def test_of_networks_a_likelihood_is_refused():
    """Its divergence takes second derivatives, which a network need not have."""
    given = conditioned(Wavy(mixture(VP()), True), H, SEEN, NOISE)
    with pytest.raises(TypeError, match="may lack second derivatives"):
        log_prob(given, numbers(2, 4))
