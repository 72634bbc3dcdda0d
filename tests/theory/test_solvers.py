"""Solvers against exact flows: measured orders, DDIM's identity, one flow on every clock."""

import functools
import itertools
import math

import pytest
import torch
from test_orders import METHODS as MULTISTEP

from diffode.analysis import convergence
from diffode.fields import VE, VP, Cosine, Empirical, Field, Karras, Mixture, Rectified, SubVP
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.sampling import encode, sample
from diffode.solvers import get_solver, grid, names


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


ORDERS = {
    "heun": 2,
    "euler": 1,
    "midpoint": 2,
    "heun2": 2,
    "heun3": 3,
    "rk4": 4,
    "explicit_adams": 4,
}
AFFINE_ORDERS = {"ddim": 1, **ORDERS}
TOLERANT = ["dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun", "scipy_solver"]
SCHEDULES = [VP(), SubVP(), VE(), Karras(), Rectified(), Cosine()]


class Rotation(Field):
    """Rigid rotation by half a turn, x' = J x: the smallest field."""

    span, prior, event_shape = (0.0, math.pi), Normal(), (2,)

    def velocity(self, x, t, y=None):
        return x.flip(-1) * x.new_tensor([-1.0, 1.0])


class LevelClock(Field):
    """An affine field in its canonical form: y = x / alpha moves in rho by dy/drho = E[n | y]."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.prior, self.event_shape = inner, None, inner.event_shape

    def velocity(self, x, t, y=None):
        time = self.inner.schedule.time(t)
        return self.inner.noise_part(x * self.inner.schedule.alpha(time), time)


class LogClock(Field):
    """A field on Karras' schedule in the clock log z."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.prior, self.event_shape = inner, None, inner.event_shape

    def velocity(self, x, t, y=None):
        return t.exp() * self.inner.velocity(x, t.exp())


def smooth(schedule, noise=None):
    """Three wide Gaussians in the plane."""
    means = tensor([1.0, 0.0], [-1.0, 1.0], [0.0, -1.5])
    return Mixture(tensor(0.5, 0.3, 0.2), means, tensor(0.5, 0.6, 0.4), schedule, noise)


def charges(sigma_max=80.0):
    """PFGM's exact field of four charges."""
    points = tensor([0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [-4.0, -4.0])
    p = tensor(0.5, 0.25, 0.15, 0.1)
    return Empirical(points, Karras(1e-3, sigma_max), StudentT(1.0), weights=p)


Y = 4 * tensor([1.0, 2.0], [-0.3, 0.5], [0.0, -1.0])  # points at rho = 4, in units of alpha


@functools.cache
def reference(schedule):
    """Where the points Y go, from rho = 4 to .3."""
    field, times = smooth(schedule), schedule.time(tensor(4.0, 0.3))
    solver = get_solver("dopri8", rtol=1e-9, atol=1e-9)
    return solver(field, Y * schedule.alpha(times[0]), times).x


def measured(errors):
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


# ----------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize("name", ORDERS)
def test_order_on_a_rotation(name):
    x = Rng(1).normal("x", (3, 2), torch.float64)
    found = convergence(name, Rotation(), (40, 80), x=x, reference=-x)
    assert found.order == pytest.approx(ORDERS[name], abs=0.06)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [(name, Karras()) for name in AFFINE_ORDERS if name != "explicit_adams"]
    + [(name, Rectified()) for name in ("ddim", "heun")],
    ids=repr,
)
def test_order_on_a_mixture(name, schedule):
    field, order, errors = smooth(schedule), AFFINE_ORDERS[name], []
    for steps in (40, 80) if order < 3 else (20, 40):
        rho = torch.logspace(*tensor(4.0, 0.3).log10().tolist(), steps + 1, dtype=torch.float64)
        times = schedule.time(rho)
        end = get_solver(name)(field, Y * schedule.alpha(times[0]), times).x
        errors.append(float((end - reference(schedule)).abs().max()))
    assert measured(errors) == pytest.approx([order], abs=0.05 if order < 3 else 0.1)


def test_errors_on_four_charges_are_the_tabulated_ones():
    """x0 = (25, -13) from z = 40 to .3 in steps of equal ratio."""
    field, x = charges(), tensor([25.0, -13.0])
    ends = tensor(40.0, 0.3)
    exact = get_solver("dopri8", rtol=1e-9, atol=1e-9)(field, x, ends).x

    def error(name, steps):
        times = torch.logspace(*ends.log10().tolist(), steps + 1, dtype=torch.float64)
        return float((get_solver(name)(field, x, times).x - exact).norm())

    euler = [error("euler", n) for n in (20, 40, 80, 160)]
    heun = [error("heun", n) for n in (20, 40, 80)]
    assert euler == pytest.approx([0.242, 0.104, 0.0479, 0.0230], rel=0.005)
    assert heun == pytest.approx([0.0197, 0.00487, 0.00121], rel=0.01)
    assert error("ddim", 40) == pytest.approx(euler[1], rel=1e-9)


