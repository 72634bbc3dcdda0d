"""Blur: a factor for each frequency beside a scalar schedule, on exact fields."""

import math

import pytest
import torch

import diffode
from diffode.fields import (
    VP,
    AffineField,
    Cosine,
    Decay,
    Empirical,
    Heat,
    Karras,
    Rescheduled,
    Turned,
    blurred,
    classifier_free,
)
from diffode.fields.turned import by_coordinate
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.solvers import get_solver, grid
from tests.clouds import apart, p_value

SIDE = 4
PLAIN = ("trig", "dpm++", "unipc", "deis", "dpm", "ab", "ddim", "heun", "euler", "rk4")


class Still(Decay):
    """No dissipation, in the basis of the points themselves."""

    def at(self, t):
        return torch.ones(len(t), SIDE, SIDE, dtype=torch.float64)


class Gaussians(AffineField):
    """The exact field of a mixture with full covariances, in the frequencies of a decay."""

    def __init__(self, decay, schedule=None):
        g = torch.Generator().manual_seed(0)
        n, self.weights = SIDE * SIDE, torch.tensor([0.5, 0.3, 0.2]).double()
        self.means = torch.randn(3, n, generator=g).double()
        a = torch.randn(3, n, n, generator=g).double() / math.sqrt(n)
        self.covariances = 0.2 * a @ a.mT + 0.02 * torch.eye(n).double()
        mean = self.weights @ self.means
        total = (self.means - mean).square() + self.covariances.diagonal(dim1=1, dim2=2)
        std = float((self.weights @ total).mean().sqrt())
        super().__init__(schedule or VP(), Normal(), mean.view(SIDE, SIDE), std, decay)

    def posterior(self, x, t, y=None):
        alpha, sigma = self.level(t, x)
        a = alpha.expand(1, SIDE, SIDE).reshape(-1)
        noise = torch.eye(len(a)).double() * sigma**2
        total = a[:, None] * self.covariances * a + noise
        u = x.flatten(1).double()[:, None] - a * self.means
        solved = torch.linalg.solve(total, u.movedim(0, -1)).movedim(-1, 0)
        fit = self.weights.log() - torch.logdet(total) / 2 - (u * solved).sum(-1) / 2
        x0 = self.means + torch.einsum("kij,bkj->bki", self.covariances * a, solved)
        w = fit.softmax(1)[..., None]
        return (w * x0).sum(1).view_as(x), (w * solved).sum(1).view_as(x) * sigma


def points(n=40, seed=0, event=(SIDE, SIDE)):
    return torch.randn(n, *event, generator=torch.Generator().manual_seed(seed)).double()


def solve(field, name, steps, start, final="none", **options):
    solver = get_solver(name, **options)
    land = final == "denoise" and solver.reaches_zero_noise
    times = grid(field, steps, solver.grid)
    return solver(field, start, times, rng=Rng(3), to_zero_noise=land).x


@pytest.mark.parametrize("name", [*PLAIN, "ancestral"])
def test_no_dissipation_is_the_schedule_itself(name):
    plain, still = Empirical(points(), VP()), Turned(Empirical(points(), VP(), decay=Still()))
    start = plain.start(6, Rng(1)).x.double()
    for final in ("none", "denoise"):
        gap = solve(plain, name, 9, start, final) - solve(still, name, 9, start, final)
        assert float(gap.abs().max()) < 1e-11
    if name != "ancestral":  # whose noise is drawn in the basis
        clear = blurred(points(), VP(), Heat((SIDE, SIDE), 0.0))
        gap = solve(plain, name, 9, start) - solve(clear, name, 9, start)
        assert float(gap.abs().max()) < 1e-11


