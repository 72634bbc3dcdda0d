"""MonoFlow against what is known of it: its decrease law, its Gaussian flow, Langevin dynamics."""

import math

import numpy as np
import pytest
import torch

from diffode import log_prob, sample
from diffode.fields import (
    VP,
    ExactRatio,
    Frozen,
    GaussianFlow,
    Karras,
    Mixture,
    Mobility,
    MonoFlow,
)
from diffode.fields.divergences import DIVERGENCES
from diffode.likelihood.divergence import divergence
from diffode.nn import critic_network
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.solvers import get_solver

ALL = list(DIVERGENCES)
MEAN, STD = torch.tensor([1.0, -1.0]), torch.tensor([0.7, 0.5])
PRIOR = Normal(scale=1.3, loc=0.5)
FLOW = GaussianFlow(MEAN, STD, PRIOR)


def gaussian(horizon=2.0):
    return MonoFlow(FLOW.ratio(), prior=PRIOR, horizon=horizon)


def one(mean, std):
    """The law N(mean, std^2) on a line."""
    law = Mixture(
        torch.ones(1),
        torch.tensor([[mean]], dtype=torch.float64),
        torch.tensor([std], dtype=torch.float64),
        Karras(),
    )
    return Frozen(law, 0.0)


@pytest.mark.parametrize("name", ALL)
def test_the_divergence_falls_at_the_stated_rate(name):
    """dKL/dt by the continuity equation, = -E_q[h' |grad d|^2]; and its sign."""
    p, q = one(1.0, 0.7), one(0.0, 1.0)
    ratio = ExactRatio(p, q)
    field = MonoFlow(ratio, name, check=False)
    x = torch.linspace(-12, 12, 48001, dtype=torch.float64)
    step = float(x[1] - x[0])
    density = q.log_marginal(x[:, None], 0.0).exp()
    flux = density * field.velocity(x[:, None], 0.0)[:, 0]
    inflow = -torch.gradient(flux, spacing=step)[0]  # dq/dt
    d = ratio(x[:, None], torch.tensor(0.0))
    by_continuity = float((inflow * -d).sum() * step)  # KL(q|p) has first variation 1 - d
    slope = torch.gradient(d, spacing=step)[0]
    stated = -float((density * DIVERGENCES[name].slope(d) * slope.square()).sum() * step)
    assert by_continuity == pytest.approx(stated, rel=1e-3)
    assert stated > 0 if name in ("naive-kl", "naive-chi2") else stated < 0


def test_the_gaussian_flow_in_closed_form():
    field = gaussian()
    x = field.start(64, Rng(0)).x.double()
    end = get_solver("rk4")(field, x, torch.linspace(0, 2, 101)).x
    torch.testing.assert_close(end, FLOW.move(x, 2.0), rtol=0, atol=1e-6)


def test_the_gaussian_flow_keeps_its_own_law():
    """The closed form is consistent: density and map obey the change of variables."""
    x = gaussian().start(16, Rng(0)).x.double()
    for t in (0.0, 0.3, 5.0):
        jacobian = torch.func.vmap(torch.func.jacrev(lambda z, t=t: FLOW.move(z[None], t)[0]))(x)
        pushed = PRIOR.log_prob(x) - jacobian.det().abs().log()
        torch.testing.assert_close(FLOW.log_marginal(FLOW.move(x, t), t), pushed)
    late = FLOW.log_marginal(x, 40.0)
    torch.testing.assert_close(late, FLOW.ratio().p.log_marginal(x, 0.0))


def test_the_gaussian_flows_likelihood():
    field = gaussian()
    x = sample(field, 32, "rk4", steps=100).x.double()
    got = log_prob(field, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got.nats, FLOW.log_marginal(x, 2.0), rtol=0, atol=1e-6)


