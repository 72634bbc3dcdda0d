"""Spherical laws: published quantiles, scipy's densities, exact truncation, the normal limit."""

import math

import pytest
import torch
from scipy import integrate, stats

from diffode.priors import Normal, StudentT
from diffode.rng import Rng

LAWS = [Normal(), StudentT(1.0), StudentT(3.0), StudentT(128.0)]
U = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)


def centred(law):
    """The law with a scale and a centre of event shape (2, 1)."""
    return law.at(1.7, torch.tensor([[0.3], [-2.0]], dtype=torch.float64))


# ------------------------------------------------------------------------------------------ radii


@pytest.mark.parametrize(
    ("dim", "z", "quantiles"),
    [
        (2, 5.0, [2.42161, 5 * math.sqrt(3), 49.7494]),
        (16, 3.0, [6.87331, 17.3880, 93.9914]),
        (3072, 40.0, [1347.449, 3286.577, 17641.397]),
    ],
)
def test_radius_of_the_poisson_prior(dim, z, quantiles):
    """PFGM's prior on the plane z; z and the scale are one at D = 1."""
    expected = torch.tensor(quantiles, dtype=torch.float64)
    torch.testing.assert_close(
        StudentT(1.0).at(z).radius_icdf(U, dim), expected, rtol=3e-6, atol=0
    )


@pytest.mark.parametrize(
    ("dim", "dof", "quantiles"),
    [
        (3072, 128.0, [4103.72, 4445.15, 4834.84]),
        (3072, 2048.0, [4321.30, 4434.29, 4550.64]),
        (64, 128.0, [554.05, 638.33, 732.24]),
    ],
)
def test_radius_of_the_pfgmpp_prior(dim, dof, quantiles):
    expected = torch.tensor(quantiles, dtype=torch.float64)
    radius = StudentT(dof, scale=80.0).radius_icdf(U, dim)
    torch.testing.assert_close(radius, expected, rtol=0, atol=0.006)


def test_median_radius_in_the_plane_is_in_closed_form():
    """N = 2: P(R > r) = (1 + r^2 / (D sigma^2))^(-D/2)."""
    for dof in (1.0, 5.0, 128.0):
        median = StudentT(dof, scale=80.0).radius_icdf(U[1:2], 2)
        assert float(median) == pytest.approx(
            80 * math.sqrt(dof * (2 ** (2 / dof) - 1)), rel=1e-12
        )


def test_half_of_the_prior_lies_beyond_the_published_clip():
    """PFGM clips radii at 3000 for CIFAR-10 (z = 40): 54 % of the law, not a rare event."""
    assert 1 - StudentT(1.0).at(40.0).radius_cdf(3000.0, 3072) == pytest.approx(0.5400, abs=5e-5)


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("dim", [1, 2, 64, 3072])
def test_radius_cdf_inverts_icdf(law, dim):
    law = law.at(2.5)
    u = torch.tensor([1e-6, 0.02, 0.5, 0.97, 0.999], dtype=torch.float64)
    back = [law.radius_cdf(r, dim) for r in law.radius_icdf(u, dim).tolist()]
    torch.testing.assert_close(torch.tensor(back, dtype=torch.float64), u, rtol=1e-9, atol=1e-14)


# ------------------------------------------------------------------------------------------ draws


@pytest.mark.parametrize(
    ("dim", "dof", "count"), [(1, 1, 20_000), (2, 4, 20_000), (64, 128, 4000), (3072, 1, 300)]
)
def test_drawn_radii_follow_the_f_law(dim, dof, count):
    """R^2 / (N sigma^2) ~ F(N, D), and the direction is uniform."""
    x = StudentT(float(dof), scale=3.0).sample((count, dim), Rng(1), dtype=torch.float64)
    ratio = x.square().sum(1) / (dim * 9)
    assert stats.kstest(ratio, stats.f(dim, dof).cdf).pvalue > 1e-3
    cosine = x[:, 0] / x.norm(dim=1)
    if dim > 1:
        assert (
            stats.kstest((cosine + 1) / 2, stats.beta((dim - 1) / 2, (dim - 1) / 2).cdf)[1] > 1e-3
        )


