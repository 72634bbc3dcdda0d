"""Posterior means of known laws: scores by autograd, brute-force quadrature, limits, towers."""

import pytest
import torch
from scipy import stats
from torch.autograd.functional import jacobian

from diffode.fields import (
    VE,
    VP,
    Cosine,
    DiscreteBetas,
    Empirical,
    Karras,
    Mixture,
    Rectified,
    SubVP,
)
from diffode.priors import Normal, StudentT
from diffode.rng import Rng

SCHEDULES = [VP(), SubVP(), VE(), Karras(), Rectified(), Cosine(), DiscreteBetas([0.1, 0.2, 0.6])]
NOISES = [Normal(), StudentT(1.0), StudentT(7.0)]
SIGMA = Karras(1e-6, 1e6)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


W = tensor(0.5, 0.2, 0.3)
MEANS = tensor([1.0, 2.0], [-2.0, 0.5], [0.0, -1.5])
ROOT = tensor([[1.0, 0.0], [0.6, 0.3]], [[0.4, 0.0], [-0.3, 0.5]], [[0.2, 0.0], [0.9, 1.0]])
STDS = {
    "isotropic": tensor(0.7, 0.3, 1.1),
    "diagonal": tensor([0.7, 0.2], [0.3, 1.0], [1.1, 0.5]),
    "full": ROOT @ ROOT.mT,
}
X = tensor([0.4, -0.3], [2.0, 2.0], [-3.0, 1.0], [0.0, 9.0])


def covariances(kind):
    """The covariance matrices that a kind of standard deviations states."""
    stds = STDS[kind]
    if kind == "full":
        return stds
    return torch.diag_embed((stds[:, None].expand(3, 2) if kind == "isotropic" else stds) ** 2)


def mixture(kind="full", schedule=SIGMA, noise=None):
    return Mixture(W, MEANS, STDS[kind], schedule, noise)


def normal_mixture(means, covariance, x):
    """Scipy's density of a mixture of normal laws, at x."""
    laws = map(stats.multivariate_normal, means.numpy(), covariance.numpy())
    return sum(w * torch.from_numpy(law.pdf(x.numpy())) for w, law in zip(W, laws, strict=True))


def line(kind, noise=None, schedule=SIGMA):
    """A one-dimensional law, where integrals are sums."""
    if kind == "mixture":
        return Mixture(W, MEANS[:, :1], STDS["isotropic"], schedule, noise)
    return Empirical(MEANS[:, :1], schedule, noise, weights=W)


def quadrature(count=1001):
    """Nodes on the line, shape (count, 1), and weights: the trapezoid rule in x = sinh(u)."""
    u = torch.linspace(-25, 25, count, dtype=torch.float64)
    return u.sinh()[:, None], u.cosh() * (50 / (count - 1))


# ------------------------------------------------------------------------- densities and scores


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("kind", ["mixture", "points"])
@pytest.mark.parametrize("t", [0.4, 3.0])
def test_densities_integrate_to_one(kind, noise, t):
    x, w = quadrature(2001)
    total = w @ line(kind, noise).log_marginal(x, t).exp()
    assert float(total) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_a_mixture_has_scipys_density(schedule):
    t = sum(schedule.span) * tensor(0.3)[0]
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    for kind in STDS:
        c = alpha**2 * covariances(kind) + sigma**2 * torch.eye(2)
        expected = normal_mixture(alpha * MEANS, c, X).log()
        torch.testing.assert_close(mixture(kind, schedule).log_marginal(X, t), expected)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("kind", [*STDS, "points"])
def test_score_is_the_gradient_of_the_log_density(kind, schedule):
    field = Empirical(MEANS, schedule, weights=W) if kind == "points" else mixture(kind, schedule)
    t = sum(schedule.span) * tensor(0.3)[0]
    gradient = jacobian(lambda x: field.log_marginal(x, t).sum(), X)
    torch.testing.assert_close(field.score(X, t), gradient, rtol=1e-10, atol=1e-10)


# ------------------------------------------------------------------------------ posterior means