def test_logit_monoflow_is_the_probability_flow_of_langevin_dynamics():
    """Where the marginals of dx = grad log p dt + sqrt(2) dW are known.

    Towards N(0, I) they are those of the variance-preserving diffusion, at the speed beta / 2.
    """
    schedule = VP()
    mixture = Mixture(
        torch.tensor([0.3, 0.7]),
        torch.tensor([[-2.0, 1.0], [2.0, 0.5]], dtype=torch.float64),
        torch.tensor([0.3, 0.6], dtype=torch.float64),
        schedule,
    )
    field = MonoFlow(
        ExactRatio(Normal(), mixture), rate=lambda t: 0.05 + 19.9 / 2 * t, prior=Normal()
    )
    x = Normal().sample((64, 2), Rng(1)).double()
    for t in (0.02, 0.3, torch.linspace(0.05, 1, 64)):
        torch.testing.assert_close(
            field.velocity(x, t), mixture.velocity(x, t), rtol=1e-9, atol=1e-9
        )


def test_the_gaussian_flow_is_langevin_dynamics_too():
    """grad log p - grad log q_t, each gradient taken by itself."""
    x = gaussian().start(16, Rng(0)).x.double()
    t = torch.tensor(0.4, dtype=torch.float64)
    mean, std = FLOW.law(t, x)
    expected = (MEAN - x) / STD.double().square() + (x - mean) / std.square()
    torch.testing.assert_close(gaussian().velocity(x, t), expected)


def test_exact_ratios_converge_for_monotone_h_alone():
    """A Gaussian generator moved by -h(d) with the exact d, held fixed while it moves.

    The data are those of section 4.3 of the paper: N(0, [[1, .8], [.8, .89]]); expectations are
    Gauss-Hermite sums, so that chance plays no part.
    """
    covariance = torch.tensor([[1.0, 0.8], [0.8, 0.89]], dtype=torch.float64)
    precision, count = covariance.inverse(), len(ALL)
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(12))
    z = torch.cartesian_prod(nodes, nodes)
    share = torch.cartesian_prod(weights, weights).prod(1) / weights.sum() ** 2
    mean = torch.ones(count, 2, dtype=torch.float64, requires_grad=True)
    factor = torch.eye(2, dtype=torch.float64).repeat(count, 1, 1).requires_grad_()
    # the first slopes of an exponential h are huge: a short memory forgets them
    optimiser = torch.optim.Adam([mean, factor], 1e-2, betas=(0.9, 0.95))
    for _ in range(1500):
        x = mean[:, None] + z @ factor.mT
        with torch.no_grad():
            u, own = x - mean[:, None], (factor @ factor.mT).inverse()
            squares = (x @ precision * x).sum(2) - (u @ own * u).sum(2)
            halves = torch.logdet(covariance) - 2 * factor.det().abs().log()
            d = -squares / 2 - halves[:, None] / 2
            slopes = torch.stack([DIVERGENCES[n].slope(d[i]) for i, n in enumerate(ALL)])
            v = slopes[..., None] * (u @ own - x @ precision)
        optimiser.zero_grad()
        (-((v * x).sum(2) @ share)).sum().backward()
        optimiser.step()
    with torch.no_grad():
        off = (factor @ factor.mT - covariance).flatten(1).norm(dim=1)
        for name, m, error in zip(ALL, mean, off, strict=True):
            if DIVERGENCES[name].monotone:
                assert float(m.norm()) < 0.02 and float(error) < 0.05, (name, m, error)
            else:
                assert float(error) > 1, (name, m, error)


def test_the_potential_is_what_the_velocity_climbs():
    field = MonoFlow(critic_network((3,), activation="silu"), "ns", rate=2.0)
    x = field.start(4, Rng(0)).x.double().requires_grad_()
    (climb,) = torch.autograd.grad(field.potential(x, 0.5).sum(), x)
    torch.testing.assert_close(field.velocity(x, 0.5), 2 * climb)


