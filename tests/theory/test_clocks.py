"""One flow on any clock: `rescheduled` fields and the solvers' clocks."""

import pytest
import torch

from diffode.fields import (
    VE,
    VP,
    Cosine,
    DiscreteBetas,
    Field,
    Karras,
    Mixture,
    PoissonField,
    Rectified,
    SubVP,
    rescheduled,
)
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver
from diffode.testing import CHECKS, check_field

BETAS = torch.linspace(1e-3, 0.2, 40, dtype=torch.float64)
SCHEDULES = [VP(), SubVP(), VE(), Karras(), Rectified(), Cosine(), DiscreteBetas(BETAS)]
FINITE = [s for s in SCHEDULES if not isinstance(s, Rectified | Cosine)]
CLOCKS = ["rho", "logsnr", "inverse", "theta"]


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def smooth(schedule, noise=None):
    """Three wide Gaussians in the plane, off the origin."""
    means = tensor([2.0, 1.0], [0.0, 2.0], [1.0, -0.5])
    return Mixture(tensor(0.5, 0.3, 0.2), means, tensor(0.5, 0.6, 0.4), schedule, noise)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("clock", CLOCKS)
def test_the_velocity_is_the_same_curve(clock, schedule):
    """x' = enter(x): its velocity is the derivative of enter along the field's own velocity."""
    field = smooth(schedule)
    if schedule not in FINITE and clock in ("rho", "logsnr"):
        if isinstance(schedule, Rectified):
            with pytest.raises(ValueError, match="use the clock 'theta'"):
                rescheduled(field, clock)
        return
    moved = rescheduled(field, clock)
    x = field.prior.sample((4, 2), Rng(1), dtype=torch.float64) / 3
    first, last = field.span
    t = tensor(first + 0.45 * (last - first))[0]
    v = field.velocity(x, t)
    state, rate = torch.func.jvp(moved.to_state, (x, t), (v, torch.ones_like(t)))
    _, speed = torch.func.jvp(moved.times, (t,), (torch.ones_like(t),))
    torch.testing.assert_close(
        moved.velocity(state, moved.times(t)) * speed, rate, rtol=1e-8, atol=1e-9
    )
    torch.testing.assert_close(moved.from_state(state, moved.times(t)), x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("noise", [Normal(), StudentT(3.0)], ids=repr)
def test_solving_in_any_clock_ends_at_the_same_point(noise, clock):
    field = smooth(Karras(0.05, 20.0), noise)
    x = field.prior.sample((4, 2), Rng(2), dtype=torch.float64)
    times = tensor(*field.span)
    own = get_solver("dopri5", rtol=1e-8, atol=1e-8, clock="native")(field, x, times)
    other = get_solver("dopri5", rtol=1e-8, atol=1e-8, clock=clock)(field, x, times)
    torch.testing.assert_close(other.x, own.x, rtol=0, atol=1e-5)
    assert other.t_end == own.t_end == 0.05


def test_the_angle_leaves_a_gaussian_at_rest():
    field = Mixture(tensor(1.0), tensor([1.0, -2.0]), tensor(0.7), VP())
    moved = rescheduled(field, "theta")
    x = 3 * Rng(3).normal("x", (5, 2), torch.float64)
    for share in (0.0, 0.3, 0.9, 1.0):
        t = moved.span[0] + share * (moved.span[1] - moved.span[0])
        assert float(moved.velocity(x, t).abs().max()) < 1e-9


def test_a_schedule_can_be_exchanged_for_another():
    """A VP field on Karras' clock has the posterior of the same mixture's Karras field."""
    field = smooth(VP())
    moved, plain = rescheduled(field, Karras()), smooth(Karras())
    x = Rng(4).normal("x", (5, 2), torch.float64)
    for mine, theirs in zip(moved.posterior(x, 0.7), plain.posterior(x, 0.7), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
    assert moved.span[0] == pytest.approx(float(VP().rho(tensor(1.0))))


@pytest.mark.parametrize("schedule", [VP(), Karras(), Rectified()], ids=repr)
def test_a_rescheduled_field_keeps_the_contract(schedule):
    moved = rescheduled(smooth(schedule), "theta")
    assert len(check_field(moved)) == len(CHECKS)


def test_a_bound_poisson_field_keeps_its_rows():
    plane = PoissonField(smooth(Karras(0.05, 20.0), StudentT(1.0)))
    start = plane.start(6, Rng(5))
    moved = rescheduled(start.field, "theta")
    assert moved.prior is None
    x, t = moved.to_state(start.x.double(), 20.0), moved.span[0]
    index = torch.tensor([4, 1])
    whole, part = moved.velocity(x, t), moved.rows(index).velocity(x[index], t)
    torch.testing.assert_close(part, whole[index])
    again, field = rescheduled(plane, "theta").start(6, Rng(5))
    torch.testing.assert_close(again.double(), x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(field.velocity(x, t), whole)


def test_the_default_clock_of_adaptive_methods_saves_evaluations():
    field = smooth(Karras())
    x = field.prior.sample((16, 2), Rng(6), dtype=torch.float64)
    times = tensor(*field.span)
    auto, native = (
        get_solver("dopri5", rtol=1e-4, atol=1e-4, **o)(field, x, times)
        for o in ({}, {"clock": "native"})
    )
    assert auto.nfe < 0.4 * native.nfe
    torch.testing.assert_close(auto.x, native.x, rtol=0, atol=5e-3)


class Still(Field):
    span, prior, event_shape = (0.0, 1.0), Normal(), (2,)

    def velocity(self, x, t, y=None):
        return 0 * x


def test_refusals():
    with pytest.raises(TypeError, match="Still has no schedule to exchange"):
        rescheduled(Still(), "theta")
    with pytest.raises(ValueError, match="no clock named 'sun'; clocks: native, rho"):
        rescheduled(smooth(VP()), "sun")
    assert rescheduled(Still(), "native").span == (0.0, 1.0)
    assert get_solver("dopri5")(Still(), torch.ones(1, 2), tensor(0.0, 1.0)).x.tolist() == [[1, 1]]
