"""The field of a data set as an object: weights, labels, shapes, draws, refusals."""

import pytest
import torch
from scipy import stats

from diffode.fields import VP, Empirical
from diffode.priors import Normal, StudentT
from diffode.rng import Rng


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


# ----------------------------------------------------------------------------- weights and labels

IMAGES = Rng(6).normal("images", (12, 3, 2, 3), torch.float64)
LABELS = torch.tensor([0, 1, 2] * 4)


@pytest.mark.parametrize("noise", [Normal(), StudentT(1.0)], ids=repr)
def test_a_label_selects_its_points(noise):
    """Row by row the field of a class is that of its points alone, with their weights."""
    weights = Rng(6).uniform("w", (12,))
    field = Empirical(IMAGES, VP(), noise, weights, LABELS)
    x, y = IMAGES[:3] + 0.1, torch.tensor([2, 0, 2])
    whole = field.posterior(x, 0.3, y)
    for i in range(3):
        keep = y[i] == LABELS
        part = Empirical(IMAGES[keep], VP(), noise, weights[keep])
        for a, b in zip(whole, part.posterior(x[i : i + 1], 0.3), strict=True):
            torch.testing.assert_close(a[i], b[0], rtol=1e-11, atol=1e-11)
    assert not torch.allclose(whole[0], field.denoise(x, 0.3), atol=1e-3)


def test_a_weight_of_two_is_a_point_given_twice():
    twice = Empirical(torch.cat((IMAGES[:3], IMAGES[1:2])), VP())
    field = Empirical(IMAGES[:3], VP(), weights=tensor(1.0, 2, 1))
    x = IMAGES[:4]
    torch.testing.assert_close(field.denoise(x, 0.5), twice.denoise(x, 0.5))
    torch.testing.assert_close(field.log_marginal(x, 0.5), twice.log_marginal(x, 0.5))
    torch.testing.assert_close(field.moments[0], twice.moments[0])
    assert field.moments[1] == pytest.approx(twice.moments[1], rel=1e-12)


def test_draws_are_points_with_their_frequencies():
    p = tensor(0.5, 0.25, 0.15, 0.1, 0.0)
    field = Empirical(IMAGES[:5], VP(), weights=p)
    x = field.sample(4000, Rng(7))
    copies = (x[:, None] == IMAGES[:5]).flatten(2).all(2)
    assert bool((copies.sum(1) == 1).all())
    counts = copies.sum(0).double()
    assert counts[4] == 0 and stats.chisquare(counts[:4], 4000 * p[:4]).pvalue > 1e-3
    blurred = Empirical(IMAGES[:5], VP(), bandwidth=0.3).sample(4000, Rng(7)) - IMAGES[:5].mean(0)
    variance = IMAGES[:5].var(0, correction=0) + 0.3**2
    torch.testing.assert_close(blurred.square().mean(0), variance, rtol=0.15, atol=0.02)


# ----------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("noise", [Normal(), StudentT(1.0)], ids=repr)
@pytest.mark.parametrize(
    "name", ["posterior", "denoise", "noise_part", "velocity", "log_marginal"]
)
def test_rows_do_not_mix(name, noise):
    """A batch is its rows one by one, with B equal to an event size and a time for each."""
    field = Empirical(IMAGES, VP(), noise)
    x, t = IMAGES[:3] + 0.1, tensor(0.2, 0.5, 1.0)
    f = getattr(field, name)
    whole = f(x, t) if name == "posterior" else (f(x, t),)
    for i in range(3):
        row = f(x[i : i + 1], float(t[i]))
        for a, b in zip(whole, row if name == "posterior" else (row,), strict=True):
            assert a.shape == ((3,) if name == "log_marginal" else x.shape)
            torch.testing.assert_close(a[i], b[0], rtol=1e-11, atol=1e-11)
    same = f(x, t[:1].expand(3)), f(x, t[0])
    for a, b in zip(*(v if name == "posterior" else (v,) for v in same), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_an_image_field_is_its_flat_field():
    x = IMAGES[:3] + 0.1
    flat = Empirical(IMAGES.flatten(1), VP(), StudentT(3.0)).denoise(x.flatten(1), 0.4)
    torch.testing.assert_close(
        Empirical(IMAGES, VP(), StudentT(3.0)).denoise(x, 0.4).flatten(1), flat
    )


def test_the_prior_is_the_law_of_the_data_at_the_first_time_but_for_their_spread():
    """At t_prior one point, the mean, stands for the data: exact for a single charge."""
    field = Empirical(IMAGES[:1], VP(), StudentT(2.0))
    x = field.prior.sample((5, 3, 2, 3), Rng(8), dtype=torch.float64)
    torch.testing.assert_close(field.prior.log_prob(x), field.log_marginal(x, field.span[0]))


def test_corruption_draws_the_path():
    field = Empirical(IMAGES, VP(), StudentT(4.0))
    x, n = field.corrupt(IMAGES, torch.linspace(0.1, 1, 12, dtype=torch.float64), Rng(9))
    alpha, sigma = field.level(torch.linspace(0.1, 1, 12, dtype=torch.float64), x)
    by_row = (alpha.view(12, 1, 1, 1), sigma.view(12, 1, 1, 1))
    torch.testing.assert_close(x, by_row[0] * IMAGES + by_row[1] * n)
    assert torch.equal(n, StudentT(4.0).sample(n.shape, Rng(9), name="noise", dtype=n.dtype))


@pytest.mark.parametrize(
    ("message", "build"),
    [
        (r"got data of shape \(3,\)", lambda: Empirical(torch.ones(3), VP())),
        (r"got data of shape \(0, 2\)", lambda: Empirical(torch.ones(0, 2), VP())),
        ("got 12 points and 4 labels", lambda: Empirical(IMAGES, VP(), labels=LABELS[:4])),
        ("wanted 12 non-negative", lambda: Empirical(IMAGES, VP(), weights=-torch.ones(12))),
        ("wanted 12 non-negative", lambda: Empirical(IMAGES, VP(), weights=torch.zeros(12))),
        (r"bandwidth needs Normal\(\)", lambda: Empirical(IMAGES, VP(), StudentT(1), bandwidth=1)),
        ("built without labels", lambda: Empirical(IMAGES, VP()).denoise(IMAGES, 1.0, LABELS)),
        (
            "label 7 has no points",
            lambda: Empirical(IMAGES, VP(), labels=LABELS).denoise(IMAGES, 1.0, LABELS * 0 + 7),
        ),
        (
            r"got t of shape \(2,\) for x of shape \(12, 3, 2, 3\); .*shape \(12,\)",
            lambda: Empirical(IMAGES, VP()).denoise(IMAGES, torch.ones(2)),
        ),
    ],
)
def test_what_does_not_fit_is_refused(message, build):
    with pytest.raises(ValueError, match=message):
        build()
