"""Isotropic laws that change their shape: quantiles stay, and mass is kept over data."""

import math

import pytest
import torch
from scipy import stats

from diffode import log_prob, sample
from diffode.data import load
from diffode.fields import EmpiricalRadial, GaussianToStudent, RadialPath
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver
from diffode.testing import check_field
from tests.clouds import apart

POINTS = load("moons").train[:20].double()
PATH = GaussianToStudent(3.0, 0.3, 20.0)


class Students(RadialPath):
    """Student's law of unit width, with degrees of freedom that fall from 8 to 3."""

    def dof(self, t):
        return 8 - 5 * t

    def log_g(self, r, t, dim):
        return -(self.dof(t) + dim) / 2 * torch.log1p(r.square() / self.dof(t))


def moved(path, x, steps):
    """Points x of the law at t_prior, and where the radial flow about 0 takes them."""
    field = EmpiricalRadial(torch.zeros(1, x.shape[1], dtype=torch.float64), path)
    times = torch.linspace(*path.span, steps + 1, dtype=torch.float64)
    return get_solver("rk4")(field, x, times).x


@pytest.mark.parametrize("dim", [1, 2, 64])
@pytest.mark.parametrize(
    ("path", "first", "last"),
    [
        (Students(), StudentT(3.0), StudentT(8.0)),
        (PATH, StudentT(3.0, scale=20.0), Normal(scale=0.3)),
    ],
    ids=["student to student", "student to normal"],
)
def test_the_radial_flow_carries_one_law_into_the_other(path, first, last, dim):
    x = first.sample((400, dim), Rng(dim), dtype=torch.float64)
    end = moved(path, x, 30)
    u = torch.tensor([first.radius_cdf(r, dim) for r in x.norm(dim=1).tolist()]).double()
    want = last.radius_icdf(u, dim)
    inner = (u - 0.5).abs() < 0.5 - 1e-9  # where the cdf has digits left
    torch.testing.assert_close(end.norm(dim=1)[inner], want[inner], rtol=1e-4, atol=0)
    shares = [last.radius_cdf(r, dim) for r in end.norm(dim=1).tolist()]
    assert stats.kstest(shares, "uniform").pvalue > 0.01
    torch.testing.assert_close(end / end.norm(dim=1)[:, None], x / x.norm(dim=1)[:, None])


def test_in_the_plane_the_rate_is_that_of_the_closed_form():
    """There the survival function of Student's law is (1 + r^2 / D)^(-D / 2)."""

    def log_survival(r, t):
        dof = Students().dof(t)
        return -dof / 2 * torch.log1p(r.square() / dof)

    r = torch.logspace(-3, 6, 50, dtype=torch.float64)
    t, one = torch.tensor(0.3, dtype=torch.float64), torch.ones_like(r)
    by_t = torch.func.jvp(lambda s: log_survival(r, s), (t,), (torch.ones_like(t),))[1]
    by_r = torch.func.jvp(lambda q: log_survival(q, t), (r,), (one,))[1]
    rate = Students().rate(t, 2)(r.log())
    torch.testing.assert_close(rate, -by_t / by_r / r, rtol=1e-4, atol=1e-9)
    inner = r < 300  # the table goes on straight beyond
    torch.testing.assert_close(rate[inner], (-by_t / by_r / r)[inner], rtol=1e-6, atol=1e-7)


def test_the_constant_is_that_of_the_law():
    t = torch.tensor(0.4, dtype=torch.float64)
    for dim in (1, 2, 64):
        want = PATH.law(0.4, dim).log_norm(dim) - dim * math.log(float(PATH.sigma(t)))
        assert PATH.rate(t, dim).log_norm == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("path", [PATH, Students()], ids=["normal", "student"])
def test_the_exact_field_moves_its_density(path):
    r"""Continuity, d_t log p + div f + f . grad log p = 0."""
    field, t, step = EmpiricalRadial(POINTS, path), 0.4, 1e-4
    x = field.corrupt(POINTS, t, Rng(3))
    change = (field.log_marginal(x, t + step) - field.log_marginal(x, t - step)) / (2 * step)
    each = torch.func.vmap
    jacobian = each(torch.func.jacrev(lambda v: field.velocity(v[None], t)[0]))(x)
    slope = each(torch.func.jacrev(lambda v: field.log_marginal(v[None], t)[0]))(x)
    along = (field.velocity(x, t) * slope).sum(1)
    rest = change + jacobian.diagonal(dim1=1, dim2=2).sum(1) + along
    assert float(rest.abs().max()) < 1e-5 * float(change.abs().max())


def test_its_flow_has_the_marginals_of_its_path():
    """10,000 draws; the law of another time and that of another path are told apart."""
    field = EmpiricalRadial(POINTS[:8], PATH)
    other = EmpiricalRadial(POINTS[:8], GaussianToStudent(3.0, 0.45, 20.0))
    for seed in range(3):
        made = sample(field, 10_000, "heun", nfe=40, seed=seed).x.double()
        want, wide = (
            f.corrupt(f.sample(10_000, Rng(seed + 10)), 0.0, Rng(seed + 20))
            for f in (field, other)
        )
        assert apart(made, want) > 0.01 > 1e-4 > apart(made, wide)


def test_the_likelihood_is_that_of_the_marginal():
    field = EmpiricalRadial(POINTS, PATH)
    x = field.corrupt(POINTS[:4], 0.0, Rng(0))
    nats = log_prob(field, x, solver="dopri5", rtol=1e-5, atol=1e-5).nats
    torch.testing.assert_close(nats, field.log_marginal(x, 0.0).to(nats), rtol=0, atol=0.03)


def test_a_far_point_of_no_weight_leaves_the_field_as_it_is():
    far = torch.cat((POINTS, torch.full((1, 2), 1e9, dtype=torch.float64)))
    x = POINTS[:5] + 0.1
    one, two = (EmpiricalRadial(y, GaussianToStudent()).velocity(x, 0.01) for y in (POINTS, far))
    assert bool(two.isfinite().all())
    torch.testing.assert_close(one, two)
    assert bool(EmpiricalRadial(POINTS, PATH).velocity(POINTS, 0.5).isfinite().all())


def test_it_keeps_the_contract_of_fields():
    check_field(EmpiricalRadial(POINTS.float().view(20, 2), PATH))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianToStudent(0.0), "got dof 0"),
        (lambda: GaussianToStudent(3.0, 2.0, 1.0), "wanted 0 < sigma_min < sigma_max"),
        (lambda: EmpiricalRadial(torch.zeros(3), PATH), r"wanted \(M, \*event\)"),
        (lambda: EmpiricalRadial(POINTS, RadialPath()).velocity(POINTS, 0.5), r"no log_g\(\)"),
        (lambda: sample(EmpiricalRadial(POINTS, PATH), 2, "ddim"), "needs"),
        (lambda: sample(EmpiricalRadial(POINTS, PATH), 2, y=0), "labels"),
    ],
)
def test_what_it_cannot_do_is_refused(make, message):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        make()
