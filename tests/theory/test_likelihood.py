"""Likelihoods of exact fields equal their densities; gradients equal their scores."""

import itertools
import math

import pytest
import torch

from diffode.fields import (
    VE,
    VP,
    Cosine,
    DiscreteBetas,
    Empirical,
    Field,
    Karras,
    Mixture,
    PoissonField,
    Rectified,
    SubVP,
)
from diffode.likelihood.density import log_prob
from diffode.likelihood.dequantisation import law_at_prior
from diffode.likelihood.transport import Transport
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver, names
from tests.quick import quick

TIGHT = {"solver": "dopri8", "rtol": 3e-7, "atol": 3e-7}
SCHEDULES = [
    VP(),
    SubVP(),
    VE(),
    Karras(),
    Rectified(),
    Cosine(),
    DiscreteBetas(torch.linspace(1e-4, 0.02, 1000)),
]
NOISES = [Normal(), StudentT(1.0), StudentT(4.0), StudentT(64.0)]


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def draws(*shape, seed=0):
    return Rng(seed).normal("test", shape, torch.float64)


def mixture(schedule=None, noise=None):
    means, stds = tensor([1.0, 2.0], [-2.0, 0.5]), tensor([0.7, 0.4], [0.3, 1.1])
    return Mixture(tensor(0.6, 0.4), means, stds, schedule or VP(), noise)


def wide(dim, count=4, schedule=None):
    means = draws(count, dim)
    stds = 0.3 + 0.5 * Rng(1).uniform("stds", (count, dim))
    return Mixture(torch.ones(count), means, stds, schedule or VP())


def points(field, n):
    """Draws of the law at t_data."""
    return field.corrupt(field.sample(n, Rng(0)).double(), field.span[1], Rng(1))[0]


# ---------------------------------------------------------------------------------- exact fields


GRID = [(schedule, noise) for schedule in SCHEDULES for noise in NOISES]


@pytest.mark.parametrize(
    ("schedule", "noise"),
    quick(GRID, 0, 18, 24),  # VP, Rectified (its rho is infinite) and discrete betas
    ids=[f"{type(schedule).__name__}-{noise}" for schedule, noise in GRID],
)
def test_a_likelihood_is_the_density(schedule, noise):
    """With the true law at t_prior; with the prior it differs by the prior's mismatch alone."""
    field, (first, last) = mixture(schedule, noise), schedule.span
    x = points(field, 3)
    truth = field.log_marginal(x, last)
    exact = log_prob(field, x, terminal=lambda z: field.log_marginal(z, first), **TIGHT)
    torch.testing.assert_close(exact.nats, truth, rtol=0, atol=1e-6)
    mismatch = field.log_marginal(exact.latent, first) - field.prior.log_prob(exact.latent)
    with_prior = log_prob(field, x, **TIGHT)
    torch.testing.assert_close(truth - with_prior.nats, mismatch, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("dof", "log_density"),
    quick([(1, -4.861661507), (4, -11.845921189), (64, -176.009850058)], 0),
)
def test_poisson_flow_of_four_charges(dof, log_density):
    """Values computed apart, by another program, from r = 0.05 to 30."""
    charges, weights = tensor([0, 0], [3, 0], [0, 3], [-4, -4]), tensor(0.5, 0.25, 0.15, 0.1)
    schedule = Karras(0.05 / math.sqrt(dof), 30 / math.sqrt(dof))
    law = Empirical(charges, schedule, StudentT(dof), weights=weights)
    result = log_prob(
        PoissonField(law),
        tensor([0.7, -0.4]),
        terminal=lambda z: law.log_marginal(z, law.span[0]),
        **TIGHT | {"rtol": 1e-9, "atol": 1e-9},
    )
    assert abs(float(result.nats) - log_density) < 1e-8


def test_a_poisson_flow_has_the_density_of_its_hemisphere():
    """log p of the plane's prior: the share of the hemisphere's area, seen from the origin."""
    x, z = tensor([3.0, -4.0, 12.0], [0.0, 0.0, 1.0]), 2.5
    field = PoissonField(Empirical(torch.zeros(1, 3).double(), Karras(1e-3, z), StudentT(1.0)))
    square = x.square().sum(1) + z**2
    half_sphere = math.pi**2  # the area of half the unit sphere of R^4
    share = torch.log(z / square.sqrt() / square.pow(1.5) / half_sphere)
    torch.testing.assert_close(field.prior.log_prob(x), share)


