"""Time grids: exact ends, one meaning on every schedule."""

import math

import pytest
import torch

from diffode.fields import (
    VE,
    VP,
    Cosine,
    DiscreteBetas,
    Empirical,
    Field,
    Karras,
    Rectified,
    SubVP,
)
from diffode.priors import Normal
from diffode.solvers import grid
from diffode.solvers.grids import SPACINGS, names
from diffode.solvers.mixed import Mixed

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
SCHEDULES = [VP(), SubVP(), VE(), Karras(), Rectified(), Cosine(), DiscreteBetas(BETAS)]
each = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
each_kind = pytest.mark.parametrize("kind", names())


def field(schedule):
    return Empirical(torch.eye(2), schedule)


def ends(schedule):
    return torch.tensor(schedule.span, dtype=torch.float64)


def mixed_measure(rho, rho_max, rho_data, steps):
    """f1.5 about c, and, a part that grows with the steps, log(1 + rho / rho_data)."""
    part, data = min(0.2, steps / 400), max(rho_data, 1e-4 * field(VP()).moments[1])
    logs = (1 + rho / data).log() / math.log(1 + min(rho_max, 999) / data)
    c = 0.9 * 0.5**0.25 * 0.5**0.375  # two points: s is .5, and on their only axis root .5
    return (1 - part) * (rho / (c + rho)) ** (2 / 3) + part * logs


@each
@each_kind
@pytest.mark.parametrize("steps", [1, 2, 17])
def test_grids_run_from_end_to_end(schedule, kind, steps):
    times = grid(field(schedule), steps, kind)
    assert times.shape == (steps + 1,) and times.dtype == torch.float64
    assert (float(times[0]), float(times[-1])) == schedule.span
    assert times.isfinite().all()
    forward = schedule.span[1] > schedule.span[0]
    assert (times.diff() > 0).all() if forward else (times.diff() < 0).all()


@each
def test_native_steps_are_equal(schedule):
    steps = grid(field(schedule), 11).diff()
    torch.testing.assert_close(steps, steps[:1].expand(11), rtol=1e-9, atol=0)


@each
@pytest.mark.parametrize("kind", [k for k in names() if k != "native"])
def test_a_grid_is_uniform_in_its_own_measure(schedule, kind):
    """Between the ends, and to the cap where alpha reaches 0."""
    times = grid(field(schedule), 12, kind)

    measure = {
        "logsnr": lambda rho: rho.log(),
        "karras": lambda rho: rho ** (1 / 7),
        "t2": lambda rho: VP().time(rho).sqrt(),
        "theta": lambda rho: torch.atan(rho / field(schedule).moments[1]),
        "f1.5": lambda rho: (rho / (1 + rho)) ** (2 / 3),
        "mixed": lambda rho: mixed_measure(rho, *schedule.rho(ends(schedule)).tolist(), 12),
    }[kind](schedule.rho(times)[1:])
    steps = measure.diff()
    torch.testing.assert_close(steps, steps[:1].expand(11), rtol=1e-6, atol=1e-9)


@each
@pytest.mark.parametrize("steps", [35, 100, 300])
def test_many_steps_of_the_mixed_grid_are_partly_even_in_log_rho(schedule, steps):
    """Above the data's level and below the cap the measure is f1.5's and the logarithm's."""
    times = grid(field(schedule), steps, "mixed")
    rho = schedule.rho(times)[1:]
    widths = mixed_measure(rho, *schedule.rho(ends(schedule)).tolist(), steps).diff()
    torch.testing.assert_close(widths, widths[:1].expand(steps - 1), rtol=1e-6, atol=1e-12)


def test_a_path_without_noise_at_its_end_has_a_mixed_grid():
    """sigma is 0 at t_data: the logarithm counts from a ten-thousandth of the data's spread."""

    class ToZero(Karras):
        span = (80.0, 0.0)

        def __init__(self):
            pass

    times = grid(field(ToZero()), 40, "mixed")
    assert float(times[-1]) == 0 and bool((times.diff() < 0).all()) and times.isfinite().all()
    assert 1e-6 < float(times[-2]) < 0.05


def test_the_mixed_measure_is_inverted_to_rounding():
    for steps, low, high in [(1, 2e-3, 80.0), (50, 1e-6, 999.0), (1000, 0.5, 157.0)]:
        mixed = Mixed.of(steps, low, high)
        rho = torch.logspace(-9, 4, 60, dtype=torch.float64)
        there = mixed.warp(rho)
        torch.testing.assert_close(mixed.inverse(there), rho, rtol=1e-9, atol=0)
        rows = mixed.inverse(torch.stack((there, there.flip(0)), 1))
        torch.testing.assert_close(rows[:, 1].flip(0), rho, rtol=1e-9, atol=0)
    zero = mixed.inverse(torch.zeros(1, dtype=torch.float64))
    assert bool(zero.isfinite().all()) and 0 <= float(zero) < 1e-100


def test_the_karras_grid_is_the_papers():
    """The first and last noise levels of EDM's 18 steps, as its code prints them."""
    times = grid(field(Karras()), 17, "karras")
    assert times[[0, 1, 2, 16, 17]].tolist() == pytest.approx(
        [80, 57.59, 40.79, 0.0075, 0.002], rel=5e-3
    )


def test_grids_of_two_clocks_are_the_same_levels():
    """Where both schedules hold the ends in common, the levels are equal."""
    low, high = VP().rho(torch.tensor([1e-3, 1.0], dtype=torch.float64)).tolist()
    slow = Karras(low, high)
    for kind in SPACINGS:
        levels = VP().rho(grid(field(VP()), 9, kind))
        torch.testing.assert_close(levels, grid(field(slow), 9, kind), rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [0, -3])
def test_a_grid_has_a_step(steps):
    with pytest.raises(ValueError, match=f"got {steps} steps; a grid has at least 1"):
        grid(field(VP()), steps)


def test_an_unknown_grid_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"named 'karas'; did you mean 'karras'\? grids: native, logsnr, karras"
    ):
        grid(field(VP()), 3, "karas")


def test_a_field_without_a_schedule_has_its_own_clock_only():
    class Still(Field):
        span, prior, event_shape = (0.0, 2.0), Normal(), (2,)

    assert grid(Still(), 2).tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(
        TypeError, match="'karras' needs a schedule, which Still has not; use 'nat"
    ):
        grid(Still(), 2, "karras")
