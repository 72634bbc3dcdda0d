"""Labels of exact fields: a class without points or weight is refused, before any solve."""

import math

import pytest
import torch

from diffode import decode, encode, likelihood_card, log_prob, sample
from diffode.fields import VP, Empirical, Karras, PoissonField, discriminator_guided, rescheduled
from diffode.fields.kernels import Points, Queries, kernel_means
from diffode.fields.ratios import ExactRatio
from diffode.likelihood.dequantisation import law_at_prior
from diffode.likelihood.divergence import divergence
from diffode.priors import Normal, StudentT

POINTS = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.arange(12) % 3
WEIGHTS = torch.where(LABELS == 2, 0.0, 1.0)
FIELD = Empirical(POINTS, VP(), labels=LABELS, bandwidth=0.4, weights=WEIGHTS)
HEAVY = Empirical(POINTS, Karras(0.1, 20.0), StudentT(3.0), labels=LABELS, weights=WEIGHTS)
AROUND = {
    "field": FIELD,
    "clock": rescheduled(FIELD, "theta"),
    "guided": discriminator_guided(FIELD, ExactRatio(Normal(), Normal(), (2,))),
    "poisson": PoissonField(HEAVY),
}
X = POINTS[:2]


@pytest.mark.parametrize("label", [7, 2, -1])
@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize(
    "call",
    [
        lambda f, y: log_prob(f, X, y=y),
        lambda f, y: likelihood_card(f, X, y=y),
        lambda f, y: divergence(f, X, 0.5, y),
        lambda f, y: sample(f, 2, nfe=5, y=y),
        lambda f, y: encode(f, X, nfe=5, y=y),
        lambda f, y: decode(f, X, nfe=5, y=y),
        lambda f, y: f.denoise(X, 0.5, y),
    ],
    ids=["log_prob", "card", "divergence", "sample", "encode", "decode", "denoise"],
)
def test_a_class_without_points_of_weight_is_refused(call, name, label):
    with pytest.raises(ValueError, match=f"label {label} has no points of any weight.*are 0, 1"):
        call(AROUND[name], torch.tensor([0, label]))


def test_a_query_that_no_point_answers_has_no_mean():
    """Under torch.func no label can be looked at: no number may come out then."""
    points = Points(POINTS, POINTS.square().sum(1), torch.zeros(12).double(), labels=LABELS)
    one = torch.ones(()).double()
    means = kernel_means(points, Queries(X, one, one, Normal(), torch.tensor([0, 9])))
    assert means[0].isfinite().all() and means[1].isnan().all()


def test_the_density_of_a_class_is_that_of_its_points_alone():
    y = torch.tensor([0, 1, 1])
    got = FIELD.log_marginal(POINTS[:3], 0.3, y)
    for k, c in enumerate(y.tolist()):
        alone = Empirical(POINTS[c == LABELS], VP(), bandwidth=0.4)
        torch.testing.assert_close(got[k], alone.log_marginal(POINTS[k : k + 1], 0.3)[0])
    both = torch.stack([FIELD.log_marginal(X, 0.3, c) for c in (0, 1)]) + math.log(0.5)
    torch.testing.assert_close(torch.logsumexp(both, 0), FIELD.log_marginal(X, 0.3))


def test_the_card_compares_each_point_with_its_own_class():
    apart = torch.cat((POINTS[:6] - 3, POINTS[6:] + 3))
    labels = torch.arange(12) // 6
    field = Empirical(apart, VP(beta_max=4.0), labels=labels, bandwidth=0.4)
    x, y = apart[[0, 8]], torch.tensor([0, 1])
    card = likelihood_card(field, x, y=y, rtol=1e-8, atol=1e-8)
    for k in range(2):
        alone = Empirical(apart[labels == k], VP(beta_max=4.0), bandwidth=0.4)
        true = alone.log_marginal(x[k : k + 1], field.span[1])
        torch.testing.assert_close(
            card.result.nats[k] + card.mismatch[k], true[0], rtol=0, atol=1e-5
        )


def test_the_card_of_a_wrapper_claims_no_law_of_what_it_wraps():
    for name in ("clock", "guided"):
        assert likelihood_card(AROUND[name], X).mismatch is None
    assert likelihood_card(AROUND["poisson"], X).mismatch is not None


def test_the_law_of_training_data_refuses_a_class_that_it_has_not():
    known = law_at_prior(FIELD, POINTS, LABELS, torch.tensor([0, 5]))
    with pytest.raises(ValueError, match="label 5 has no points in this data"):
        known(X)
