"""Schedules: clocks that invert, rates by finite differences, relations between the papers'."""

import math

import pytest
import torch

from diffode import registry
from diffode.fields import VE, VP, Cosine, DiscreteBetas, Karras, Rectified, Schedule, SubVP
from diffode.fields.named import named_schedule

DDPM = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
NAMED = [named_schedule(name) for name in registry.names("schedule")]  # a new one is tested too
SCHEDULES = [
    *NAMED,
    VP(0.2, 8.0),
    VE(0.1, 5.0),
    DiscreteBetas(DDPM),
    DiscreteBetas([0.3, 0.1, 0.9]),
]
each = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


def inside(schedule, count=9):
    """Times inside the span, off the integers."""
    first, last = schedule.span
    return first + (last - first) * torch.linspace(0.013, 0.979, count, dtype=torch.float64)


@each
def test_time_inverts_rho(schedule):
    t = torch.cat((torch.tensor(schedule.span, dtype=torch.float64), inside(schedule)))
    torch.testing.assert_close(schedule.time(schedule.rho(t)), t, rtol=1e-9, atol=1e-9)


@each
def test_rho_inverts_time(schedule):
    ends = schedule.rho(torch.tensor(schedule.span, dtype=torch.float64)).log().clamp_max(9)
    rho = torch.linspace(*ends.tolist(), 7, dtype=torch.float64).exp()
    torch.testing.assert_close(schedule.rho(schedule.time(rho)), rho, rtol=1e-9, atol=0)


@each
def test_rho_falls_along_the_span(schedule):
    """From the prior to the data; the time may run either way."""
    first, last = schedule.span
    t = torch.linspace(first, last, 200, dtype=torch.float64)
    assert (schedule.rho(t).diff() < 0).all()
    assert (schedule.alpha(t).diff() >= 0).all() and (schedule.sigma(t).diff() < 0).all()


@each
def test_rates_are_derivatives(schedule):
    t = inside(schedule)
    h = 1e-5 * t
    alpha, sigma, d_alpha, d_sigma = schedule.rates(t)
    for value, rate, f in ((alpha, d_alpha, schedule.alpha), (sigma, d_sigma, schedule.sigma)):
        assert torch.equal(value, f(t))
        difference = (f(t + h) - f(t - h)) / (2 * h)
        torch.testing.assert_close(rate, difference, rtol=1e-7, atol=1e-9)