@pytest.mark.parametrize("schedule", [VP(), Cosine()])
def test_the_density_is_carried_by_the_velocity(schedule):
    decay, t, h = Heat((SIDE, SIDE), 2.0), 0.35, 1e-4
    field = Empirical(decay.to_basis(points()), schedule, decay=decay)
    x = field.corrupt(field.sample(5, Rng(0)), t, Rng(1))[0]
    rate = (field.log_marginal(x, t + h) - field.log_marginal(x, t - h)) / (2 * h)

    def velocity(z):
        return field.velocity(z[None], t)[0]

    jacobian = torch.func.vmap(torch.func.jacrev(velocity))(x).reshape(5, 16, 16)
    flow = (field.velocity(x, t) * field.score(x, t)).flatten(1).sum(1)
    residual = rate + jacobian.diagonal(dim1=1, dim2=2).sum(1) + flow
    assert float(residual.abs().max()) < 1e-5 * float(rate.abs().max())


def test_rows_may_have_times_of_their_own():
    """With as many rows as coordinates, where a wrong broadcast would hide."""
    for event in ((SIDE, SIDE), (5,), (3, SIDE, SIDE)):
        field = blurred(points(9, event=event), VP(), Heat(event, 1.0))
        x, t = points(event[-1], 1, event), torch.linspace(0.1, 0.9, event[-1]).double()
        together = field.velocity(x, t)
        apart = torch.cat([field.velocity(x[k : k + 1], t[k]) for k in range(len(x))])
        torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-12)
        made = field.corrupt(x, t, Rng(0))[0]
        one = field.corrupt(x, t[2], Rng(0))[0]
        torch.testing.assert_close(made[2], one[2])


def test_it_is_the_blurred_image_with_noise():
    x, t = points(3), torch.tensor(0.6).double()
    decay = Heat((SIDE, SIDE), 2.0)
    field = blurred(points(), VP(), decay)
    x_t, n = field.corrupt(x, t, Rng(0))
    alpha, sigma = VP().alpha(t), VP().sigma(t)
    torch.testing.assert_close(decay.from_basis(decay.to_basis(x)), x)
    blur = decay.from_basis(decay.at(t[None]) * decay.to_basis(x))
    torch.testing.assert_close(x_t, alpha * blur + sigma * n)
    torch.testing.assert_close(x.mean((1, 2)), blur.mean((1, 2)))  # brightness stays
    view, c = by_coordinate(field, x)
    torch.testing.assert_close(c, decay.to_basis(x))
    seen = decay.from_basis(view.velocity(c, t))
    torch.testing.assert_close(field.velocity(x, t), seen)


def test_the_default_solver_keeps_its_lead():
    field = Gaussians(Heat((SIDE, SIDE), 2.0))
    start = field.start(12, Rng(1)).x.double()
    exact = get_solver("rk4")(field, start, grid(field, 200, "f1.5")).x

    def error(name, steps, **options):
        x = get_solver(name, **options)(field, start, grid(field, steps, "f1.5")).x
        return float((x - exact).square().mean().sqrt())

    trig, heun = error("trig", 20), error("heun", 10)
    assert trig < heun / 10
    for name in ("dpm++", "unipc", "deis"):
        assert error(name, 20) < heun
    assert error("ddim", 40) < 0.6 * error("ddim", 20)  # order 1


class Confused(Turned):
    """A field that says the factors of another blur than its points had."""

    decay = property(lambda self: Heat((SIDE, SIDE), 0.3))


def blobs():
    centres = 1.5 * points(3, 2)
    return (centres[torch.arange(240) % 3] + 0.4 * points(240, 5)).float()


def against_the_data(field, seed, **options):
    """The p-value of samples against draws of the data."""
    x = diffode.sample(field, 240, steps=60, seed=seed, final="none", **options).x
    law = blobs()[torch.randint(240, (240,), generator=torch.Generator().manual_seed(seed))]
    return p_value(x.flatten(1).double(), law.flatten(1).double(), 100)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_have_the_law_of_the_data(eta):
    field = blurred(blobs(), VP(), Heat((SIDE, SIDE), 2.0))
    for seed in range(3):
        assert against_the_data(field, seed, solver="ddim", eta=eta) > 0.01
    assert against_the_data(Confused(field.inner), 0, solver="ddim", eta=eta) == 0