@pytest.mark.parametrize("dof", [1.0, 3.5, 128.0])
@pytest.mark.parametrize("kind", STDS)
def test_student_t_posteriors_by_brute_force(kind, dof):
    """E[x_0 | x] as a quotient of sums of scipy's densities over a grid of x_0."""
    axis = torch.linspace(-9, 9, 241, dtype=torch.float64)
    y = torch.cartesian_prod(axis, axis)
    alpha, sigma, x = 0.8, 0.6, X[:2]
    prior = normal_mixture(MEANS, covariances(kind), y)
    field = mixture(kind, Cosine(), StudentT(dof))
    t = float(Cosine().time(tensor(sigma / alpha)))
    for point, x0, n, log_p in zip(
        x, *field.posterior(x, t), field.log_marginal(x, t), strict=True
    ):
        offset = (point - alpha * y) / sigma
        joint = prior * torch.from_numpy(stats.multivariate_t([0, 0], df=dof).pdf(offset.numpy()))
        torch.testing.assert_close(x0, joint @ y / joint.sum(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(n, joint @ offset / joint.sum(), rtol=1e-6, atol=1e-6)
        density = joint.sum() * (18 / 240) ** 2 / sigma**2
        torch.testing.assert_close(log_p, density.log(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("kind", [*STDS, "points"])
def test_the_two_means_make_up_the_state(kind, schedule, noise):
    """alpha E[x_0|x] + sigma E[n|x] = x on the whole span, alpha = 0 included."""
    field = (
        Empirical(MEANS, schedule, noise, weights=W)
        if kind == "points"
        else mixture(kind, schedule, noise)
    )
    first, last = schedule.span
    for t in torch.linspace(first, last, 4, dtype=torch.float64):
        x0, n = field.posterior(X, t)
        whole = schedule.alpha(t) * x0 + schedule.sigma(t) * n
        torch.testing.assert_close(whole, X, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("kind", [*STDS, "points"])
def test_pure_noise_says_nothing_of_the_data(kind, noise):
    """Where alpha = 0 the estimate is the mean, and the velocity is finite."""
    field = (
        Empirical(MEANS, Rectified(), noise, weights=W)
        if kind == "points"
        else mixture(kind, Rectified(), noise)
    )
    x0, n = field.posterior(X, 1.0)
    torch.testing.assert_close(x0, (W @ MEANS).expand(4, 2), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(n, X, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(field.velocity(X, 1.0), n - x0, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("noise", NOISES, ids=repr)
@pytest.mark.parametrize("kind", ["mixture", "points"])
def test_the_mean_of_the_posterior_mean_is_the_mean(kind, noise):
    field, (x, w) = line(kind, noise), quadrature()
    average = (w * field.log_marginal(x, 1.3).exp()) @ field.denoise(x, 1.3).squeeze(1)
    assert float(average) == pytest.approx(float(W @ MEANS[:, 0]), abs=1e-6)


@pytest.mark.parametrize(
    ("noise", "extra"),
    [(Normal(), (2.0**2 - 0.9**2) ** 0.5), (StudentT(1.0), 2.0 - 0.9)],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["mixture", "points"])
def test_means_at_two_levels_are_a_tower(kind, noise, extra):
    """E[x_0|x_t] = E[E[x_0|x_s]|x_t]: variances add for normal noise, widths for Cauchy noise."""
    field, kernel, (v, w) = line(kind, noise), noise.at(extra), quadrature()
    log_p, x0 = field.log_marginal(v, 0.9), field.denoise(v, 0.9).squeeze(1)
    for x in tensor([[-2.0]], [[0.1]], [[4.0]]):
        joint = w * (log_p + kernel.log_prob(x - v)).exp()
        torch.testing.assert_close(joint.sum().log(), field.log_marginal(x, 2.0)[0])
        torch.testing.assert_close(joint @ x0 / joint.sum(), field.denoise(x, 2.0)[0, 0])


# ----------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("noise", [*NOISES, StudentT(1e4)], ids=repr)
@pytest.mark.parametrize("dim", [1, 2, 64])
def test_a_narrow_mixture_is_the_data_set(dim, noise):
    means = Rng(1).normal("m", (3, dim), torch.float64)
    x = (
        means[[0, 0, 1, 2]]
        + tensor([0.1], [3.0], [0.7], [30.0]) * Rng(2).normal("x", (4, dim)) / 8
    )
    points = Empirical(means, SIGMA, noise, weights=W)
    narrow = Mixture(W, means, torch.full((3,), 1e-7, dtype=torch.float64), SIGMA, noise)
    for t in (0.1, 1.0, 10.0):
        torch.testing.assert_close(
            narrow.log_marginal(x, t), points.log_marginal(x, t), rtol=1e-9, atol=1e-7
        )
        for a, b in zip(narrow.posterior(x, t), points.posterior(x, t), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_bandwidth_is_an_isotropic_mixture(schedule):
    field = Empirical(MEANS, schedule, weights=W, bandwidth=0.4)
    same = Mixture(W, MEANS, torch.full((3,), 0.4, dtype=torch.float64), schedule)
    first, last = schedule.span
    t = first + (last - first) * tensor(0.0, 0.3, 0.8, 1.0)
    torch.testing.assert_close(field.log_marginal(X, t), same.log_marginal(X, t))
    for a, b in zip(field.posterior(X, t), same.posterior(X, t), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert field.moments[1] == pytest.approx(same.moments[1], rel=1e-12)


@pytest.mark.parametrize("kind", STDS)
def test_covariances_state_what_standard_deviations_do(kind):
    noise = StudentT(2.0)
    field, full = mixture(kind, VP(), noise), Mixture(W, MEANS, covariances(kind), VP(), noise)
    for a, b in zip(field.posterior(X, 0.4), full.posterior(X, 0.4), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", STDS)
def test_moments_and_draws_are_those_of_the_law(kind):
    field = mixture(kind)
    mean, std = field.moments
    covariance = covariances(kind) + torch.einsum("ki,kj->kij", MEANS - W @ MEANS, MEANS)
    total = torch.einsum("k,kij->ij", W, covariance)
    torch.testing.assert_close(mean, W @ MEANS)
    assert std == pytest.approx(float((total.trace() / 2).sqrt()), rel=1e-12)
    x = field.sample(20_000, Rng(3))
    assert (x.mean(0) - mean).abs().max() < 4 * std / 20_000**0.5 * 2
    torch.testing.assert_close(x.T.cov(), total, rtol=0.05, atol=0.05)


# ----------------------------------------------------------------------------------------- errors


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"got stds of shape \(2,\) for means .*covariances \(3, 2"
    ):
        Mixture(W, MEANS, torch.ones(2), VP())
    with pytest.raises(ValueError, match="negative eigenvalue"):
        Mixture(W, MEANS, torch.eye(2).diag_embed()[:1, :, 0].expand(3, 2, 2) - 2, VP())
    with pytest.raises(ValueError, match="wanted 3 non-negative numbers"):
        Mixture(W[:2], MEANS, STDS["full"], VP())
    with pytest.raises(ValueError, match="built without labels"):
        mixture().posterior(X, 1.0, torch.zeros(4, dtype=torch.long))
