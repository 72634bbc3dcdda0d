"""A generator that follows the particles: one step of its weights, and several."""

import copy

import pytest
import torch
from torch import nn

from diffode import Rng
from diffode.fields.generated import Generated
from diffode.nn import critic_network, generator_network
from diffode.training.adversarial import AlternatingGAN, GeneratorRegression

EPSILON = 0.1
CHOICES = ("logit", "ns", "vanilla", "shifted", "arcsinh", "lsgan")


class Table(nn.Module):
    """A generator that can follow anything: the first latent counts the rows of a table."""

    def __init__(self, rows):
        super().__init__()
        self.event_shape, self.latent = (2,), 2
        self.rows = nn.Parameter(rows)

    def forward(self, z, y=None):
        return self.rows[z[:, 0].long()]


def latents(n=32):
    return Rng(0).normal("z", (n, 2), torch.float64)


def numbered(n=32):
    return torch.arange(n, dtype=torch.float64)[:, None].expand(n, 2)


def game(kind, generator, h="logit", **options):
    """An objective in float64 with a critic of its own."""
    critic = critic_network((2,), width=32, depth=2, activation="silu", seed=3)
    return kind(Generated(generator), critic, h, **options).double()


def network():
    return generator_network((2,), 2, width=32, depth=2)


def gradient(objective, z):
    params = list(objective.generated.generator.parameters())
    found = torch.autograd.grad(objective.generator_loss(z, None, Rng(0)), params)
    return torch.cat([g.flatten() for g in found])


def descend(objective, z, steps, rate):
    params = list(objective.generated.generator.parameters())
    optimiser = torch.optim.SGD(params, lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        objective.generator_loss(z, None, Rng(0)).backward()
        optimiser.step()


def carried(before, after, v):
    """The length of a displacement over that of epsilon v, and the cosine of their angle."""
    went, wanted = (part.detach().flatten() for part in (after - before, EPSILON * v))
    return float(went.norm() / wanted.norm()), float(torch.cosine_similarity(went, wanted, dim=0))


@pytest.mark.parametrize("h", CHOICES)
def test_one_step_of_the_regression_is_one_of_the_usual_loss(h):
    z = latents()
    regression = game(GeneratorRegression, network(), h, epsilon=EPSILON)
    usual = gradient(game(AlternatingGAN, network(), h), z)
    assert float(usual.norm()) > 1e-3
    gap = gradient(regression, z) - 2 * EPSILON * usual
    assert float(gap.norm() / (2 * EPSILON * usual).norm()) < 1e-12


@pytest.mark.parametrize("kind", ["table", "network"])
def test_several_steps_of_the_usual_loss_run_away_from_the_velocity(kind):
    """Twenty steps, the first of which is the same for both losses."""
    z, rate = (numbered(), 8.0) if kind == "table" else (latents(), 0.2)
    make = network if kind == "network" else lambda: Table(latents())
    regression = game(GeneratorRegression, make(), epsilon=EPSILON)
    usual = game(AlternatingGAN, make())
    before = usual.generated.make(z)
    v = regression.velocity(before, None)
    descend(regression, z, 20, rate)
    descend(usual, z, 20, 2 * EPSILON * rate)
    ratio, cosine = carried(before, regression.generated.make(z), v)
    assert 0.95 < ratio < 1.05 and cosine > 0.99
    assert carried(before, usual.generated.make(z), v)[0] > 3


@pytest.mark.parametrize("h", CHOICES)
def test_a_free_generator_is_displaced_by_the_velocity(h):
    """A table of rows ends its regression exactly at epsilon v = epsilon h'(d) grad d."""
    z = numbered()
    objective = game(GeneratorRegression, Table(latents()), h, epsilon=EPSILON)
    before = objective.generated.make(z).detach()
    descend(objective, z, 1, len(z) / 2)
    after = objective.generated.make(z)
    climbed = before.clone().requires_grad_()
    potential = objective.h.h(objective.critic(climbed, 0.0, None)).sum()
    (v,) = torch.autograd.grad(potential, climbed)
    torch.testing.assert_close(after - before, EPSILON * v, rtol=1e-11, atol=1e-13)
    assert carried(before, after, v) == pytest.approx((1, 1), abs=1e-12)


def test_what_the_filter_does_to_the_velocity():
    """With the gain kappa it lies on the line from the average's ascent to the critic's."""
    x = latents()
    by_gain = {}
    for kappa in (0.0, 0.5, 1.0, 2.0):
        objective = game(GeneratorRegression, network(), kappa=kappa)
        objective.slow.load_state_dict(
            critic_network((2,), width=32, depth=2, activation="silu", seed=4).state_dict()
        )
        by_gain[kappa] = objective.velocity(x, None)
    objective.critic = copy.deepcopy(objective.slow)
    torch.testing.assert_close(by_gain[0.0], objective.velocity(x, None))
    between = (by_gain[0.0] + by_gain[1.0]) / 2
    torch.testing.assert_close(by_gain[0.5], between)
    torch.testing.assert_close(by_gain[1.0], (by_gain[0.0] + by_gain[2.0]) / 2)
    assert float((by_gain[0.0] - by_gain[1.0]).detach().norm()) > 1e-3


def test_a_field_moves_points_of_one_shape():
    with pytest.raises(ValueError, match="got latents of 3 numbers for samples of 2; a field"):
        Generated(generator_network((2,), 3, width=8))
    with pytest.raises(TypeError, match="Linear states no event_shape"):
        Generated(nn.Linear(2, 2))
