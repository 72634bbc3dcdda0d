"""Discriminator guidance with exact ratios: the guided field of q is that of p."""

import pytest
import torch

from diffode import log_prob, sample
from diffode.fields import (
    VP,
    Cosine,
    Empirical,
    ExactRatio,
    GaussianFlow,
    Karras,
    Mixture,
    MonoFlow,
    PoissonField,
    PotentialRatio,
    Rectified,
    discriminator_guided,
    rescheduled,
)
from diffode.nn import critic_network
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers import grid
from tests.clouds import cloud

MEANS = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 0.0], [-1.0, -2.0, 1.0]], dtype=torch.float64)
MOVED = MEANS + torch.tensor([[0.1, 0.0, -0.1], [0.0, 0.1, 0.05], [-0.1, 0.05, 0.0]])


def pair(schedule, noise=None, means=(MEANS, MOVED), std=0.5):
    """Two laws, p and q, on one path."""
    p = Mixture(torch.tensor([0.2, 0.3, 0.5]), means[0], torch.full((3,), 0.4), schedule, noise)
    q = Mixture(torch.tensor([0.3, 0.3, 0.4]), means[1], torch.full((3,), std), schedule, noise)
    return p, q


def points(field, t):
    return field.corrupt(field.sample(64, Rng(0)), t, Rng(1))[0]