def test_poisson_prior_is_the_uniform_hemisphere_seen_from_the_origin():
    """N = 2: the height z / rho of a uniform point on the half sphere is uniform (Archimedes)."""
    x = StudentT(1.0, scale=5.0).sample((20_000, 2), Rng(2), dtype=torch.float64)
    height = 5 / torch.sqrt(x.square().sum(1) + 25)
    assert stats.kstest(height, "uniform").pvalue > 1e-3


def test_the_mean_square_is_that_of_the_law():
    """E R^2 / (N sigma^2) = D / (D - 2) for D > 2."""
    x = StudentT(8.0).sample((20_000, 3), Rng(3), dtype=torch.float64).square().mean(1)
    assert abs(x.mean() - 8 / 6) < 4 * x.std() / math.sqrt(len(x))


def test_float32_draws_at_one_degree_of_freedom_are_finite():
    """The published Beta draw in float32 is infinite in 0.8 % of rows here."""
    x = StudentT(1.0, scale=80.0).sample((500, 3072), Rng(4))
    assert x.dtype == torch.float32 and x.isfinite().all()


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_truncation_is_exact(law):
    """A cap conditions the law: no mass piles up at it, and directions stay uniform."""
    x = law.at(2.0).sample((6000, 2), Rng(5), max_radius=2.5, dtype=torch.float64)
    radius = x.norm(dim=1)
    assert radius.max() < 2.5

    def survival(r):  # N = 2, in closed form
        square = (r / 2.0) ** 2
        if isinstance(law, Normal):
            return torch.exp(-square / 2)
        return (1 + square / law.dof) ** (-law.dof / 2)

    cap = survival(torch.tensor(2.5, dtype=torch.float64))
    assert stats.kstest((1 - survival(radius)) / (1 - cap), "uniform").pvalue > 1e-3
    angle = torch.atan2(x[:, 1], x[:, 0]) / (2 * math.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_a_draw_is_scaled_and_centred(law):
    n = law.sample((5, 2, 1), Rng(6), dtype=torch.float64)
    placed = centred(law).sample((5, 2, 1), Rng(6), dtype=torch.float64)
    torch.testing.assert_close(placed, n * 1.7 + centred(law).loc)
    assert not torch.equal(law.sample((5, 2, 1), Rng(6), name="noise", dtype=n.dtype), n)


# -------------------------------------------------------------------------------------- densities


@pytest.mark.parametrize(("dim", "dof"), [(1, 1), (2, 3), (3, 8), (2, math.inf), (5, math.inf)])
def test_density_integrates_to_one(dim, dof):
    law = (Normal() if dof == math.inf else StudentT(float(dof))).at(0.7)
    area = 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)

    def shell(radius):
        x = torch.zeros(1, dim, dtype=torch.float64)
        x[0, 0] = radius
        return area * radius ** (dim - 1) * float(law.log_prob(x).exp())

    total = integrate.quad(shell, 0, 2, epsabs=1e-13)[0]
    total += integrate.quad(shell, 2, math.inf, epsabs=1e-13)[0]
    assert total == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_density_is_scipys(law):
    law, x = centred(law), 3 * Rng(7).normal("x", (6, 2, 1), torch.float64)
    loc, shape = law.loc.flatten().numpy(), 1.7**2 * torch.eye(2).numpy()
    reference = (
        stats.multivariate_normal(loc, shape)
        if isinstance(law, Normal)
        else stats.multivariate_t(loc, shape, df=law.dof)
    )
    expected = torch.from_numpy(reference.logpdf(x.flatten(1).numpy()))
    torch.testing.assert_close(law.log_prob(x), expected, rtol=1e-6, atol=1e-6)


def test_density_of_the_poisson_prior_at_image_size():
    """The published code is 3.096 nats lower: it takes the sphere of one dimension less."""
    x = torch.zeros(3, 3, 32, 32, dtype=torch.float64)
    x[:, 1, 2, 3] = torch.tensor([1500.0, 2200, 3000])
    expected = torch.tensor([-14495.3531, -15671.7039, -16624.5753], dtype=torch.float64)
    torch.testing.assert_close(StudentT(1.0).at(40.0).log_prob(x), expected, rtol=0, atol=6e-5)