@pytest.mark.parametrize("activation", ["leaky", "silu"])
def test_velocity_composes_with_transforms(activation):
    """Under no_grad, vmap over rows and times, and jacrev; nothing is left to differentiate."""
    field = MonoFlow(critic_network((3,), activation=activation, timed=True), "vanilla")
    x, t = field.start(5, Rng(0)).x, torch.linspace(0, 1, 5, dtype=torch.float64)
    plain = field.velocity(x, t)
    with torch.no_grad():
        quiet = field.velocity(x, t)
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet, plain)

    def single(z, time):
        return field.velocity(z[None], time)[0]

    torch.testing.assert_close(torch.func.vmap(single)(x, t), plain)
    jacobian = torch.func.vmap(torch.func.jacrev(single))(x, t)
    torch.testing.assert_close(jacobian, jacobian.mT)  # a gradient field is curl-free
    if activation == "silu":
        value = divergence(field, x, t).value
        torch.testing.assert_close(value, jacobian.diagonal(dim1=1, dim2=2).sum(1))
    else:
        assert not sample(field, 3).x.requires_grad


def test_a_smooth_critics_likelihood_is_a_density():
    """On a line the density integrates to 1."""
    field = MonoFlow(critic_network((1,), activation="silu"), rate=4.0)
    x = torch.linspace(-12, 12, 2001)[:, None]
    density = log_prob(field, x).nats.exp()
    assert float(density.sum() * 24 / 2000) == pytest.approx(1, abs=1e-4)
    assert float((density - Normal().log_prob(x).exp()).abs().max()) > 0.01


def test_a_piecewise_linear_critic_has_no_likelihood():
    field = MonoFlow(critic_network((2,)))
    x = torch.zeros(3, 2)
    for call in (lambda: log_prob(field, x), lambda: divergence(field, x, 0.5)):
        with pytest.raises(TypeError, match=r"MonoFlow states no divergence.*piecewise-linear"):
            call()


def test_mobility_follows_the_noise():
    rate = Mobility(first=1.0, last=0.25, scale=8.0, floor=0.5)
    u = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert rate.sigma(u).tolist() == pytest.approx([1, 0.5, 0.25])
    assert rate(u).tolist() == pytest.approx([10, 4, 2.5])
    slow, fast = (MonoFlow(FLOW.ratio(), horizon=3.0, rate=r) for r in (1.0, rate))
    x = slow.start(3, Rng(0)).x
    torch.testing.assert_close(fast.velocity(x, 1.5), 4 * slow.velocity(x, 1.5))
    assert "Mobility(first=1.0, last=0.25, scale=8.0, floor=0.5)" in repr(fast)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"h": "naive-kl"}, "'naive-kl' falls in places"),
        ({"horizon": 0.0}, "got horizon 0.0; wanted a positive finite time"),
        ({"rate": -1.0}, "got rate -1.0"),
        ({"rate": math.inf}, "got rate inf"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        MonoFlow(critic_network((2,)), **options)


def test_a_critic_without_a_shape_needs_one():
    with pytest.raises(TypeError, match="Linear states no event_shape; pass it"):
        MonoFlow(torch.nn.Linear(2, 1))


def test_a_ratio_without_a_shape_needs_one():
    with pytest.raises(TypeError, match="neither law states an event_shape"):
        ExactRatio(Normal(), Normal())


@pytest.mark.parametrize(
    "options",
    [{"first": 0.0}, {"last": -1.0}, {"scale": math.inf}, {"floor": -0.1}],
)
def test_a_mobility_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="first, last and scale are positive"):
        Mobility(**options)


def test_a_gaussian_flow_of_two_shapes_is_refused():
    with pytest.raises(ValueError, match="wanted one shape"):
        GaussianFlow(torch.zeros(2), torch.ones(3))


def test_denoising_means_nothing_here():
    with pytest.raises(TypeError, match="MonoFlow states no E"):
        sample(gaussian(), 2, final="denoise")
    assert sample(gaussian(), 2).final == "none"
