"""A field cast to another type: its networks change, what it knows beside them does not."""

import copy

import pytest
import torch

import diffode
from diffode.fields import (
    VP,
    CriticBank,
    Empirical,
    GaussianFlow,
    Karras,
    Mixture,
    MonoFlow,
    PoissonField,
    discriminator_guided,
    rescheduled,
)
from diffode.nn.critic import critic_network
from diffode.priors import StudentT

MEANS, STDS = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.1, 0.2])
POINTS = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)) + 100
LAW = Mixture(torch.ones(2), MEANS, STDS, VP())


def learned(name, **options):
    """A recipe's field whose network is not the zero that it starts as."""
    field = diffode.build(name, (2,), width=16, **options).field
    generator = torch.Generator().manual_seed(1)
    for p in field.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=generator)
    return field


def bank():
    critics = CriticBank(critic_network((2,), activation="silu"), 7)
    for k in range(7):
        critics.record(k, critic_network((2,), activation="silu", seed=k))
    return MonoFlow(critics)


EXACT = {
    "mixture": LAW,
    "covariances": Mixture(torch.ones(2), MEANS, 0.01 * torch.eye(2).expand(2, 2, 2), VP()),
    "heavy": Mixture(torch.ones(2), MEANS, STDS, Karras(), StudentT(1.0)),
    "points": Empirical(POINTS, Karras(0.01, 80.0), labels=torch.arange(20) % 2, bandwidth=0.1),
    "wide": Empirical(POINTS, VP(), keep_float64=True),
    "poisson": PoissonField(Empirical(POINTS, Karras(), StudentT(2.0))),
    "theta": rescheduled(LAW, "theta"),
    "gauss": MonoFlow(GaussianFlow(torch.ones(2), torch.ones(2)).ratio()),
}
NETWORKS = {name: learned(name) for name in ("edm", "vp", "rectified", "pfgmpp", "poisson")}
NETWORKS["guided"] = discriminator_guided(LAW, critic_network((2,), activation="silu"))
NETWORKS["bank"] = bank()
TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def moved(field, x):
    """Where the middle of the field's span moves some points, by one evaluation."""
    return field.velocity(x, sum(field.span) / 2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", EXACT)
def test_a_cast_exact_field_gives_the_same_answers(name, dtype):
    field = EXACT[name]
    cast = copy.deepcopy(field).to(dtype)
    assert torch.equal(diffode.sample(cast, 3, nfe=6).x, diffode.sample(field, 3, nfe=6).x)
    x = diffode.sample(field, 3, nfe=6).x.double()
    assert torch.equal(moved(cast, x), moved(field, x))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_cast_network_moves_points_about_as_before(name, dtype):
    field = NETWORKS[name]
    cast = copy.deepcopy(field).to(dtype)
    if name != "bank":  # a bank's weights are buffers
        assert {p.dtype for p in cast.parameters()} == {dtype}
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))
    want = moved(field, x).detach()
    error = 1e-5 if dtype in TYPES[:2] else 0.1 * float(want.abs().max())
    torch.testing.assert_close(moved(cast, x), want, rtol=0.1, atol=error)
    assert diffode.sample(cast, 3, nfe=6).x.dtype == torch.float32


def test_a_bank_s_edges_stay_where_they_are():
    cast = copy.deepcopy(NETWORKS["bank"]).half().critic
    assert torch.equal(cast.edges, NETWORKS["bank"].critic.edges)
    assert all(b.dtype == torch.float16 for n, b in cast.named_buffers() if n != "edges")


@pytest.mark.parametrize("name", EXACT)
def test_a_cast_field_is_the_same_after_there_and_back(name):
    cast = copy.deepcopy(EXACT[name]).half().double().float()
    for (n, got), (_, want) in zip(cast.named_buffers(), EXACT[name].named_buffers(), strict=True):
        assert torch.equal(got, want) and got.dtype == want.dtype, n