@each
def test_rates_written_out_are_those_by_differentiation(schedule):
    """Schedule.rates serves a schedule of two lines."""
    for t in (inside(schedule), inside(schedule)[3]):
        for a, b in zip(schedule.rates(t), Schedule.rates(schedule, t), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@each
def test_time_written_out_is_that_by_bisection(schedule):
    """Schedule.time serves a schedule of two lines."""
    for t in (torch.tensor(schedule.span, dtype=torch.float64), inside(schedule)):
        rho = schedule.rho(t)
        torch.testing.assert_close(Schedule.time(schedule, rho), t, rtol=1e-9, atol=1e-9)
    nothing = torch.tensor([math.inf, 0.0], dtype=torch.float64)
    assert Schedule.time(schedule, nothing).tolist() == list(schedule.span)


def test_rates_by_differentiation_take_one_time_expanded_to_all_rows():
    t = torch.tensor(0.3, dtype=torch.float64)
    for a, b in zip(Schedule.rates(VP(), t.expand(4)), VP().rates(t), strict=True):
        torch.testing.assert_close(a, b.expand(4))


@each
def test_rates_are_finite_on_the_whole_span(schedule):
    t = torch.tensor(schedule.span, dtype=torch.float64)
    with torch.no_grad():
        assert all(v.isfinite().all() for v in schedule.rates(t))
        assert all(v.shape == () for v in schedule.rates(t[0]))


@each
def test_levels_are_float64_of_the_shape_of_t(schedule):
    for t in (inside(schedule), inside(schedule)[0]):
        assert schedule.alpha(t).shape == schedule.sigma(t).shape == t.shape
        assert schedule.time(schedule.rho(t)).shape == t.shape
        assert schedule.alpha(t).dtype == schedule.sigma(t).dtype == torch.float64


# ------------------------------------------------------------------ what the papers say of theirs


def test_vp_does_not_reach_alpha_zero():
    """exp(-(beta_min + beta_max) / 4) = exp(-5.025)."""
    assert float(VP().alpha(torch.tensor(1.0).double())) == pytest.approx(0.0066, abs=5e-5)


@pytest.mark.parametrize("kind", [VP(), Cosine(), DiscreteBetas(DDPM)], ids=repr)
def test_variance_is_preserved(kind):
    t = inside(kind)
    one = kind.alpha(t) ** 2 + kind.sigma(t) ** 2
    torch.testing.assert_close(one, torch.ones_like(one), rtol=1e-13, atol=0)


def test_vp_decays_at_the_linear_rate_beta():
    """d log alpha / dt = -beta(t) / 2, the drift of the forward equation."""
    t = inside(VP())
    alpha, _, d_alpha, _ = VP(0.3, 7.0).rates(t)
    torch.testing.assert_close(-2 * d_alpha / alpha, 0.3 + 6.7 * t, rtol=1e-12, atol=0)


def test_sub_vp_has_the_square_of_vps_noise():
    t = inside(VP())
    assert torch.equal(SubVP().alpha(t), VP().alpha(t))
    torch.testing.assert_close(SubVP().sigma(t), VP().sigma(t) ** 2, rtol=1e-12, atol=0)


def test_discrete_betas_are_ddpm_at_the_integers():
    kind, t = DiscreteBetas(DDPM), torch.arange(1000, dtype=torch.float64)
    product = (1 - DDPM).cumprod(0)
    torch.testing.assert_close(kind.alpha(t), product.sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(kind.sigma(t), (1 - product).sqrt(), rtol=1e-11, atol=0)
    assert kind.span == (999.0, 0.0)


def test_discrete_betas_are_geometric_between_the_integers():
    kind = DiscreteBetas(DDPM)
    low, middle, high = kind.rho(torch.tensor([411.0, 411.5, 412.0], dtype=torch.float64))
    assert float(middle) == pytest.approx(math.sqrt(low * high), rel=1e-12)
    assert float(middle) != pytest.approx(float(low + high) / 2, rel=1e-9)


def test_ddpms_chain_is_vp_made_discrete():
    """beta_i = beta(i / 1000) / 1000: the two agree to the size of a step."""
    t = torch.arange(99, 1000, 100, dtype=torch.float64)
    torch.testing.assert_close(
        DiscreteBetas(DDPM).rho(t).log(), VP().rho((t + 1) / 1000).log(), rtol=0.02, atol=0.01
    )


def test_spans_are_the_papers():
    spans = {kind: kind().span for kind in (VP, SubVP, VE, Karras, Rectified, Cosine)}
    assert spans == {
        VP: (1.0, 1e-3),
        SubVP: (1.0, 1e-3),
        VE: (1.0, 0.0),
        Karras: (80.0, 0.002),
        Rectified: (1.0, 1e-3),
        Cosine: (1.0, 1e-3),
    }
    assert Karras(0.1, 7.0).span == (7.0, 0.1)
    ends = VE(0.02, 40.0).sigma(torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([40.0, 0.02], dtype=torch.float64))


@pytest.mark.parametrize("kind", [Rectified(), Cosine()], ids=repr)
def test_pure_noise_is_a_time(kind):
    """Where alpha reaches 0 rho is infinite, and its time is the prior's end."""
    assert float(kind.alpha(torch.tensor(1.0).double())) == pytest.approx(0, abs=1e-14)
    assert float(kind.time(torch.tensor(math.inf))) == 1.0


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "betas", [[], [0.1], [0.1, 1.0], [0.0, 0.1], [0.1, math.nan], [[0.1, 0.2]], [-0.1, 0.2]]
)
def test_betas_outside_the_open_unit_interval_are_refused(betas):
    with pytest.raises(ValueError, match=r"got betas of shape .*wanted T >= 2 values in \(0, 1\)"):
        DiscreteBetas(betas)


@pytest.mark.parametrize("kind", [VP, SubVP, VE, Karras])
@pytest.mark.parametrize("ends", [(2.0, 1.0), (0.0, 1.0), (1.0, 1.0), (-1.0, 1.0), (1, math.inf)])
def test_ends_out_of_order_are_refused(kind, ends):
    message = rf"got \w+_min, \w+_max = {ends[0]}, {ends[1]}; wanted 0 < first < second"
    with pytest.raises(ValueError, match=message):
        kind(*ends)


def test_schedules_print_what_they_are():
    assert repr(VP()) == "VP(beta_min=0.1, beta_max=20)"
    assert repr(Karras()) == "Karras(sigma_min=0.002, sigma_max=80)"
    assert (
        repr(Rectified()) == "Rectified()" and repr(DiscreteBetas(DDPM)) == "DiscreteBetas(T=1000)"
    )
