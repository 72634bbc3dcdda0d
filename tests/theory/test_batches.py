"""Rows moved a batch at a time go where they go all at once."""

import pytest
import torch

from diffode.data import load
from diffode.fields import VP, Empirical, Karras, PoissonField
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.sampling import decode, encode, sample
from tests.fields import Turning

X = load("moons").train[:12]
Y = torch.arange(12) % 2
FLOW = {"solver": "heun", "steps": 8}


def plane_form():
    return PoissonField(Empirical(X[:6], Karras(), StudentT(1.0)))


@pytest.mark.parametrize("verb", [encode, decode])
def test_a_batch_at_a_time_with_labels(verb):
    field, done = Empirical(X, VP(), labels=Y), []
    whole = verb(field, X[:7], y=Y[:7], path=True, **FLOW)
    parts = verb(field, X[:7], y=Y[:7], path=True, batch=3, progress=done.append, **FLOW)
    assert done == [3, 6, 7]
    for one, two in ((whole.x, parts.x), (whole.path, parts.path), (whole.latent, parts.latent)):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    assert whole.nfe == parts.nfe
    assert torch.equal(whole.nfe_per_row, parts.nfe_per_row)


def test_latents_with_q_and_fields_bound_to_q():
    field = plane_form()
    latent = sample(field, 7, seed=1).latent
    whole = decode(field, latent, **FLOW)
    for parts in (
        decode(field, latent, batch=2, **FLOW),
        decode(field.bind(latent.q), latent.x, batch=2, **FLOW),
    ):
        torch.testing.assert_close(parts.x, whole.x, rtol=1e-4, atol=1e-5)
        assert torch.equal(parts.q, latent.q)


def test_per_row_values_go_with_their_rows():
    field = Turning(torch.linspace(0.1, 1.0, 5))
    x = Rng(0).normal("x", (5, 2))
    for verb in (encode, decode):
        whole, parts = verb(field, x, **FLOW), verb(field, x, batch=2, **FLOW)
        torch.testing.assert_close(parts.x, whole.x)


def test_a_field_bound_to_other_rows_is_refused():
    bound = plane_form().bind(torch.ones(5))
    with pytest.raises(ValueError, match="got 3 points and 5 values of q; pass one per point"):
        decode(bound, X[:3], **FLOW)


@pytest.mark.parametrize("verb", [encode, decode])
def test_a_batch_counts_from_one(verb):
    with pytest.raises(ValueError, match="batch"):
        verb(Empirical(X, VP()), X, batch=0, **FLOW)
