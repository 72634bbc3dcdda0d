"""Student-t noise on mixtures: the integral over its scale, blocks, transforms, draws of x_t."""

import math

import pytest
import torch
from scipy import stats

from diffode.fields import VP, Karras, Mixture, PoissonField, Rectified
from diffode.priors import Normal, StudentT
from diffode.rng import Rng

SIGMA = Karras(1e-6, 1e6)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


W = tensor(0.5, 0.2, 0.3)


def law(dim, dof, schedule=SIGMA):
    """Three components of unequal widths, the first one nearly a point."""
    means = 2 * Rng(1).normal("m", (3, dim), torch.float64)
    stds = Rng(1).uniform("s", (3, dim)) + 0.05
    stds[0] /= 100
    return Mixture(W, means, stds, schedule, StudentT(dof)), means, stds


def points(means, sigma):
    """At a mean, near, between, and up to 10,000 away."""
    away = Rng(2).normal("d", (7, means.shape[1]), torch.float64)
    away = away / away.norm(dim=1, keepdim=True)
    reach = tensor(0, 0.3, 2, 6, 20, 100, 1e4)[:, None]
    start = means[[0, 1, 0, 1, 2, 0, 1]]
    return torch.cat((start + reach * away, means[2:] + sigma * away[:1]))


def by_chi(x, means, stds, sigma, dof):
    """log p, E[x_0|x] and E[n|x] by sums over a fine grid in v = log chi_D.

    Given chi the noise is normal with variance D sigma^2 / chi^2 in each coordinate.
    """
    dim, spread = x.shape[1], math.log1p(float(x.abs().max()) * math.sqrt(x.shape[1]) / sigma)
    center, width = math.log(dof + dim) / 2, 1 / math.sqrt(2 * (dof + dim))
    low = min(math.log(dof) / 2, center) - spread - 40 / (dof + dim) - 9 / math.sqrt(dof) - 3
    v = torch.arange(low, center + 9 * width + 1, 0.1 * min(width, 0.3), dtype=torch.float64)
    u = v - math.log(dof) / 2
    log_chi = dof * (u - torch.expm1(2 * u) / 2)
    prior = torch.arange(-60 / dof - 3, 4, 0.1 * width, dtype=torch.float64)
    mass = torch.logsumexp(dof * (prior - torch.expm1(2 * prior) / 2), 0) + math.log(0.1 * width)
    log_chi = log_chi - mass + math.log(float(v[1] - v[0]))
    noise = dof * sigma**2 * torch.exp(-2 * v)[:, None]
    rows = []
    for point in x:
        logs, data, push = [], [], []
        for w, m, s in zip(W, means, stds, strict=True):
            c, var = point - m, s**2 + noise
            logs.append(w.log() + log_chi - (c**2 / var + (2 * math.pi * var).log()).sum(1) / 2)
            data.append(m + s**2 / var * c)
            push.append(noise / var * c / sigma)
        logs = torch.cat(logs)
        p = torch.softmax(logs, 0)
        rows.append((torch.logsumexp(logs, 0), p @ torch.cat(data), p @ torch.cat(push)))
    return [torch.stack(v) for v in zip(*rows, strict=True)]


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 80.0])
@pytest.mark.parametrize(
    ("dim", "dof"), [(1, 0.5), (2, 1.0), (1, 2.0), (2, 4.0), (2, 128.0), (16, 1.0), (64, 30.0)]
)
def test_integral_over_the_scale(dim, dof, sigma):
    """To 1e-12, at points where one scale, another, or both explain x."""
    field, means, stds = law(dim, dof)
    x = points(means, sigma)
    log_p, x0, n = by_chi(x, means, stds, sigma, dof)
    torch.testing.assert_close(field.log_marginal(x, sigma), log_p, rtol=1e-12, atol=1e-12)
    mean, noise = field.posterior(x, sigma)
    assert ((mean - x0).norm(dim=1) / x0.norm(dim=1)).max() < 1e-12
    assert ((noise - n).norm(dim=1) / n.norm(dim=1).clamp_min(1e-3)).max() < 1e-12


def test_many_degrees_of_freedom():
    """D = 3,000 in 8 dimensions, where logarithms are steep."""
    field, means, stds = law(8, 3000.0)
    x = points(means, 1.0)[:6]
    log_p, x0, _ = by_chi(x, means, stds, 1.0, 3000.0)
    torch.testing.assert_close(field.log_marginal(x, 1.0), log_p, rtol=1e-12, atol=1e-12)
    assert ((field.denoise(x, 1.0) - x0).norm(dim=1) / x0.norm(dim=1)).max() < 1e-11


