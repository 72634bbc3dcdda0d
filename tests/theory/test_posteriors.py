"""Exact posteriors: against importance sampling, and what they keep of the field."""

import math

import pytest
import torch

from diffode.data.scaling import Scaling
from diffode.fields import (
    VP,
    Empirical,
    Karras,
    Mixture,
    classifier_free,
    conditioned,
    exact_posterior,
    log_evidence,
)
from diffode.fields.operators import mask, matrix
from diffode.priors import StudentT
from diffode.rng import Rng

NOISE = 0.5


def numbers(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


MEANS, FACTORS = numbers(3, 4), numbers(3, 4, 4)
STDS = {
    "isotropic": torch.tensor([0.5, 0.8, 1.0]),
    "diagonal": 0.3 + numbers(3, 4).abs(),
    "full": FACTORS @ FACTORS.mT / 4,
}
H, SEEN = matrix(numbers(2, 4, seed=1)), torch.tensor([0.3, -0.5]).double()
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def log_likelihood(x):
    law = torch.distributions.Normal(SEEN, NOISE)
    return law.log_prob(H(x)).sum(1)


@pytest.mark.parametrize("kind", STDS)
def test_a_mixture_given_y_is_its_draws_weighted_by_their_likelihood(kind):
    """In mean, covariance, the components' weights and the evidence."""
    prior = Mixture(WEIGHTS, MEANS, STDS[kind], Karras(), labels=torch.arange(3))
    given = exact_posterior(prior, H, SEEN, NOISE)
    x = prior.sample(400_000, Rng(0)).double()
    log = log_likelihood(x)
    w = torch.softmax(log, 0)
    ess = float(1 / w.square().sum())
    evidence = float(torch.logsumexp(log, 0)) - math.log(len(x))
    assert ess > 10_000
    assert abs(evidence - log_evidence(prior, H, SEEN, NOISE)) < 4 / math.sqrt(ess)
    mean = w @ x
    off = x - mean
    covariance = (w[:, None] * off).T @ off
    y = given.sample(400_000, Rng(1)).double()
    scale = covariance.diagonal().sqrt()
    assert float(((y.mean(0) - mean) / scale).abs().max()) < 4 / math.sqrt(ess / 2)
    gap = (y.T.cov() - covariance) / scale / scale[:, None]
    assert float(gap.abs().max()) < 8 / math.sqrt(ess / 2)
    assert float(((given.moments[0] - mean) / scale).abs().max()) < 4 / math.sqrt(ess)


def test_one_component_after_the_other_is_both_at_once():
    """Two observations in turn are the one of both: an identity of the posterior."""
    prior = Mixture(WEIGHTS, MEANS, STDS["full"], VP(), labels=torch.tensor([0, 1, 0]))
    rows = H.rows().flatten(1)
    first = exact_posterior(prior, matrix(rows[:1]), SEEN[:1], NOISE)
    both = exact_posterior(first, matrix(rows[1:]), SEEN[1:], NOISE)
    at_once, x = exact_posterior(prior, H, SEEN, NOISE), numbers(6, 4)
    for y in (None, torch.tensor([0, 1, 0, 1, 1, 0])):
        torch.testing.assert_close(both.denoise(x, 0.3, y), at_once.denoise(x, 0.3, y))
    torch.testing.assert_close(
        log_evidence(prior, matrix(rows[:1]), SEEN[:1], NOISE)
        + log_evidence(first, matrix(rows[1:]), SEEN[1:], NOISE),
        log_evidence(prior, H, SEEN, NOISE),
    )


def test_a_data_set_given_y_is_its_points_weighted_by_their_likelihood():
    points = numbers(50, 4)
    prior = Empirical(points, Karras(), StudentT(3.0), labels=torch.arange(50) % 2)
    given = exact_posterior(prior, H, SEEN, NOISE)
    weights = torch.softmax(log_likelihood(points), 0)
    torch.testing.assert_close(given.moments[0], weights @ points)
    assert repr(given.noise) == repr(prior.noise) and torch.equal(given.labels, prior.labels)
    small = Mixture(torch.ones(50), points, torch.full((50,), 1e-5), Karras(), StudentT(3.0))
    x = numbers(5, 4)
    torch.testing.assert_close(
        given.denoise(x, 1.0), exact_posterior(small, H, SEEN, NOISE).denoise(x, 1.0)
    )
    torch.testing.assert_close(
        log_evidence(prior, H, SEEN, NOISE), log_evidence(small, H, SEEN, NOISE)
    )


def test_units_are_those_of_the_data():
    prior, pixels = (Mixture(WEIGHTS, MEANS, STDS["diagonal"], Karras()) for _ in range(2))
    pixels.scaling = Scaling.pixels()
    h = H.rows()
    seen = 127.5 * (SEEN + h.sum(1))
    got = exact_posterior(pixels, H, seen, 127.5 * NOISE)
    assert got.scaling is pixels.scaling
    torch.testing.assert_close(got.means, exact_posterior(prior, H, SEEN, NOISE).means)
    torch.testing.assert_close(
        log_evidence(pixels, H, seen, 127.5 * NOISE) + 2 * math.log(127.5),
        log_evidence(prior, H, SEEN, NOISE),
    )


@pytest.mark.parametrize(
    ("field", "observation", "error", "words"),
    [
        (Mixture(WEIGHTS, MEANS, STDS["full"], VP()), numbers(3, 2), ValueError, "wanted one"),
        (Empirical(MEANS, VP(), bandwidth=0.1), SEEN, ValueError, "take Mixture"),
        (torch.nn.Identity(), SEEN, TypeError, "known for Mixture and Empirical"),
    ],
)
def test_what_has_no_exact_posterior_is_refused(field, observation, error, words):
    for ask in (exact_posterior, log_evidence):
        with pytest.raises(error, match=words):
            ask(field, H, observation, NOISE)


def test_what_is_seen_well_is_kept():
    prior = Mixture(WEIGHTS, MEANS, STDS["full"], VP())
    given = exact_posterior(prior, mask([1, 0, 0, 1]), [0.7, -0.2], 1e-4)
    x = given.sample(20, Rng(0))
    torch.testing.assert_close(x[:, 0], torch.full_like(x[:, 0], 0.7), rtol=0, atol=1e-3)
    torch.testing.assert_close(x[:, 3], torch.full_like(x[:, 3], -0.2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("schedule", [Karras(), VP()], ids=repr)
def test_guidance_between_gaussians_given_y_is_that_of_the_gaussian_it_leads_to(schedule):
    """Away from N(a, s) towards N(b, s) by w is N(a + w (b - a), s), and stays so given y."""
    a, b = MEANS[:2]
    near, far, led = (
        Mixture(torch.ones(1), mean[None], STDS["isotropic"][1:2], schedule)
        for mean in (a, b, a + 2.5 * (b - a))
    )
    away, towards = (conditioned(law, H, SEEN, NOISE) for law in (near, far))
    guided, exact = classifier_free(towards, 2.5, weak=away), exact_posterior(led, H, SEEN, NOISE)
    x, t = numbers(5, 4, seed=2), sum(schedule.span) / 3
    torch.testing.assert_close(guided.denoise(x, t), exact.denoise(x, t), rtol=1e-6, atol=1e-6)
