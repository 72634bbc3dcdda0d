"""Corruptions of tokens against the exact posterior of a law on all strings of four letters."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from diffode import encode, log_prob, sample
from diffode.data.levels import Levels
from diffode.fields import (
    VP,
    Absorbing,
    Corrupting,
    Denoised,
    Empirical,
    Enumerated,
    Replacing,
)
from diffode.likelihood import elbo
from diffode.rng import Rng
from diffode.solvers import get_solver, grid
from tests.strings import LENGTH, LETTERS, chi2, law, strings

X, P = strings(), law()
H = -float((P * P.log()).sum())
CORRUPTIONS = [Absorbing(LETTERS, (LENGTH,)), Replacing(LETTERS, (LENGTH,))]
both = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=["masks", "uniform"])


def exact(corruption, joint=True):
    return Enumerated(X, P, corruption, joint)


def samples(field, steps, n=4000):
    return sample(field, n, steps=steps, seed=steps, batch=1000).x


@both
@pytest.mark.parametrize("steps", [1, 8])
def test_guesses_of_the_whole_sample_the_law_in_any_number_of_steps(corruption, steps):
    assert chi2(samples(exact(corruption), steps), P) > 0.01


@pytest.mark.slow
@both
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ten_thousand_samples_follow_the_law(corruption, seed):
    field = exact(corruption)
    assert chi2(sample(field, 10_000, steps=12, seed=seed, batch=2000).x, P) > 0.01


def test_a_posterior_of_another_schedule_samples_another_law():
    """Masks do not show the time, so that only replaced letters can tell."""

    class Slower(Enumerated):
        def weights(self, x, t):
            return super().weights(x, torch.as_tensor(t) ** 2)

    assert chi2(samples(Slower(X, P, CORRUPTIONS[1]), 8), P) < 1e-6


@both
def test_guesses_of_each_position_need_many_steps(corruption):
    field = exact(corruption, joint=False)
    assert chi2(samples(field, 1), P) < 1e-20
    assert chi2(samples(field, 48), P) > 0.01


def test_the_closed_sum_is_the_log_probability():
    found = elbo(exact(CORRUPTIONS[0]), X)
    assert found.closed and found.calls == 2**LENGTH - 1
    assert (found.nats - P.log()).abs().max() < 1e-12
    assert abs(-float(P @ found.nats) - H) < 1e-12


def test_k_steps_cost_a_multiple_of_one_over_k():
    field = exact(CORRUPTIONS[0])
    gaps = [-float(P @ elbo(field, X, steps=k).nats) - H for k in (32, 64, 128, 256)]
    for one, next_ in pairwise(gaps):
        assert one > 0 and abs(one / next_ - 2) < 2e-3


def test_one_step_knows_the_positions_alone():
    """Its bound is the sum of the entropies of the positions."""
    hot = torch.nn.functional.one_hot(X, LETTERS).double()
    alone = torch.einsum("m,mlv->lv", P, hot)
    found = -float(P @ elbo(exact(CORRUPTIONS[0]), X, steps=1).nats)
    assert abs(found + float(torch.xlogy(alone, alone).sum())) < 1e-12


@both
def test_the_mean_cost_of_the_exact_posterior_is_the_entropy(corruption):
    """Over all states x_t of two letters of three, and times by a quadrature."""
    x0, p = strings(2, 3), law(2, 3)
    corruption = type(corruption)(3, (2,))
    field = Enumerated(x0, p, corruption)
    states = strings(2, 3 if corruption.mask is None else 4)
    u, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(40))
    total = 0.0
    for t, weight in zip((u + 1) / 2, w / 2, strict=True):
        for x in states:
            each = x.expand(len(x0), -1)
            cost = corruption.cost(field.log_posterior(each, t), x0, each, t)
            total += float(weight * (p * probability(corruption, each, x0, t) * cost).sum())
    assert abs(total + float((p * p.log()).sum())) < 2e-3 * (corruption.mask is None) + 1e-10


def probability(corruption, x, x0, t):
    """p(x_t | x_0), shape (B,)."""
    keep = 1 - float(t)
    if corruption.mask is None:
        each = keep * (x == x0).double() + (1 - keep) / corruption.count
    else:
        shown = keep * (x == x0).double()
        each = torch.where(x == corruption.mask, 1 - keep, shown)
    return each.prod(1)


def test_drawn_corruptions_estimate_the_closed_sum():
    field, x = exact(CORRUPTIONS[0]), X[::32]
    wanted, found = elbo(field, x).nats, elbo(field, x, closed=False, draws=500)
    assert not found.closed and found.calls == 500
    assert ((found.nats - wanted).abs() < 4 * found.stderr).all()
    assert found.stderr.min() > 0.001


@both
def test_a_step_keeps_the_marginals(corruption):
    n, t, s = 20_000, 0.7, 0.3
    x0 = torch.tensor([[2, 0, 1, 3]]).expand(n, -1)
    x = corruption.corrupt(x0, t, Rng(1))
    found = corruption.step(x, x0, t, s, Rng(2))
    wanted = corruption.corrupt(x0, s, Rng(3))
    for v in range(LETTERS + 1):
        gap = (found == v).double().mean(0) - (wanted == v).double().mean(0)
        assert gap.abs().max() < 5 * math.sqrt(0.5 / n)


@both
def test_samples_do_not_depend_on_the_batch(corruption):
    field = exact(corruption, joint=False)
    whole = sample(field, 50, steps=6, seed=3)
    assert whole.x.dtype == torch.int64 and whole.nfe == 6
    assert torch.equal(whole.x, sample(field, 50, steps=6, seed=3, batch=7).x)
    assert torch.equal(whole.x[20:], sample(field, 30, steps=6, seed=3, first=20).x)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_an_affine_path_is_a_corruption_whose_steps_are_ddims(eta):
    points = torch.tensor([(0.0, 0.0), (3.0, 0.0), (0.0, 3.0)], dtype=torch.float64)
    field = Empirical(points, VP(), bandwidth=0.3)
    times = grid(field, 12, "logsnr")
    x = field.start(40, Rng(5)).x.double()
    wanted = get_solver("ddim", eta=eta)(field, x, times, rng=Rng(6)).x
    found = get_solver("revise")(Denoised(field, eta), x, times, rng=Rng(6)).x
    assert (found - wanted).abs().max() < 1e-12


def test_the_usual_solver_is_what_the_field_says():
    assert sample(exact(CORRUPTIONS[0]), 3).nfe == 35
    assert Corrupting.usual == "revise"


@pytest.mark.parametrize("solver", ["trig", "heun", "dopri5", "ddim", "euler", "ancestral"])
def test_what_needs_a_velocity_says_that_there_is_none(solver):
    field = exact(CORRUPTIONS[0])
    with pytest.raises(TypeError, match=f"{solver} needs a velocity, and Enumerated has none"):
        sample(field, 3, solver)


def test_other_questions_are_refused():
    field = exact(CORRUPTIONS[0])
    with pytest.raises(TypeError, match="to encode a point needs a velocity"):
        encode(field, X[:3])
    with pytest.raises(TypeError, match=r"a corruption; diffode\.likelihood\.elbo"):
        log_prob(field, X[:3])
    with pytest.raises(TypeError, match="needs a velocity"):
        field.velocity(X[:3], 0.5)
    with pytest.raises(TypeError, match="temperature 2 for a corruption"):
        sample(field, 3, temperature=2.0)
    with pytest.raises(TypeError, match="revise needs a Corrupting field"):
        sample(Empirical(torch.eye(2), VP()), 3, "revise")
    with pytest.raises(TypeError, match="the ELBO is for fields of tokens"):
        elbo(Empirical(torch.eye(2), VP()), torch.eye(2))
    with pytest.raises(ValueError, match="revise goes from t_prior to t_data alone"):
        get_solver("revise")(field, X[:3], torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="the finite sum is for masks on at most 16"):
        elbo(exact(CORRUPTIONS[1]), X, closed=True)
    with pytest.raises(ValueError, match="got steps=4; only the finite sum knows steps"):
        elbo(exact(CORRUPTIONS[1]), X, steps=4)
    with pytest.raises(ValueError, match="wanted 4 levels: 0 to 3, nothing between"):
        elbo(field, torch.full((2, LENGTH), 1.5))
    with pytest.raises(ValueError, match="not whole numbers from 0 to 4"):
        field.as_state(torch.full((2, LENGTH), 7))
    with pytest.raises(ValueError, match="3 probabilities for 256 samples"):
        Enumerated(X, P[:3], CORRUPTIONS[0])


def test_levels_and_bins_come_back():
    levels = Levels.between(17, -1, 1)
    k = torch.arange(17)
    assert torch.equal(levels.tokens(levels.values(k)), k)
    bins = Levels.between(8, -2, 2, bins=True)
    x = torch.linspace(-2, 2, 101)
    assert ((bins.values(bins.tokens(x)) - x).abs() <= 0.25 + 1e-6).all()
    assert bins.tokens(torch.tensor([-9.0, 2.5])).tolist() == [0, 7]  # the ends are open
    with pytest.raises(ValueError, match="got the value nan"):
        bins.tokens(torch.tensor([0.0, math.nan]))
    with pytest.raises(ValueError, match=r"got the value 0\.1; wanted 17 levels: -1 to 1"):
        levels.tokens(torch.tensor([0.0, 0.1]))
    assert Levels(4).values(k[:4]).dtype == torch.int64


def test_fresh_noise_is_refused_where_noise_and_data_are_coupled():
    field = Empirical(torch.randn(3, 2), VP(), bandwidth=0.3)
    field.coupled = True
    Denoised(field)
    with pytest.raises(TypeError, match="coupled pairs"):
        Denoised(field, eta=1.0)