# ----------------------------------------------------------------------- many degrees of freedom

DOFS = [0.5, 1.0, 3.0, 19.9, 20.0, 20.1, 128.0, 2048.0, 1e6, 1e9, 1e12, 1e16, 1e18]


@pytest.mark.parametrize("dof", DOFS)
def test_the_constant_obeys_the_recurrence_of_the_gamma_function(dof):
    """Gamma(z + 1) = z Gamma(z) fixes it: from N to N + 2, at N = 2, and between D and D + 1."""
    c = StudentT(dof).log_norm
    assert c(2) == pytest.approx(-math.log(2 * math.pi), abs=1e-13)
    for dim in (1, 2, 7, 64, 783, 3070):
        step = math.log1p(dim / dof) - math.log(2 * math.pi)
        assert c(dim + 2) - c(dim) == pytest.approx(step, abs=2e-11)
    both = c(1) + StudentT(dof + 1).log_norm(1)
    if dof < 1e15:  # beyond, D + 1 is no number of its own
        half = -math.log(2 * math.pi) - math.log1p(1 / dof) / 2
        assert both == pytest.approx(half, abs=1e-13)


@pytest.mark.parametrize("dim", [1, 2, 64, 3072])
def test_the_constant_tends_to_the_normal_one(dim):
    """Their difference is N (N - 2) / (4 D) to first order, and at last rounding."""
    gap = [StudentT(dof).log_norm(dim) - Normal().log_norm(dim) for dof in (1e10, 1e14, 1e18)]
    for dof, value in zip((1e10, 1e14, 1e18), gap, strict=True):
        assert value == pytest.approx(dim * (dim - 2) / (4 * dof), rel=1e-5, abs=5e-12)


@pytest.mark.parametrize(
    ("dim", "dof", "gap"),
    [
        (3072, 64, 0.389),
        (3072, 128, 0.341),
        (3072, 2048, 0.113),
        (3072, 3072, 0.086),
        (3072, 1e5, 3.8e-3),
        (3072, 3072000, 1.25e-4),
        (2, 64, 8.4e-3),
        (2, 2048, 2.6e-4),
    ],
)
def test_radius_law_tends_to_the_normal_one(dim, dof, gap):
    """The largest difference of the two distribution functions, as tabulated."""
    u = torch.linspace(1e-4, 1 - 1e-4, 400, dtype=torch.float64)
    radius = Normal().radius_icdf(u, dim)
    cdf = torch.tensor([StudentT(float(dof)).radius_cdf(r, dim) for r in radius.tolist()])
    assert float((cdf - u).abs().max()) == pytest.approx(gap, rel=0.03)


@pytest.mark.parametrize("dim", [2, 64])
def test_log_density_tends_to_the_normal_one_as_one_over_dof(dim):
    x = Rng(8).normal("x", (4, dim), torch.float64)
    gap = [StudentT(dof).log_prob(x) - Normal().log_prob(x) for dof in (1e4, 1e6)]
    torch.testing.assert_close(
        gap[0] / gap[1], torch.full((4,), 100.0).double(), rtol=0.02, atol=0
    )


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(ValueError, match="a scale is a positive finite number"):
        Normal(scale=scale)
    with pytest.raises(ValueError, match=f"got scale {scale}"):
        StudentT(1.0).at(scale)


@pytest.mark.parametrize("dof", [0, -2.0, math.inf, math.nan])
def test_degrees_of_freedom_must_be_positive_and_finite(dof):
    with pytest.raises(ValueError, match=rf"got dof {dof}; StudentT takes .*use Normal\(\)"):
        StudentT(dof)


def test_laws_print_what_they_are():
    assert (
        repr(StudentT(128).at(80.0, torch.zeros(2))) == "StudentT(dof=128, scale=80, loc=tensor)"
    )
    assert repr(Normal(loc=0.5)) == "Normal(loc=0.5)"