def test_the_logarithmic_clock_halves_the_cost():
    """Runge-Kutta of order 5 at tolerance 1e-4 down to z = 1e-3, to the same point."""
    field, x, ends = charges(), tensor([25.0, -13.0]), tensor(40.0, 1e-3)
    solver = get_solver("dopri5", rtol=1e-4, atol=1e-4)
    plain, log = solver(field, x, ends), solver(LogClock(field), x, ends.log())
    assert log.nfe <= 0.5 * plain.nfe
    torch.testing.assert_close(log.x, plain.x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", TOLERANT)
def test_adaptive_methods_keep_their_tolerance(name):
    """On the EDM clock, where they are silently wrong if they may step over the end."""
    exact, loose = karras("dopri8", 1e-8), karras(name, 1e-2)
    tight = karras(name, 1e-4 if name == "adaptive_heun" else 1e-6)
    assert float((tight.x - exact.x).abs().max()) < 1e-3
    assert loose.nfe < tight.nfe


@functools.cache
def karras(name, tolerance):
    field, times = smooth(Karras(0.002, 80.0)), tensor(80.0, 0.002)
    x = 80 * Rng(2).normal("x", (4, 2), torch.float64)
    return get_solver(name, rtol=tolerance, atol=tolerance)(field, x, times)


# ----------------------------------------------------------------------------- one flow, any clock


@pytest.mark.parametrize("noise", [Normal(), StudentT(1.0), StudentT(9.0)], ids=repr)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_ddim_is_euler_in_the_level(schedule, noise):
    """y = x / alpha in rho = sigma / alpha, to rounding."""
    field = smooth(schedule, noise)
    rho = torch.logspace(*tensor(4.0, 0.1).log10().tolist(), 9, dtype=torch.float64)
    times = schedule.time(rho)
    y = get_solver("euler")(LevelClock(field), Y, rho).x
    x = get_solver("ddim")(field, Y * schedule.alpha(times[0]), times).x
    torch.testing.assert_close(x / schedule.alpha(times[-1]), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES[1:], ids=repr)
def test_a_change_of_schedule_is_a_change_of_clock(schedule):
    """From equal x / alpha at equal sigma / alpha all schedules reach the same point."""
    scale, first = schedule.alpha(schedule.time(tensor(0.3))), SCHEDULES[0]
    same = reference(first) / first.alpha(first.time(tensor(0.3)))
    torch.testing.assert_close(reference(schedule) / scale, same, rtol=0, atol=1e-8)


def test_student_t_noise_is_another_flow():
    fields = smooth(Karras(0.3, 4.0)), smooth(Karras(0.3, 4.0), StudentT(1.0))
    normal, heavy = (get_solver("heun")(f, Y, grid(f, 10, "karras")).x for f in fields)
    assert (normal - heavy).abs().max() > 0.05


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_forward_and_backward_return(schedule):
    x = Rng(3).normal("x", (5, 2), torch.float64)
    field = smooth(schedule)
    latent = encode(field, x, "dopri8", rtol=1e-6, atol=1e-6)
    assert latent.t_end == schedule.span[0] and latent.times[0] == schedule.span[1]
    times = latent.times.flip(0)
    back = get_solver("dopri8", rtol=1e-6, atol=1e-6)(field, latent.x, times).x
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    assert (latent.x - x).abs().max() > 0.05


@pytest.mark.parametrize("name", ["heun", "ddim", "rk4"])
def test_the_flow_carries_laws_to_laws(name):
    """Draws of a Gaussian end as draws of the prior, and the prior's as those of the Gaussian."""
    field = Mixture(tensor(1.0), tensor([1.0]), tensor(0.7), Rectified())
    x = field.sample(8000, Rng(4))
    z = encode(field, x, name, steps=120).x
    assert float(z.std()) == pytest.approx(1, abs=0.06) and abs(float(z.mean())) < 0.08
    end = sample(field, 8000, name, steps=120, final="none").x
    assert float(end.std()) == pytest.approx(0.7, abs=0.05) and abs(float(end.mean()) - 1) < 0.06


# ------------------------------------------------------------------------------- stochastic steps


def test_ancestral_steps_have_the_forward_chains_covariance():
    """Data at one point, eta = 1: two steps' noises correlate as rho' / rho; eta = 0: as 1."""
    field = Empirical(tensor([0.6]), VP())
    times = VP().time(tensor(3.0, 1.2, 0.5))
    alpha, sigma = VP().alpha(times), VP().sigma(times)
    x = alpha[0] * 0.6 + sigma[0] * Rng(5).normal("x", (20_000, 1), torch.float64)
    for eta, expected in ((1.0, tensor(0.4, 0.5 / 1.2)), (0.0, tensor(1.0, 1.0))):
        path = get_solver("ddim", eta=eta)(field, x, times, rng=Rng(6), path=True).path
        noise = (path.squeeze(2) - 0.6 * alpha[:, None]) / sigma[:, None]
        c = noise.cov()
        torch.testing.assert_close(c.diagonal(), torch.ones(3).double(), rtol=0, atol=0.04)
        torch.testing.assert_close(c.diagonal(1), expected, rtol=0, atol=0.03)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_gives_a_gaussian_its_variance(eta):
    field = Mixture(tensor(1.0), tensor([1.0]), tensor(0.7), VP())
    x = sample(field, 4000, "ddim", steps=300, eta=eta, seed=7, final="none").x
    assert abs(float(x.mean()) - 1) < 0.04 and float(x.std()) == pytest.approx(0.7, rel=0.04)


def test_the_names_of_all_solvers_are_tested_here():
    elsewhere = {name for name, *_ in MULTISTEP} | {"dpm-single"}
    elsewhere |= {"ancestral", "euler-maruyama", "pc", "churn", "sde-dpm++", "sde-trig"}
    elsewhere |= {"dopri5-rows", "tsit5-rows", "jump", "revise", "sde-interpolant"}
    assert {*AFFINE_ORDERS, *TOLERANT, "implicit_adams", *elsewhere} == set(names())


def test_implicit_adams_is_accurate_at_few_steps():
    x = Rng(8).normal("x", (3, 2), torch.float64)
    solver = get_solver("implicit_adams", rtol=1e-9, atol=1e-9)
    end = solver(Rotation(), x, grid(Rotation(), 80)).x
    assert float((end + x).abs().max()) < 1e-6
