"""Radial laws: known laws again, exact fields and their flows, and where a support ends."""

import math

import pytest
import torch
from scipy import special, stats

from diffode import log_prob, sample
from diffode.data import load
from diffode.fields import Empirical, Karras, Rectified, classifier_free
from diffode.fields.schedules import Schedule
from diffode.priors import Ball, GeneralisedNormal, Normal, Radial, RadialLogistic, StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver, grid
from tests.clouds import apart

U = torch.tensor([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1 - 1e-6], dtype=torch.float64)
LAWS = [GeneralisedNormal(1.0), GeneralisedNormal(4.0), RadialLogistic(), Ball()]
DIMS = [1, 2, 8, 64, 784]


class Heavy(Radial):
    """Student's law in so many coordinates."""

    def __init__(self, dof, dim):
        super().__init__()
        self.dof, self.dim = dof, dim

    def log_g(self, r):
        return -(self.dof + self.dim) / 2 * torch.log1p(r.square() / self.dof)


# ------------------------------------------------------------------------------------- known laws


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(
    ("law", "known"),
    [
        (lambda n: GeneralisedNormal(2.0), Normal()),
        (lambda n: Heavy(3.0, n), StudentT(3.0)),
        (lambda n: Heavy(0.7, n), StudentT(0.7)),
    ],
    ids=["normal", "student", "heavy"],
)
def test_the_normal_and_students_law_are_found_again(law, known, dim):
    law = law(dim)
    torch.testing.assert_close(
        law.radius_icdf(U, dim), known.radius_icdf(U, dim), rtol=1e-9, atol=0
    )
    x = known.sample((5, dim), Rng(0), dtype=torch.float64)
    torch.testing.assert_close(law.log_prob(x), known.log_prob(x), rtol=1e-12, atol=1e-11)
    r = float(known.radius_icdf(U[4:5], dim))
    assert law.radius_cdf(r, dim) == pytest.approx(known.radius_cdf(r, dim), rel=1e-12)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("exponent", [0.5, 1.0, 4.0, 32.0])
def test_the_generalised_normal_law_has_a_radius_of_a_gamma_law(exponent, dim):
    law = GeneralisedNormal(exponent)
    gamma = torch.from_numpy(special.gammaincinv(dim / exponent, U.numpy()))
    want = (exponent * gamma) ** (1 / exponent)
    torch.testing.assert_close(law.radius_icdf(U, dim), want, rtol=1e-10, atol=0)
    growth = math.lgamma((dim + 2) / exponent) - math.lgamma(dim / exponent)
    rms = math.sqrt(exponent ** (2 / exponent) * math.exp(growth) / dim)
    assert law.rms(dim) == pytest.approx(rms, rel=1e-11)
    assert law.standard(dim).rms(dim) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("dim", DIMS)
def test_the_ball_has_its_volume_and_its_radius(dim):
    volume = dim / 2 * math.log(math.pi) - math.lgamma(dim / 2 + 1)
    assert Ball().log_norm(dim) == pytest.approx(-volume, rel=1e-12, abs=1e-12)
    torch.testing.assert_close(Ball().radius_icdf(U, dim), U ** (1 / dim), rtol=1e-12, atol=0)
    assert Ball().standard(dim).width == pytest.approx(math.sqrt(dim + 2), rel=1e-12)


@pytest.mark.parametrize(
    ("law", "known"),
    [
        (GeneralisedNormal(1.5), stats.gennorm(1.5, scale=1.5 ** (1 / 1.5))),
        (RadialLogistic(), stats.logistic()),
        (Ball(), stats.uniform(-1, 2)),
    ],
)
def test_on_the_line_they_are_scipys(law, known):
    x = torch.tensor([-2.0, -0.6, 0.0, 0.3, 1.5], dtype=torch.float64)
    want = torch.from_numpy(known.logpdf(((x - 0.5) / 1.7).numpy())) - math.log(1.7)
    torch.testing.assert_close(law.at(1.7, 0.5).log_prob(x[:, None]), want)