def test_any_event_shape():
    flat = wide(4)
    stds = flat.variances.sqrt().view(4, 1, 2, 2)
    images = Mixture(torch.ones(4), flat.means.view(4, 1, 2, 2), stds, VP())
    x = points(flat, 3)
    for trace in ("exact", "hutchinson"):
        one, other = (
            log_prob(f, x.view(3, *f.event_shape), trace, probes=3) for f in (flat, images)
        )
        torch.testing.assert_close(one.nats, other.nats)
        assert other.latent.shape == (3, 1, 2, 2)


def test_labels_give_the_density_of_their_class():
    law, labels = draws(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])
    both, alone = (
        Empirical(law[rows], VP(), labels=labels[rows], bandwidth=0.3)
        for rows in (slice(None), slice(3, None))
    )
    x = points(alone, 3)
    y = torch.ones(3, dtype=torch.long)
    known = law_at_prior(both, law, labels, y)
    result = log_prob(both, x, y=y, terminal=lambda z: alone.log_marginal(z, 1.0), rtol=1e-8)
    torch.testing.assert_close(result.nats, alone.log_marginal(x, 1e-3), rtol=0, atol=1e-5)
    latent = result.latent
    near = Empirical(law[3:], VP()).log_marginal(latent, 1.0)
    torch.testing.assert_close(known(latent), near)


class Spiral(Field):
    """Rotation and contraction, x' = A x, from time 0 to 2: everything in closed form."""

    span, event_shape, prior = (0.0, 2.0), (2,), Normal(scale=1.5, loc=tensor(1.0, 0.0))
    matrix = tensor([-0.5, 1.0], [-2.0, -0.2])

    def velocity(self, x, t, y=None):
        return x @ self.matrix.to(x).mT

    def log_density(self, x):
        start = x @ torch.linalg.matrix_exp(-2 * self.matrix).mT
        return self.prior.log_prob(start) - 2 * self.matrix.trace()