def test_a_point_does_not_change_with_its_neighbours():
    """Nodes are placed for a batch; rows of other levels and far away add nodes only."""
    field, means, _ = law(3, 1.0, VP())
    x = points(means, 0.3)
    t = torch.linspace(0.02, 1, len(x), dtype=torch.float64)
    whole = *field.posterior(x, t), field.log_marginal(x, t)
    for i in range(len(x)):
        alone = *field.posterior(x[i : i + 1], t[i]), field.log_marginal(x[i : i + 1], t[i])
        for a, b in zip(whole, alone, strict=True):
            torch.testing.assert_close(a[i], b[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise", [Normal(), StudentT(2.0)], ids=repr)
@pytest.mark.parametrize("kind", ["isotropic", "full"])
def test_blocks_of_rows_and_nodes(kind, noise, monkeypatch):
    means = Rng(1).normal("m", (3, 5), torch.float64)
    root = Rng(1).normal("r", (3, 5, 5), torch.float64)
    field = Mixture(
        W, means, tensor(0.7, 0.3, 1.1) if kind == "isotropic" else root @ root.mT, VP(), noise
    )
    x = 3 * Rng(3).normal("x", (7, 5), torch.float64)
    whole = *field.posterior(x, 0.4), field.log_marginal(x, 0.4)
    monkeypatch.setattr("diffode.fields.mixture._MEMORY", 24 * 3 * 5 * 4)
    for a, b in zip((*field.posterior(x, 0.4), field.log_marginal(x, 0.4)), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_bad_rows_spoil_no_others():
    field, means, _ = law(2, 1.0)
    x = points(means, 0.3)
    spoilt = x.clone()
    spoilt[1], spoilt[4] = math.nan, math.inf
    good = tensor(1, 0, 1, 1, 0, 1, 1, 1).bool()
    for a, b in zip(field.posterior(spoilt, 0.3), field.posterior(x, 0.3), strict=True):
        torch.testing.assert_close(a[good], b[good], rtol=1e-12, atol=1e-12)
        assert a[~good].isnan().all()


def test_no_noise_at_all():
    for noise in (Normal(), StudentT(1.0), StudentT(30.0)):
        field = Mixture(
            W, tensor([1.0, 2], [-2, 0.5], [0, -1]), tensor(0.7, 0.3, 1.1), Rectified(), noise
        )
        x = Rng(4).normal("x", (3, 2), torch.float64)
        torch.testing.assert_close(field.denoise(x, 0.0), x, rtol=1e-9, atol=1e-9)
        assert field.noise_part(x, 0.0).isfinite().all()


# -------------------------------------------------------------------------------------- transforms


@pytest.mark.parametrize("noise", [Normal(), StudentT(1.0), StudentT(9.0)], ids=repr)
@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "full"])
def test_jacobians_under_every_transform(kind, noise):
    """vmap of jacrev, jvp and autograd agree with differences; the score's Jacobian too."""
    from torch.func import hessian, jacrev, jvp, vmap

    means = Rng(1).normal("m", (3, 3), torch.float64)
    stds = Rng(1).uniform("s", (3, 3)) + 0.3
    shapes = {"isotropic": stds[:, 0], "diagonal": stds, "full": torch.diag_embed(stds**2) + 0.05}
    field = Mixture(W, means, shapes[kind], VP(), noise)
    x, t = 2 * Rng(5).normal("x", (4, 3), torch.float64), torch.linspace(0.2, 0.8, 4).double()
    eye, h = torch.eye(3, dtype=torch.float64), 1e-5
    expected = torch.stack(
        [(field.denoise(x + h * e, t) - field.denoise(x - h * e, t)) / (2 * h) for e in eye], 2
    )
    rows = vmap(jacrev(lambda z, s: field.denoise(z[None], s)[0]))(x, t)
    torch.testing.assert_close(rows, expected, rtol=1e-7, atol=1e-8)
    v = Rng(6).normal("v", (4, 3), torch.float64)
    pushed = jvp(lambda z: field.denoise(z, t), (x,), (v,))[1]
    torch.testing.assert_close(pushed, torch.einsum("bij,bj->bi", rows, v))
    leaf = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(field.log_marginal(leaf, t).sum(), leaf, create_graph=True)
    (twice,) = torch.autograd.grad((score * v).sum(), leaf)
    curvature = vmap(hessian(lambda z, s: field.log_marginal(z[None], s)[0]))(x, t)
    torch.testing.assert_close(twice, torch.einsum("bij,bj->bi", curvature, v))


def test_a_bound_poisson_field_of_a_mixture():
    """Each row has a level of its own: the plane form at that level."""
    field = Mixture(
        W, tensor([1.0, 2], [-2, 0.5], [0, -1]), tensor(0.7, 0.3, 1.1), Karras(), StudentT(1.0)
    )
    q = tensor(1e-3, 0.1, 1, 4)
    x = 5 * Rng(7).normal("x", (4, 2), torch.float64)
    bound = PoissonField(field).bind(q).denoise(x, 2.0)
    for i in range(4):
        torch.testing.assert_close(bound[i], field.denoise(x[i : i + 1], 2 * float(q[i]))[0])


# ------------------------------------------------------------------------------------------- draws


@pytest.mark.parametrize("noise", [Normal(), StudentT(1.0), StudentT(7.0)], ids=repr)
def test_corrupted_draws_follow_the_marginal(noise):
    """Of p_t in one dimension: the integral of exp(log_marginal) is uniform at the draws."""
    field = Mixture(W, tensor([1.0], [-2.0], [4.0]), tensor(0.7, 0.3, 1.1), VP(), noise)
    x, _ = field.corrupt(field.sample(3000, Rng(8)), 0.35, Rng(8))
    u = torch.linspace(-25, 25, 20_001, dtype=torch.float64)
    density = field.log_marginal(u.sinh()[:, None], 0.35).exp() * u.cosh()
    cdf = density.cumsum(0) * (50 / 20_000)
    at = torch.searchsorted(u, x[:, 0].asinh()).clamp_max(20_000)
    assert stats.kstest(cdf[at].numpy(), "uniform").pvalue > 1e-3
