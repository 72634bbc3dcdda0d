"""Exact fields of data sets: electrostatics, the limit of many dimensions, extremes of size."""

import math

import pytest
import torch
from numpy.polynomial.legendre import leggauss
from torch.autograd.functional import jacobian

from diffode.fields import VP, Empirical, Karras
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver

SIGMA = Karras(1e-6, 1e6)  # any level is a time


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def charges(count=7, dim=2, dof=1.0, seed=0):
    """A field of random charges of random weights."""
    rng = Rng(seed)
    data = 2 * rng.normal("y", (count, dim), torch.float64)
    return Empirical(data, SIGMA, StudentT(dof), weights=rng.uniform("w", (count,)))


def electric(field, points):
    """The field (E_x, E_z) of unit charge at (x, z): E_z = p_z / 2, and E_x / E_z the velocity."""
    x, z = points[:, :-1], points[:, -1]
    half = field.log_marginal(x, z).exp()[:, None] / 2
    return torch.cat((half * field.velocity(x, z), half), 1)


# -------------------------------------------------------------------------------- electrostatics


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_velocity_is_a_ratio_of_potential_gradients(count, dim):
    """dx/dz = E_x / E_z with E = -grad sum_i p_i G, the Green's function of N + 1 dimensions."""
    field = charges(count, dim)
    points, p = field.points, field.log_weights.exp()

    def potential(x, z):
        rho2 = (x - points).square().sum(1) + z**2
        return -(p @ rho2.log()) if dim == 1 else p @ rho2 ** ((1 - dim) / 2)

    x, z = tensor(0.3, -1.2, 0.8, 0.1, 2.0)[:dim], tensor(0.7)[0]
    e_x, e_z = torch.func.grad(potential, (0, 1))(x, z)
    torch.testing.assert_close(field.velocity(x[None], z)[0], e_x / e_z, rtol=1e-12, atol=0)


def test_the_field_is_curl_free_and_divergence_free_above_the_charges():
    field = charges()
    for k in range(4):
        x = Rng(k).normal("x", (2,), torch.float64)
        j = jacobian(lambda p: electric(field, p[None])[0], torch.cat((x, tensor(0.2 + k))))
        assert abs(j.trace()) < 1e-12 * j.norm() and (j - j.T).abs().max() < 1e-12 * j.norm()


def test_half_of_the_flux_rises():
    """Gauss: of a unit charge's flux, one half passes the upper half of a sphere around it."""
    field, radius = charges(), 10.0
    nodes, weights = leggauss(40)
    height, weights = torch.from_numpy(nodes + 1) / 2, torch.from_numpy(weights) / 2
    angle = torch.arange(60, dtype=torch.float64) * (2 * math.pi / 60)
    z, phi = (v.flatten() for v in torch.meshgrid(height, angle, indexing="ij"))
    flat = (1 - z**2).sqrt()
    normal = torch.stack((flat * phi.cos(), flat * phi.sin(), z), 1)
    flux = (electric(field, radius * normal) * normal).sum(1)
    total = radius**2 * 2 * math.pi / 60 * (weights[:, None] * flux.view(40, 60)).sum()
    assert float(total) == pytest.approx(0.5, abs=1e-10)


def test_one_charge_pulls_in_straight_lines():
    """Euler in z lands on y + (x - y) z_min / z_max whatever the steps and dimensions."""
    y, x = tensor([1.0, -2.0, 0.5])[0], tensor([30.0, 10.0, -4.0])
    times = tensor(40.0, 17.0, 3.0, 1e-3)
    for noise in (StudentT(1.0), StudentT(37.0), Normal()):
        field = Empirical(y[None], SIGMA, noise)
        end = get_solver("euler")(field, x, times).x
        torch.testing.assert_close(end, y + (x - y) * 1e-3 / 40, rtol=1e-12, atol=1e-12)


def test_two_charges_in_closed_form():
    """N = D = 1, charges at +-a: E[x_0 | x] = 2 a^2 x / (x^2 + a^2 + z^2)."""
    field = Empirical(tensor([-1.0], [1.0]), SIGMA, StudentT(1.0))
    assert float(field.denoise(tensor([0.5]), 0.7)) == pytest.approx(0.5747126436781609, rel=1e-12)
    a, x, z = 3.0, tensor([-2.0], [0.1], [50.0]), 0.01
    wide = Empirical(tensor([-a], [a]), SIGMA, StudentT(1.0))
    expected = 2 * a**2 * x / (x**2 + a**2 + z**2)
    torch.testing.assert_close(wide.denoise(x, z), expected, rtol=1e-12, atol=0)


def test_a_ring_is_reached_from_inside_only_with_an_added_dimension():
    """In the plane a uniform ring has no field inside; one dimension up it has."""
    angle = torch.arange(1000, dtype=torch.float64) * (2 * math.pi / 1000)
    ring, x = torch.stack((angle.cos(), angle.sin()), 1), tensor([0.3, 0.2])
    offset = x - ring
    assert (offset / offset.square().sum(1, keepdim=True)).mean(0).norm() < 1e-13
    field = Empirical(ring, SIGMA, StudentT(1.0))
    near, far = field.velocity(x, 0.1)[0], field.velocity(x, 0.5)[0]
    torch.testing.assert_close(near, tensor(-1.24128, -0.82752), rtol=0, atol=1e-5)
    torch.testing.assert_close(far, tensor(-0.0833259, -0.0555506), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("dim", "dof"), [(3, 1.0), (2, 5.0), (4, 64.0)])