def test_a_field_without_a_schedule():
    field, x = Spiral(), draws(4, 2)
    start, truth = x @ torch.linalg.matrix_exp(-2 * field.matrix).mT, field.log_density(x)
    for trace in ("exact", "hutchinson", "hutch++"):
        result = log_prob(field, x, trace, probes=3, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(result.latent, start)
        if trace != "hutchinson":
            torch.testing.assert_close(result.nats, truth, rtol=0, atol=1e-7)


# ----------------------------------------------------------------------------- solvers and batches


def plain_solvers():
    """The names of the solvers that move plain fields and add no noise."""
    transport = Transport(mixture(), None)
    for name in names():
        solver = get_solver(name)
        try:
            solver.check(transport)
        except TypeError:
            continue
        if not solver.normal_only:
            yield name


def test_every_solver_of_plain_fields_gives_the_density():
    field, x, used = Spiral(), draws(3, 2), list(plain_solvers())
    truth = field.log_density(x)
    assert {"heun", "dopri5", "rk4", "explicit_adams", "scipy_solver"} <= set(used)
    for name in used:
        adaptive = get_solver(name).adaptive
        settings = {"rtol": 1e-4, "atol": 1e-4} if adaptive else {"steps": 40}
        result = log_prob(field, x, solver=name, **settings)
        error = float((result.nats - truth).abs().max())
        assert error < (1.0 if name == "euler" else 0.01), name
        assert result.status.tolist() == [0, 0, 0]


def test_the_clock_changes_the_work_and_not_the_density():
    field, x = mixture(Karras(0.1, 10.0)), draws(3, 2)
    settings = {"solver": "dopri8", "rtol": 1e-4}
    results = [log_prob(field, x, clock=c, **settings) for c in ("theta", "logsnr")]
    for result in results[1:]:
        torch.testing.assert_close(result.nats, results[0].nats, rtol=0, atol=1e-3)
        assert result.nfe > results[0].nfe
    own = get_solver("dopri8", rtol=1e-4, clock="logsnr")
    assert log_prob(field, x, solver=own).nfe == results[1].nfe
    assert log_prob(field, x, **settings).nfe == results[0].nfe


@pytest.mark.parametrize("trace", ["exact", "hutchinson", "hutch++"])
def test_batches_and_seeds(trace):
    field, seen = wide(12), []
    x = points(field, 5)
    whole = log_prob(field, x, trace, seed=3, probes=10)
    parts = log_prob(field, x, trace, seed=3, probes=10, batch=2, progress=seen.append)
    assert seen == [2, 4, 5]
    for name in ("nats", "prior", "divergence", "stderr", "latent"):
        one, other = getattr(whole, name), getattr(parts, name)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    assert bool(whole.stderr.isfinite().all())
    torch.testing.assert_close(whole.nats, whole.prior + whole.divergence)
    other = log_prob(field, x, trace, seed=4, probes=10)
    assert torch.equal(other.nats, whole.nats) == (trace == "exact")


def test_points_of_float32_are_integrated_in_float64():
    field, x = wide(3), draws(4, 3).float()
    single, double = (log_prob(field, z, rtol=1e-4) for z in (x, x.double()))
    assert single.nats.dtype == torch.float64 and single.latent.dtype == torch.float32
    torch.testing.assert_close(single.nats, double.nats, rtol=0, atol=1e-12)


# -------------------------------------------------------------------------------------- estimates


@pytest.mark.parametrize("dim", quick([24, 40]))
def test_hutchinsons_stated_error_covers_the_truth(dim):
    """In 1,000 trials: 10 points with 100 sets of probes each."""
    field = wide(dim)
    x = points(field, 10)
    truth = log_prob(field, x, rtol=1e-5, atol=1e-5).nats.repeat(100)
    result = log_prob(field, x.repeat(100, 1), "hutchinson", rtol=1e-4, atol=1e-4)
    error = result.nats - truth
    assert 0.92 <= float((error.abs() <= 1.96 * result.stderr).double().mean()) <= 0.98
    assert abs(float(error.mean())) < 5 * float(error.std()) / math.sqrt(1000)


@pytest.mark.parametrize("trace", ["hutchinson", "hutch++"])
@pytest.mark.parametrize(
    ("coupled", "dim"), quick(itertools.product([False, True], [2, 5, 16]), 0, 4)
)
def test_a_few_probes_state_an_error_that_holds_or_none(coupled, dim, trace):
    """Two coordinates coupled and no others: signs give two values, which are often all equal."""
    means = torch.zeros(2, dim, dtype=torch.float64)
    means[0, :2], means[1, :2] = -1.5, 1.5
    pair = Mixture(torch.ones(2), means, torch.full((2,), 0.5), VP())
    field = pair if coupled else wide(dim)
    x = points(field, 40)
    truth = log_prob(field, x, rtol=1e-6, atol=1e-6).nats
    for count in (2, 4, 8, 12):
        result = log_prob(field, x, trace, probes=count, seed=3, rtol=1e-6, atol=1e-6)
        if count >= dim:
            assert bool((result.stderr == 0).all())
            torch.testing.assert_close(result.nats, truth, rtol=0, atol=1e-10)
        elif count < 10:
            assert bool(result.stderr.isinf().all())
        else:
            inside = (result.nats - truth).abs() <= 1.96 * result.stderr + 1e-4  # tolerance
            assert float(inside.double().mean()) > 0.8


def test_hutch_plus_plus_finds_the_range_of_the_whole_way():
    """Components that differ in their means alone: their posteriors span few directions."""
    field = Mixture(torch.ones(4), draws(4, 40), torch.full((4,), 0.4), VP())
    x = points(field, 20)
    truth = field.log_marginal(x, 1e-3)
    errors = {}
    for trace, probes in (("hutchinson", 20), ("hutch++", 10)):  # 20 products an evaluation
        result = log_prob(field, x, trace, probes=probes, rtol=1e-5, atol=1e-5)
        errors[trace] = float((result.nats - truth).square().mean().sqrt())
    assert errors["hutch++"] < errors["hutchinson"] / 10


def test_the_stated_error_of_one_probe_and_of_none():
    field, x = Spiral(), draws(2, 2)
    assert log_prob(field, x).stderr.tolist() == [0, 0]
    assert log_prob(field, x, "hutchinson", probes=1).stderr.tolist() == [math.inf, math.inf]
