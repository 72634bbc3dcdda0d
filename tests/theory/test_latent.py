"""The latent of a flow: points and a Poisson field's q, the same through every wrapper."""

import copy

import numpy as np
import pytest
import torch

from diffode import Rng, decode, encode, sample
from diffode.analysis.budget import error_budget
from diffode.data import Dataset
from diffode.fields import (
    Empirical,
    Karras,
    Latent,
    PoissonField,
    Wrapped,
    rescheduled,
)
from diffode.fields.guided import DiscriminatorGuided, discriminator_guided
from diffode.fields.ratios import ExactRatio
from diffode.priors import Normal, StudentT
from diffode.runs.assess import save_samples

POINTS = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).double()
FINE = {"rtol": 1e-6, "atol": 1e-6}
PLAIN = PoissonField(Empirical(POINTS, Karras(0.05, 20.0), StudentT(3.0)))
NOTHING = ExactRatio(Normal(), Normal(), (2,))


class Same(Wrapped):
    """A wrapper that changes nothing."""

    def posterior(self, x, t, y=None):
        return self.inner.posterior(x, t, y)


WRAPPERS = {
    "rho": lambda f: rescheduled(f, "rho"),
    "logsnr": lambda f: rescheduled(f, "logsnr"),
    "theta": lambda f: rescheduled(f, "theta"),
    "guided": lambda f: DiscriminatorGuided(f, NOTHING),
    "discriminator_guided": lambda f: discriminator_guided(f, NOTHING),
    "same": Same,
    "twice": lambda f: Same(rescheduled(DiscriminatorGuided(f, NOTHING), "rho")),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_carries_q_through_samples_rows_and_decoding(wrap, tmp_path):
    field = wrap(PLAIN)
    want = sample(PLAIN, 3, "dopri5-rows", batch=2, final="none", **FINE)
    got = sample(field, 3, "dopri5-rows", batch=2, final="none", **FINE)
    assert torch.equal(got.q, want.q) and got.latent.x.shape == (3, 2)
    torch.testing.assert_close(got.x, want.x, rtol=1e-3, atol=1e-3)
    again = decode(field, got.latent, "dopri5-rows", **FINE)
    torch.testing.assert_close(again.x, got.x, rtol=1e-3, atol=1e-3)
    assert again.latent.q is not None and torch.equal(again.q, got.q)
    same = decode(field, got.latent.x, "dopri5-rows", q=got.q, **FINE)
    assert torch.equal(same.x, again.x)
    save_samples(got, tmp_path / "s.npz")
    assert np.array_equal(np.load(tmp_path / "s.npz")["q"], want.q.numpy())


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_bound_wrapper_has_no_prior_and_knows_its_rows(wrap):
    start = wrap(PLAIN).start(4, Rng(0))
    bound, index = start.field, torch.tensor([2, 0])
    assert bound.prior is None and wrap(PLAIN).prior is not None
    part = bound.rows(index)
    assert torch.equal(part.latent(start.x[index]).q, bound.latent(start.x).q[index])
    with pytest.raises(ValueError, match="bound"):
        encode(bound, start.x)
    with pytest.raises(ValueError, match="bound to q already"):
        bound.bind([1.0] * 4)


def test_a_latent_of_a_field_without_q_is_its_points():
    law = Empirical(POINTS, Karras(0.05, 20.0), bandwidth=0.1)
    there = encode(law, POINTS[:3], nfe=20)
    assert there.latent.q is None and torch.equal(there.latent.x, there.x)
    back = decode(law, there.latent, nfe=20)
    assert torch.equal(back.x, decode(law, there.x, nfe=20).x)
    with pytest.raises(ValueError, match="a latent has its own q"):
        decode(PLAIN, Latent(POINTS[:2], torch.ones(2)), q=torch.ones(2))
    with pytest.raises(TypeError, match="q belongs to an unbound PoissonField"):
        decode(law, Latent(POINTS[:2], torch.ones(2)))


def test_copies_of_a_wrapper_share_no_tables():
    field = rescheduled(PLAIN, "rho")
    bound = field.bind(torch.ones(2))
    bound.double()
    assert field.inner is PLAIN and copy.deepcopy(bound).inner.q.shape == (2,)
    assert PLAIN.q is None and field.prior is not None


def test_the_budget_of_a_wrapped_poisson_flow_is_refused():
    with pytest.raises(TypeError, match="wraps a Poisson flow"):
        error_budget(Same(PLAIN), Dataset("x", POINTS, POINTS + 0.1), "heun", n=40, nfe=5)
