"""Poisson flows: the right frequencies from every start, field lines, targets, the bound form."""

import math

import pytest
import torch
from scipy import stats
from torchdiffeq import odeint

from diffode.fields import VP, Empirical, Karras, PoissonField
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.sampling import encode, sample
from diffode.solvers import get_solver, grid


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


P = tensor(0.5, 0.25, 0.15, 0.1)
NEAR = tensor([-0.3, 0.4], [1.2, 0.1], [0.6, 1.3], [0.2, -0.4])
WIDE = tensor([0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [-4.0, -4.0])


def charges(points=NEAR, sigma_max=80.0, sigma_min=1e-3, dof=1.0):
    return Empirical(points, Karras(sigma_min, sigma_max), StudentT(dof), weights=P)


def kernel(y, z, rng):
    """Points on the plane z above charges y: y + z n / |n_0|, the Cauchy law."""
    n = rng.normal("kernel", (len(y), y.shape[1] + 1), torch.float64)
    return y + z * n[:, 1:] / n[:, :1].abs()


def flow(field, x, steps=60, t=None):
    times = grid(field, steps, "logsnr") if t is None else t
    return get_solver("heun")(field, x, times).x


def frequencies(x, points):
    """The p-value of the charges' weights for the charges that rows end at."""
    nearest = torch.cdist(x.double(), points).argmin(1)
    counts = nearest.bincount(minlength=4).double()
    return stats.chisquare(counts, len(x) * P).pvalue


# ------------------------------------------------------------------------------------ frequencies


@pytest.mark.parametrize("z_max", [0.5, 4.0])
def test_the_exact_start_gives_the_right_frequencies_from_any_height(z_max):
    field = charges(sigma_max=z_max)
    x = kernel(field.sample(20_000, Rng(1)), z_max, Rng(1))
    assert frequencies(flow(field, x), NEAR) > 1e-3
    assert frequencies(x, NEAR) < 1e-9  # the flow did it, not the start


def test_the_prior_must_be_centred_on_the_data():
    """At z_max = 4 one charge at the data's mean is a start, one at the origin is not."""
    field = charges(sigma_max=4.0)
    start = field.prior.sample((20_000, 2), Rng(2), dtype=torch.float64)
    assert frequencies(flow(field, start), NEAR) > 1e-3
    assert frequencies(flow(field, start - field.mean), NEAR) < 1e-5


@pytest.mark.parametrize("radius", ["fixed", "chi"])
def test_the_hemisphere_gives_the_right_frequencies(radius):
    solution = sample(PoissonField(charges(WIDE), radius=radius), 10_000, "heun", steps=60)
    assert frequencies(solution.x, WIDE) > 1e-3
    assert solution.q.shape == (10_000,) and (solution.q > 0).all()


def test_the_hemisphere_must_be_large():
    solution = sample(PoissonField(charges(WIDE, 5.0)), 10_000, "heun", steps=30)
    assert frequencies(solution.x, WIDE) < 1e-6


def test_the_radius_is_part_of_the_latent():
    """Where a sample ends depends on its q, so that x alone does not tell it."""
    solution = sample(PoissonField(charges(WIDE)), 4000, "heun", steps=40)
    third = torch.bucketize(solution.q, solution.q.quantile(tensor(1 / 3, 2 / 3)))
    cell = torch.cdist(solution.x.double(), WIDE).argmin(1) * 3 + third
    assert stats.chi2_contingency(cell.bincount(minlength=12).view(4, 3)).pvalue < 1e-9


def test_the_flow_has_the_kernels_marginals_on_the_way():
    """From z = 20 to 5, 1 and .2, against fresh draws there."""
    field, n = charges(WIDE, 20.0), 4000
    x = kernel(field.sample(n, Rng(3)), 20.0, Rng(3))
    for k, (z, z_next) in enumerate([(20.0, 5.0), (5.0, 1.0), (1.0, 0.2)]):
        x = flow(
            field,
            x,
            t=torch.logspace(*tensor(z, z_next).log10().tolist(), 13, dtype=torch.float64),
        )
        fresh = kernel(field.sample(n, Rng(10 + k)), z_next, Rng(10 + k))
        for j in range(2):
            assert stats.ks_2samp(x[:, j], fresh[:, j]).pvalue > 1e-3


# ------------------------------------------------------------------------------------ field lines


def test_the_anchored_line_is_the_field_line():
    """dx/dz = E_x / E_z and the free line d(x, z) = E dtau meet at equal z."""
    field = charges(WIDE, sigma_max=40.0)

    def potential(point):
        return P @ ((point[:2] - WIDE).square().sum(1) + point[2] ** 2).rsqrt()

    down = torch.func.vmap(torch.func.grad(potential))

    def unit(tau, points):
        e = down(points)
        return e / e.norm(dim=1, keepdim=True)

    start = tensor([25.0, -13.0, 30.0], [-2.0, 6.0, 10.0], [0.4, 0.1, 1.0])
    free = odeint(unit, start, tensor(0.0, 0.8), rtol=1e-12, atol=1e-12, method="dopri8")[-1]
    assert ((start - free)[:, 2] > 0.1).all()
    solve = get_solver("dopri8", rtol=1e-12, atol=1e-12)
    for point, line in zip(start, free, strict=True):
        x = solve(field, point[None, :2], torch.stack((point[2], line[2]))).x[0]
        torch.testing.assert_close(x, line[:2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 3, 7])
@pytest.mark.parametrize("dof", [1.0, 64.0])
def test_ddim_is_exact_where_the_estimate_does_not_change(steps, dof):
    """One charge: straight lines to y + (x - y) z_min / z_max, in both forms, to rounding."""
    y = tensor([1.0, -2.0])
    field = PoissonField(Empirical(y, Karras(), StudentT(dof)))
    x = tensor([30.0, 5.0], [-100.0, 0.0], [1.0, -2.0])
    for form in (field, field.bind(tensor(0.1, 1.0, 5.0))):
        times = grid(form, steps, "logsnr")
        end = get_solver("ddim")(form, x, times).x
        torch.testing.assert_close(end, y + (x - y) * 0.002 / 80, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------- targets


def test_one_draw_is_an_unbiased_target_and_its_direction_is_not():
    """N = 1, z = .8: the mean displacement of kernel draws is the field, their direction not."""
    y, p, z = tensor([-1.0], [0.5], [2.0]), tensor(0.2, 0.5, 0.3), 0.8
    field = Empirical(y, Karras(1e-3, 40.0), StudentT(1.0), weights=p)
    query = tensor([-2.0], [0.0], [1.0], [3.0])
    slope = (query - field.denoise(query, z)).squeeze(1)
    torch.testing.assert_close(slope, tensor(-1.7666, -0.3852, 0.2338, 1.5417), rtol=0, atol=5e-5)

    own = field.sample(600_000, Rng(4))
    x = kernel(own, z, Rng(4))
    error = (field.denoise(x, z) - own).squeeze(1)  # of the displacement x - y of one draw
    displacement, x = (x - own).squeeze(1), x.squeeze(1)
    direction = torch.stack((displacement, torch.full_like(x, z))) / displacement.hypot(tensor(z))
    for point, wrong in zip(query.squeeze(1), (-1.437, None, None, 1.291), strict=True):
        here = (x - point).abs() < 0.1
        assert abs(error[here].mean()) < 3 * error[here].std() / math.sqrt(here.sum())
        if wrong:
            along, up = direction[:, here].mean(1)
            assert float(z * along / up) == pytest.approx(wrong, abs=0.03)


# ----------------------------------------------------------------------------------- bound form


@pytest.mark.parametrize("dof", [1.0, 3.0, 128.0])
def test_equal_radii_are_the_plane_form(dof):
    """q = sqrt(D) for every row is r = sigma sqrt(D): the same numbers."""
    inner = charges(dof=dof)
    x, t = (
        4 * Rng(5).normal("x", (5, 2), torch.float64),
        torch.logspace(-2, 1, 5, dtype=torch.float64),
    )
    plane = PoissonField(inner)
    bound = plane.bind(torch.full((5,), math.sqrt(dof), dtype=torch.float64))
    for a, b, c in zip(
        bound.posterior(x, t), plane.posterior(x, t), inner.posterior(x, t), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        assert torch.equal(b, c)
    torch.testing.assert_close(bound.velocity(x, t), inner.velocity(x, t), rtol=1e-12, atol=1e-12)


def test_a_bound_row_moves_as_its_own_plane_flow():
    """Row i follows the plane form's line through the heights sigma q_i."""
    plane = PoissonField(charges())
    q, x = tensor(0.02, 0.7, 3.0), 80 * Rng(6).normal("x", (3, 2), torch.float64)
    times = grid(plane, 20, "karras")
    together = get_solver("heun")(plane.bind(q), x, times).x
    for i in range(3):
        alone = get_solver("heun")(plane, x[i : i + 1], times * q[i]).x
        torch.testing.assert_close(together[i], alone[0], rtol=1e-11, atol=1e-11)


def test_rows_of_a_bound_field_keep_their_radii():
    plane = PoissonField(charges())
    bound, index = plane.bind(tensor(0.1, 1.0, 2.0, 3.0)), torch.tensor([2, 0])
    x = Rng(7).normal("x", (4, 2), torch.float64)
    part = bound.rows(index)
    torch.testing.assert_close(part.velocity(x[index], 0.4), bound.velocity(x, 0.4)[index])
    assert torch.equal(part.q, tensor(2.0, 0.1)) and plane.rows(index) is plane
    for field in (bound, part):
        assert field.prior is None


@pytest.mark.parametrize("radius", ["auto", "fixed", "chi"])
@pytest.mark.parametrize(("dim", "dof"), [(2, 1.0), (30, 1.0), (2, 5.0)])
def test_the_start_lies_on_the_hemisphere(radius, dim, dof):
    """(x - m, sigma_max q) is sigma_max times sqrt(N + D), or a chi, in a uniform direction."""
    data = 3 + Rng(8).normal("y", (4, dim), torch.float64)
    plane = PoissonField(Empirical(data, Karras(), StudentT(dof), weights=P), radius=radius)
    start = plane.start(3000, Rng(8))
    assert start.x.dtype == torch.float32
    q = start.field.q
    offset = (start.x.double() - plane.mean) / 80
    length2 = offset.square().sum(1) + q**2
    if radius == "chi" or (radius == "auto" and dim == 30):
        assert stats.kstest(length2, stats.chi2(dim + dof).cdf).pvalue > 1e-3
        assert stats.kstest(q**2, stats.chi2(dof).cdf).pvalue > 1e-3
    else:
        torch.testing.assert_close(length2, torch.full_like(q, dim + dof), rtol=1e-5, atol=0)
    share = stats.beta(dof / 2, dim / 2)  # of the squared length that lies in q
    assert stats.kstest(q**2 / length2, share.cdf).pvalue > 1e-3
    side = offset[:, 0] / offset.norm(dim=1)
    assert stats.kstest((side + 1) / 2, stats.beta((dim - 1) / 2, (dim - 1) / 2).cdf).pvalue > 1e-3


def test_the_start_does_not_depend_on_the_batch():
    plane = PoissonField(charges())
    whole, index = plane.start(9, Rng(9)), torch.tensor([8, 3])
    part = plane.start(2, Rng(9).rows(index))
    assert torch.equal(part.x, whole.x[index]) and torch.equal(part.field.q, whole.field.q[index])


def test_samples_in_batches_keep_their_radii():
    plane = PoissonField(charges())
    one, many = (sample(plane, 10, "heun", steps=10, batch=b) for b in (None, 3))
    assert torch.equal(one.q, many.q)
    torch.testing.assert_close(one.x, many.x, rtol=1e-5, atol=1e-5)


# ----------------------------------------------------------------------------------------- errors


def test_a_batch_of_another_size_is_refused():
    bound = PoissonField(charges()).bind(tensor(1.0, 2.0, 3.0))
    for rows in (1, 2, 4):
        message = rf"got {rows} rows for a field bound to 3; call field\.rows\(index\)"
        with pytest.raises(ValueError, match=message):
            bound.velocity(torch.zeros(rows, 2), 1.0)


def test_a_bound_field_has_no_prior():
    bound = PoissonField(charges()).bind(tensor(1.0, 2.0))
    with pytest.raises(ValueError, match="a bound field has no prior to encode into"):
        encode(bound, torch.zeros(2, 2))
    with pytest.raises(ValueError, match="no prior; start from its plane form"):
        bound.start(2, Rng())
    with pytest.raises(TypeError, match=r"the noise is StudentT\(dof=1\)"):
        bound.score(torch.zeros(2, 2), 1.0)
    with pytest.raises(TypeError, match="use eta=0"):
        get_solver("ddim", eta=1.0)(bound, torch.zeros(2, 2), grid(bound, 2))


def test_only_student_t_noise_on_the_karras_clock_is_a_poisson_field():
    message = r"needs StudentT noise on the Karras schedule, got Normal\(\) on Karras"
    with pytest.raises(TypeError, match=message):
        PoissonField(Empirical(NEAR, Karras(), Normal()))
    with pytest.raises(TypeError, match=r"got StudentT\(dof=1\) on VP"):
        PoissonField(Empirical(NEAR, VP(), StudentT(1)))