def test_the_drift_is_the_gradient_of_the_potential_not_of_the_log_density(dim, dof):
    r"""x - E[x_0|x] = -grad phi / ((N + D - 2) p), phi and p the potential and density at r."""
    field = charges(5, dim, dof)
    points, w, sigma = field.points, field.log_weights.exp(), 0.8 / dof**0.5
    r2, x = sigma**2 * dof, Rng(3).normal("x", (1, dim), torch.float64)

    def potential(x):
        rho2 = (x - points).square().sum(1) + r2
        return w @ rho2 ** (-(dim + dof - 2) / 2)

    rho2 = (x - points).square().sum(1) + r2
    density = w @ rho2 ** (-(dim + dof) / 2)
    drift = -torch.func.grad(potential)(x) / ((dim + dof - 2) * density)
    torch.testing.assert_close(x - field.denoise(x, sigma), drift, rtol=1e-11, atol=0)
    score = jacobian(lambda v: field.log_marginal(v, sigma)[0], x)
    assert (-(sigma**2) * score - drift).norm() > 0.2 * drift.norm()


def test_score_of_a_student_t_field_is_refused():
    with pytest.raises(TypeError, match=r"noise is StudentT\(dof=1\), for which .* not the score"):
        charges().score(torch.zeros(1, 2), 1.0)


# --------------------------------------------------------------------- many augmented dimensions


def test_many_augmented_dimensions_are_diffusion():
    """|Dn_D - Dn_normal| falls as 1 / D, in float64 up to D = 1e8."""
    x = Rng(1).normal("x", (4, 8), torch.float64)
    data = Rng(1).normal("y", (5, 8), torch.float64)
    normal = Empirical(data, SIGMA).denoise(x, 1.0)
    gap = {
        dof: float((Empirical(data, SIGMA, StudentT(dof)).denoise(x, 1.0) - normal).abs().max())
        for dof in (1e4, 1e6, 1e8)
    }
    assert gap[1e4] / gap[1e6] == pytest.approx(100, rel=0.01)
    assert gap[1e6] / gap[1e8] == pytest.approx(100, rel=0.02)
    assert gap[1e4] > 1e-6


@pytest.mark.parametrize("dim", [8, 3072])
def test_float32_agrees_with_float64_at_three_million_degrees(dim):
    """Logits of size 1e7 in float32 would be wrong by 1."""
    data = Rng(2).normal("y", (50, dim), torch.float64)
    x = data[:6] + 2.0 * Rng(2).normal("x", (6, dim), torch.float64)
    for level in (0.5, 2.0, 20.0):
        exact = Empirical(data, SIGMA, StudentT(3e6)).denoise(x, level)
        single = Empirical(data.float(), SIGMA, StudentT(3e6)).denoise(x.float(), level)
        assert single.dtype == torch.float32
        assert (single - exact).abs().max() < 1e-3 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, 2, 3072, 196608])
@pytest.mark.parametrize("dof", [1.0, 2.0, 128.0, 3e6, math.inf])
def test_extreme_sizes_and_levels_stay_finite(dim, dof, dtype):
    """At a data point, midway and far away; estimates stay in the hull and end on the data."""
    data = Rng(4).normal("y", (3, dim), dtype) + 1
    field = Empirical(data, SIGMA, Normal() if dof == math.inf else StudentT(dof))
    x = torch.stack((data[1], data.mean(0), data[0] * 1e4))
    for level in (1e-6, 1e-3, 1.0, 1e3):
        x0, n = field.posterior(x, level)
        assert x0.dtype == n.dtype == dtype
        assert x0.isfinite().all() and n.isfinite().all()
        assert field.velocity(x, level).isfinite().all()
        assert field.log_marginal(x, level).isfinite().all()
        slack = 1e-5 * data.abs().max()
        assert (x0 <= data.amax(0) + slack).all() and (x0 >= data.amin(0) - slack).all()
    torch.testing.assert_close(field.denoise(x, 1e-6)[0], data[1], rtol=1e-5, atol=1e-5)
    far = field.denoise(x[:1], 1e8)[0]
    torch.testing.assert_close(far, data.mean(0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("noise", [Normal(), StudentT(1.0)], ids=repr)
def test_data_in_chunks_is_the_same_field(noise, monkeypatch):
    """The running softmax, at levels where one chunk outweighs the other by e^1000."""
    data = 3 * Rng(5).normal("y", (200, 4), torch.float64)
    x, t = data[:5] + 0.01, torch.logspace(-4, 1, 5, dtype=torch.float64)
    field = Empirical(data, VP(), noise, weights=Rng(5).uniform("w", (200,)))
    whole = field.posterior(x, t)
    monkeypatch.setattr(
        "diffode.fields.kernels._MEMORY", 8 * (4 + 4 * 5) * 7
    )  # seven points at once
    for part, expected in zip(field.posterior(x, t), whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-11, atol=1e-11)