SCHEDULES = [VP(), Karras(0.01, 20.0), Rectified(), Cosine()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_guided_field_of_q_is_that_of_p(schedule):
    p, q = pair(schedule)
    guided = discriminator_guided(q, ExactRatio(p, q))
    first, last = schedule.span
    for share in (0.02, 0.3, 0.7, 1.0):
        t = torch.tensor(first + share * (last - first), dtype=torch.float64)
        x = points(q, t)
        for got, expected in zip(guided.posterior(x, t), p.posterior(x, t), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(guided.velocity(x, t), p.velocity(x, t), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(guided.score(x, t), p.score(x, t), rtol=1e-9, atol=1e-9)


def test_the_weight_scales_the_scores_change():
    p, q = pair(VP())
    t = torch.tensor(0.3, dtype=torch.float64)
    x = points(q, t)
    change = p.score(x, t) - q.score(x, t)
    for weight in (0.0, 0.5, 2.0, -1.0):
        guided = discriminator_guided(q, ExactRatio(p, q), weight)
        torch.testing.assert_close(guided.score(x, t), q.score(x, t) + weight * change)


def test_samples_of_the_guided_field_are_those_of_p():
    p, q = pair(Karras(0.01, 20.0))
    guided = discriminator_guided(q, ExactRatio(p, q))
    got, expected, plain = (sample(field, 200, nfe=30, seed=1).x for field in (guided, p, q))
    start = sample(p, 200, nfe=30, seed=2).x
    assert float((got - expected).norm(dim=1).median()) < 0.02
    assert float((plain - expected).norm(dim=1).median()) > 0.1
    assert float((start - expected).norm(dim=1).median()) > 0.5


def test_the_likelihood_of_the_guided_field_is_ps():
    p, q = pair(VP())
    guided = discriminator_guided(q, ExactRatio(p, q))
    x = points(p, torch.tensor(1e-3, dtype=torch.float64))[:16]
    got = log_prob(guided, x, terminal=lambda z: p.log_marginal(z, 1.0))
    torch.testing.assert_close(got.nats, p.log_marginal(x, 1e-3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("noise", [Normal(), StudentT(2.0)], ids=repr)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_halves_make_up_x(schedule, noise):
    p, q = pair(schedule, noise)
    guided = discriminator_guided(q, ExactRatio(p, q), 1.5)
    for t in grid(q, 7):
        x = points(q, t)
        x0, n = guided.posterior(x, t)
        alpha, sigma = guided.level(t, x)
        torch.testing.assert_close(alpha * x0 + sigma * n, x, rtol=1e-9, atol=1e-9)


def test_guidance_is_off_where_noise_hides_the_data():
    p, q = pair(Rectified())
    guided = discriminator_guided(q, ExactRatio(p, q))
    x = points(q, torch.tensor(1.0, dtype=torch.float64))
    assert torch.equal(guided.velocity(x, 1.0), q.velocity(x, 1.0))
    low = discriminator_guided(q, ExactRatio(p, q), max_rho=1.0)
    assert torch.equal(low.velocity(x, 0.6), q.velocity(x, 0.6))
    assert not torch.equal(low.velocity(x, 0.4), q.velocity(x, 0.4))


def distance(first, second, x, t):
    gap = first.denoise(x, t) - second.denoise(x, t)
    return float(gap.square().mean().sqrt())


def test_student_t_noise_becomes_normal():
    """The error of the Student-t correction vanishes as D grows, like 1 / D."""
    t, errors = torch.tensor(1.0, dtype=torch.float64), []
    for dof in (1e2, 1e3, 1e4):
        p, q = pair(Karras(0.01, 20.0), StudentT(dof))
        x = points(q, t)
        guided = discriminator_guided(q, ExactRatio(p, q))
        errors.append(distance(guided, p, x, t) / distance(q, p, x, t))
    assert errors[0] < 0.2 and errors[1] < errors[0] / 5 and errors[2] < errors[1] / 5


@pytest.mark.parametrize("dof", [1.0, 2.0, 8.0])
@pytest.mark.parametrize(("dim", "level"), [(2, 1.0), (2, 3.0), (64, 1.0), (64, 3.0)])
def test_student_t_noise_is_corrected_to_first_order(dof, dim, level):
    """For a q close to p most of the error of q goes: measured 1.9 to 8 times less."""
    means = Rng(1).normal("means", (3, dim), torch.float64)
    shift = 0.1 * Rng(2).normal("means", (3, dim), torch.float64)
    p, q = pair(Karras(0.01, 20.0), StudentT(dof), (means, means + shift), 0.44)
    t = torch.tensor(level, dtype=torch.float64)
    x = points(p, t)
    guided = discriminator_guided(q, ExactRatio(p, q))
    assert distance(guided, p, x, t) < distance(q, p, x, t) / 1.5


@pytest.mark.parametrize("dof", [1.0, 3.0, 64.0])
@pytest.mark.parametrize("dim", [2, 16])
def test_a_critic_of_potentials_is_exact_for_student_t_noise(dof, dim):
    """Also where q is far from p, and at low noise; the ratio of densities is not."""
    p, _ = cloud(dim, seed=1)
    q = p + 0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)).double()
    p, q = (Empirical(x, Karras(0.01, 20.0), StudentT(dof)) for x in (p, q))
    guided = discriminator_guided(q, PotentialRatio(p, q))
    for level in (0.1, 1.0, 10.0):
        x = points(p, level)
        assert distance(guided, p, x, level) < 1e-9 * distance(q, p, x, level)
        first = discriminator_guided(q, ExactRatio(p, q))
        assert distance(first, p, x, level) > 1e-4 * distance(q, p, x, level)
    half = discriminator_guided(q, PotentialRatio(p, q), 0.5).denoise(x, level)
    torch.testing.assert_close(half, (p.denoise(x, level) + q.denoise(x, level)) / 2)


def test_poisson_fields_are_guided_in_their_plane_form():
    """Every row of the hemisphere at its own noise level; the solvers see a PoissonField."""
    p, q = pair(Karras(0.01, 20.0), StudentT(8.0))
    ratio = ExactRatio(p, q)
    guided = discriminator_guided(PoissonField(q), ratio)
    assert isinstance(guided, PoissonField)
    x, bound = guided.start(16, Rng(0))
    plain = discriminator_guided(q, ratio)
    for i in range(3):
        level = 2.0 * float(bound.q[i]) / 8**0.5
        torch.testing.assert_close(
            bound.denoise(x, 2.0)[i : i + 1], plain.denoise(x[i : i + 1], level)
        )
    ends = [sample(f, 200, nfe=40, seed=1).x for f in (guided, PoissonField(p), PoissonField(q))]
    gaps = [float((end - ends[1]).norm(dim=1).median()) for end in ends]
    assert gaps[0] < gaps[2] / 2


def test_a_network_guides_on_any_clock():
    """A float32 critic on a float64 state, rows with times of their own, labels passed on."""
    _, q = pair(VP())
    critic = critic_network((3,), timed=True, classes=2)
    guided = discriminator_guided(q, critic)
    x, y = points(q, torch.tensor(0.5, dtype=torch.float64))[:2], None
    assert guided.velocity(x, torch.tensor([0.4, 0.6])).dtype == torch.float64
    assert not guided.smooth and not rescheduled(guided, "theta").smooth
    with pytest.raises(TypeError, match="piecewise-linear critic"):
        log_prob(guided, x, y=y)
    assert "guided by MLPCritic x 1" in repr(guided)


def test_refusals():
    flow = GaussianFlow(torch.zeros(3), torch.ones(3))
    with pytest.raises(TypeError, match="MonoFlow states no score; discriminator guidan"):
        discriminator_guided(MonoFlow(flow.ratio()), flow.ratio())
    _, q = pair(VP())
    with pytest.raises(ValueError, match="critic of potentials for Normal"):
        discriminator_guided(q, PotentialRatio(q, q))
    for options in ({"weight": float("nan")}, {"max_rho": 0.0}):
        with pytest.raises(ValueError, match="wanted finite and > 0"):
            discriminator_guided(q, flow.ratio(), **options)


def test_a_critic_counts_as_a_network_call_where_it_is_called():
    """As a classifier does."""
    asked = []

    class Critic(torch.nn.Module):
        smooth = True

        def forward(self, x, t, y=None):
            asked.append(float(t.max()))
            return -x.square().flatten(1).sum(1) / 2

    q = Empirical(torch.eye(3).double(), Karras(0.05, 20.0))
    guided = discriminator_guided(q, Critic(), max_rho=1.0)
    drawn = sample(guided, 4, "heun", steps=8)
    assert 0 < len(asked) == drawn.network_calls - drawn.nfe < drawn.nfe
    assert max(asked) <= 1.0
    off = sample(discriminator_guided(q, Critic(), 0.0), 4, steps=6)
    assert torch.equal(off.x, sample(q, 4, steps=6).x) and off.network_calls == off.nfe