def test_the_default_solver_has_the_law_of_the_data():
    assert against_the_data(blurred(blobs(), VP(), Heat((SIDE, SIDE), 2.0)), 0) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "steps", "options"),
    [("default", 30, {}), ("ddim", 100, {"eta": 0.0}), ("ddim", 200, {"eta": 1.0})],
    ids=["default", "ddim", "noisy ddim"],
)
def test_many_samples_have_the_law_of_the_data(solver, steps, options):
    """10,000 draws at the end of the path, three seeds; those of another blur are told apart."""
    field = blurred(blobs(), VP(), Heat((SIDE, SIDE), 2.0))

    def against_fresh_draws(drawn, seed):
        given = {"steps": steps, "seed": seed, "final": "none", **options}
        x = diffode.sample(drawn, 10_000, solver, **given).x
        law = field.corrupt(field.sample(10_000, Rng(100 + seed)), field.span[1], Rng(seed))[0]
        return apart(x, law, 16)

    assert min(against_fresh_draws(field, seed) for seed in range(3)) > 0.01
    assert against_fresh_draws(Confused(field.inner), 0) < 1e-4


def test_a_likelihood_is_that_of_the_path():
    decay = Heat((2,), 1.0)
    data = points(20, event=(2,))
    field = blurred(data, VP(), decay)
    x = field.corrupt(data[:4], field.span[1], Rng(0))[0]
    exact = field.inner.log_marginal(decay.to_basis(x), field.span[1])
    found = diffode.log_prob(field, x, rtol=1e-7, atol=1e-7).nats
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


def test_what_needs_one_level_refuses():
    field = blurred(points(), VP(), Heat((SIDE, SIDE), 2.0))
    for name in ("sde-trig", "sde-dpm++", "churn", "pc", "euler-maruyama", "dpm-single"):
        with pytest.raises(TypeError, match="use trig, ddim"):
            diffode.sample(field, 2, name, nfe=8)
    with pytest.raises(TypeError, match="clock='native'"):
        diffode.sample(field, 2, "dopri5", clock="theta")
    with pytest.raises(TypeError, match="use trig, ddim"):
        diffode.sample(field, 2, "trig", order="variable", nfe=8)
    with pytest.raises(TypeError, match="clock='native'"):
        Rescheduled(field, VP())
    known = blurred(points(), VP(), Heat((SIDE, SIDE), 2.0), labels=torch.arange(40) % 2)
    for read in (field.level, field.rates, classifier_free(known, 2.0).level):
        with pytest.raises(TypeError, match="no number alpha"):
            read(0.5, points(1))
    with pytest.raises(ValueError, match="from 0 at the data"):
        blurred(points(), Karras(), Heat((SIDE, SIDE), 2.0))
    with pytest.raises(ValueError, match="d_min"):
        Heat((SIDE, SIDE), 2.0, 0.0)
    with pytest.raises(ValueError, match="bandwidth"):
        blurred(points(), VP(), Heat((SIDE, SIDE), 2.0), bandwidth=0.1)


def test_a_wrapper_has_the_levels_of_the_field_inside():
    labels = torch.arange(40) % 2
    field = blurred(points(), VP(), Heat((SIDE, SIDE), 2.0), labels=labels)
    guided = classifier_free(field, 1.0)
    y = torch.zeros(5, dtype=torch.long)
    a, b = (diffode.sample(f, 5, y=y, nfe=12).x for f in (field, guided))
    torch.testing.assert_close(a, b)


def test_every_solver_says_whether_it_can():
    from diffode.registry import names

    field = blurred(points(), VP(), Heat((SIDE, SIDE), 2.0))
    for name in names("solver"):
        solver = get_solver(name)
        try:
            solver.check(field)
        except TypeError:
            assert not solver.per_coordinate
        else:
            assert solver.per_coordinate