# ------------------------------------------------------------------------------------------ draws


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_draws_have_the_radius_and_no_direction(law):
    law = law.at(1.3, 0.5)
    x = law.sample((4000, 3), Rng(1), dtype=torch.float64) - 0.5
    r = x.norm(dim=1)
    u = [law.radius_cdf(v, 3) for v in r.tolist()]
    assert stats.kstest(u, "uniform").pvalue > 0.01
    assert stats.kstest((x[:, 1] / r).numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    inner = law.sample((500, 3), Rng(1), max_radius=0.8) - 0.5
    assert float(inner.norm(dim=1).max()) <= 0.8 and float(inner.norm(dim=1).median()) > 0.5


def test_a_row_does_not_change_with_its_batch():
    whole = GeneralisedNormal(1.0).sample((64, 5), Rng(0))
    part = GeneralisedNormal(1.0).sample((3, 5), Rng(0, rows=torch.tensor([5, 63, 0])))
    assert torch.equal(whole[[5, 63, 0]], part)


def test_a_law_is_a_function_or_a_class_and_follows_what_it_is_set_to():
    law = Radial(lambda r: -r)
    known = GeneralisedNormal(1.0)
    assert law.log_norm(3) == known.log_norm(3) and "<lambda>" in repr(law)
    known.exponent = 2.0
    assert known.log_norm(3) == pytest.approx(Normal().log_norm(3))


class Shell(Radial):
    """Radii between 1 and 2, given by their quantiles alone."""

    def radius_icdf(self, u, dim):
        return self.scale * (1 + u)


def test_a_law_of_quantiles_alone_can_be_drawn_and_says_what_else_it_lacks():
    x = Shell().at(2.0).sample((100, 3), Rng(0))
    r = x.norm(dim=1)
    assert 2 <= float(r.min()) < 2.2 and 3.8 < float(r.max()) <= 4
    field = Empirical(POINTS, Karras(), Shell())
    assert field.corrupt(POINTS, 1.0, Rng(0))[0].shape == POINTS.shape
    with pytest.raises(NotImplementedError, match=r"Shell has no log_g\(\)"):
        field.denoise(POINTS, 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GeneralisedNormal(0.0), "got exponent 0"),
        (lambda: GeneralisedNormal(1e9), "beyond it the law is a Ball"),
        (lambda: Ball(width=-1.0), "got width -1"),
        (lambda: Radial(lambda r: -r, edge=0.0), "got edge 0"),
        (lambda: Radial(lambda r: r).log_norm(2), "is no law in 2 coordinates: its integral"),
        (lambda: Radial(lambda r: -0.5 * r.log()).log_norm(2), "is no law in 2 coordinates"),
        (lambda: Radial(lambda r: r * math.nan).log_norm(2), "values that are no numbers"),
        (lambda: Heavy(1.5, 2).rms(2), "no law with a finite mean square in 2"),
        (lambda: Radial().log_norm(2), r"Radial has no log_g\(\)"),
    ],
)
def test_what_is_no_law_is_refused_in_a_line(make, message):
    with pytest.raises((ValueError, NotImplementedError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------- exact fields

POINTS = load("moons").train[:20].double()


@pytest.mark.parametrize("schedule", [Karras(0.02, 20.0), Rectified()], ids=repr)
@pytest.mark.parametrize("law", [*LAWS[:3], Heavy(3.0, 2)], ids=repr)
def test_the_exact_field_moves_its_density(law, schedule):
    r"""Continuity, d_t log p + div f + f . grad log p = 0."""
    field, t, step = Empirical(POINTS, schedule, law), 0.6, 1e-4
    x = field.corrupt(POINTS, t, Rng(3))[0]
    change = (field.log_marginal(x, t + step) - field.log_marginal(x, t - step)) / (2 * step)
    each = torch.func.vmap
    jacobian = each(torch.func.jacrev(lambda v: field.velocity(v[None], t)[0]))(x)
    slope = each(torch.func.jacrev(lambda v: field.log_marginal(v[None], t)[0]))(x)
    along = (field.velocity(x, t) * slope).sum(1)
    rest = change + jacobian.diagonal(dim1=1, dim2=2).sum(1) + along
    assert float(rest.abs().max()) < 1e-5 * float(change.abs().max())


class Late(Schedule):
    """Karras's schedule with the noise of a time 1.3 times as far."""

    span = (20.0, 0.6)

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return 1.3 * t


@pytest.mark.parametrize(
    ("law", "solver"), [*((law, "default") for law in LAWS), (LAWS[0], "ddim")], ids=str
)
def test_its_flow_has_the_marginals_of_its_law(law, solver):
    """10,000 draws at sigma = .6 of data of std .7; a wrong schedule or law is told apart."""
    steps = 35 if solver == "default" else 120
    schedule = Karras(0.6, 20.0)
    field = Empirical(POINTS, schedule, law)
    wrong = Empirical(POINTS, Late(), law), Empirical(POINTS, schedule, Normal())
    for seed in range(3):
        made = sample(field, 10_000, solver, nfe=steps, seed=seed, final="none").x.double()
        want, late, normal = (
            f.corrupt(f.sample(10_000, Rng(seed + 10)), 0.6, Rng(seed + 20))[0]
            for f in (field, *wrong)
        )
        assert apart(made, want) > 0.01 > 1e-4 > max(apart(made, late), apart(made, normal))


@pytest.mark.parametrize("solver", ["heun", "dpm++", "unipc"])
def test_every_solver_of_the_ode_runs_on_them(solver):
    field = Empirical(POINTS, Karras(0.6, 20.0), GeneralisedNormal(1.0))
    start = field.start(50, Rng(0)).x.double()
    times = grid(field, 40, "logsnr")
    fine = get_solver("rk4")(field, start, grid(field, 300, "logsnr")).x
    assert float((get_solver(solver)(field, start, times).x - fine).abs().max()) < 0.02


def test_the_likelihood_is_that_of_the_marginal():
    field = Empirical(POINTS, Karras(0.6, 100.0), RadialLogistic())
    x = field.corrupt(POINTS[:6], 0.6, Rng(0))[0]
    nats = log_prob(field, x, solver="dopri5", rtol=1e-6, atol=1e-6).nats
    torch.testing.assert_close(nats, field.log_marginal(x, 0.6).to(nats), rtol=0, atol=0.03)


# ------------------------------------------------------------------------------ where a law ends


def test_beyond_every_ball_the_nearest_point_has_all_weight():
    field = Empirical(POINTS, Karras(0.02, 20.0), Ball())
    x = torch.tensor([[30.0, 0.0], [-4.0, 5.0]], dtype=torch.float64)
    nearest = POINTS[torch.cdist(x, POINTS).argmin(1)]
    torch.testing.assert_close(field.denoise(x, 1.0), nearest)
    assert bool((field.log_marginal(x, 1.0) == -math.inf).all())
    assert bool((Ball().log_prob(x) == -math.inf).all())


def test_inside_the_balls_the_points_that_reach_x_weigh_the_same():
    field = Empirical(POINTS, Karras(0.02, 20.0), Ball())
    x, near = POINTS[:5] + 0.1, torch.cdist(POINTS[:5] + 0.1, POINTS) < 0.7
    mean = (near.double() @ POINTS) / near.sum(1, keepdim=True)
    torch.testing.assert_close(field.denoise(x, 0.7), mean)


def test_a_flow_of_balls_ends_at_the_data():
    field = Empirical(POINTS, Karras(0.02, 20.0), Ball())
    for steps in (10, 35):
        x = sample(field, 300, "ddim", nfe=steps, final="none").x.double()
        assert float(torch.cdist(x, POINTS).amin(1).max()) < 0.05


def test_a_law_with_an_edge_has_no_likelihood():
    labels = torch.arange(20) % 2
    field = Empirical(POINTS, Karras(0.02, 20.0), Ball(), labels=labels)
    for moved, y in ((field, None), (classifier_free(field, 2.0), labels[:2])):
        with pytest.raises(TypeError, match="noise with an edge"):
            log_prob(moved, POINTS[:2], y=y)


@pytest.mark.parametrize("law", [Normal(), StudentT(3.0), RadialLogistic()])
def test_a_quantile_of_one_probability_is_one_number(law):
    one, many = law.radius_icdf(torch.tensor(0.5), 2), law.radius_icdf(torch.tensor([0.5]), 2)
    assert one.shape == () and float(one) == float(many)
