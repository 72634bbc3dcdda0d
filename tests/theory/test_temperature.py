"""Temperature: what it is for a Gaussian, what it is not, and where it is refused."""

import math

import pytest
import torch

from diffode.fields import VP, Cosine, Empirical, Karras, Mixture, PoissonField, Rectified
from diffode.fields.guidance import classifier_free
from diffode.priors import StudentT
from diffode.sampling import sample

MEAN = torch.tensor([[3.0, -1.0]])


def gaussian(schedule, std=0.5):
    return Mixture(torch.ones(1), MEAN, torch.tensor([std]), schedule)


@pytest.mark.parametrize("schedule", [Karras(), VP(), Cosine(), Rectified()])
@pytest.mark.parametrize("temperature", [0.6, 1.5])
def test_samples_of_a_gaussian_are_as_many_times_as_wide(schedule, temperature):
    field = gaussian(schedule)
    usual, changed = (
        sample(field, 16, "trig", steps=12, seed=3, final="none", temperature=t).x.double()
        for t in (1.0, temperature)
    )
    level = torch.tensor(field.span[1]).double()
    middle = schedule.alpha(level) * MEAN
    gap = (changed - middle) - temperature * (usual - middle)
    assert gap.abs().max() < 2e-5 * usual.abs().max()
    assert (changed - usual).abs().max() > 0.05


def test_it_is_no_exponent_of_the_density():
    """A light mode between heavy ones: cold starts make it heavier, p^(1/T) lighter."""
    weights, means = torch.tensor([0.4, 0.2, 0.4]), torch.tensor([[-1.0], [0.0], [1.0]])
    field = Mixture(weights, means, torch.full((3,), 0.05), Karras())
    usual, cold = (sample(field, 2000, nfe=20, temperature=t).x.abs() for t in (1.0, 0.5))
    assert float((usual < 0.5).double().mean()) == pytest.approx(0.2, abs=0.04)
    share, tilted = float((cold < 0.5).double().mean()), 0.2**2 / (2 * 0.4**2 + 0.2**2)
    edge = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.6))  # a flow of one
    expected = float(2 * torch.distributions.Normal(0.0, 0.5).cdf(edge) - 1)  # number keeps order
    assert share == pytest.approx(expected, abs=0.05)
    assert share > 0.3 > tilted + 0.1


def test_one_is_the_prior_as_it_is_and_rows_stay_their_own():
    field = gaussian(VP())
    plain = sample(field, 5, nfe=5).x
    assert torch.equal(sample(field, 5, nfe=5, temperature=1).x, plain)
    warm = sample(field, 5, nfe=5, temperature=0.8)
    parts = sample(field, 5, nfe=5, temperature=0.8, batch=2)
    assert torch.equal(warm.x, parts.x)
    start = sample(field, 5, nfe=5).latent.x.double()
    middle = field.prior.loc.double()
    torch.testing.assert_close(warm.latent.x.double(), middle + 0.8 * (start - middle))


def test_guided_fields_take_it():
    data, labels = torch.tensor([[-2.0], [2.0]]), torch.tensor([0, 1])
    field = classifier_free(Empirical(data, Karras(), labels=labels, bandwidth=0.2), 2.0)
    drawn = sample(field, 4, nfe=9, y=1, temperature=0.5)
    torch.testing.assert_close(drawn.x, torch.full((4, 1), 2.0), atol=0.5, rtol=0)
    assert drawn.network_calls == 2 * drawn.nfe


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "warm"])
def test_what_is_no_temperature_is_refused(value):
    with pytest.raises(ValueError, match="wanted a positive finite number"):
        sample(gaussian(VP()), 2, nfe=5, temperature=value)


def test_heavy_tailed_starts_are_refused():
    inner = Mixture(torch.ones(1), MEAN, torch.tensor([0.5]), Karras(), StudentT(1.0))
    for field in (PoissonField(inner), inner):
        with pytest.raises(TypeError, match="scales a normal prior alone"):
            sample(field, 2, nfe=5, temperature=0.8)
        assert sample(field, 2, nfe=5, temperature=1.0).x.isfinite().all()
