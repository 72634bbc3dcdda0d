"""A solve step by step is the solve, says where it is, and goes on from changed points."""

import pytest
import torch

from diffode import Rng
from diffode.fields import Field, Karras, Mixture, Rectified
from diffode.priors import Normal, StudentT
from diffode.solvers import Step, get_solver, grid

NAMES = [
    "trig",
    "heun",
    "ddim",
    "dpm++",
    "dopri5",
    "dopri5-rows",
    "rk4",
    "sde-trig",
    "euler-maruyama",
]


def law(schedule=None, noise=None):
    means = torch.tensor(
        [[3.0, 1.0], [5.0, -1.0]]
    ).double()  # far from 0: a clock may leave it out
    stds = torch.tensor([0.5, 0.8]).double()
    return Mixture(torch.ones(2).double(), means, stds, schedule or Karras(0.1, 10.0), noise)


def begun(field, steps=6):
    return field.prior.sample((5, 2), Rng(1), dtype=torch.float64), grid(field, steps, "f1.5")


@pytest.mark.parametrize("schedule", [Karras(0.1, 10.0), Rectified()], ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_its_last_step_is_the_solve(name, schedule):
    field, solver = law(schedule), get_solver(name)
    x, times = begun(field)
    path = solver(field, x, times, rng=Rng(2), path=True).path
    seen = list(solver.iterate(field, x, times, rng=Rng(2)))
    assert [step.k for step in seen] == [1, 2, 3, 4, 5, 6]
    assert all(isinstance(step, Step) and step.x.shape == x.shape for step in seen)
    torch.testing.assert_close(torch.stack([step.x for step in seen]), path[1:])
    t = torch.stack([step.t if step.t.ndim == 0 else step.t[0] for step in seen])
    torch.testing.assert_close(t, times[1:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "dopri5-rows"])
def test_it_says_what_the_data_are_like_at_no_evaluation(name):
    """Tight steps: the estimate at t or before is near that at t, in the field's own state."""
    field, solver, calls = law(), get_solver(name), []
    x, times = begun(field, 200)
    if name == "dopri5":
        solver, times = get_solver(name, rtol=1e-8, atol=1e-8), times[::20]
    field.calls_at = lambda t: calls.append(t) or 1  # asked for each time, not for more
    for step in solver.iterate(field, x, times, rng=Rng(2)):
        if step.k in (len(times) // 2, len(times) - 1):
            near = field.denoise(step.x, step.t)
            gap = float((step.x0 - near).abs().max())
            assert gap < 0.25, (step.k, gap)


def test_a_first_step_from_the_start_says_the_estimate_there():
    for name in ("ddim", "euler"):
        field, solver = law(Rectified()), get_solver(name)
        x, times = begun(field)
        first = next(iter(solver.iterate(field, x, times)))
        torch.testing.assert_close(first.x0, field.denoise(x, times[0]), rtol=1e-9, atol=1e-9)


def test_leaving_the_loop_ends_the_solve():
    class Watched(Mixture):
        asked = 0

        def posterior(self, x, t, y=None):
            Watched.asked += 1
            return super().posterior(x, t, y)

    plain = law()
    field = Watched(torch.ones(1).double(), plain.mean[None], torch.ones(1).double(), Karras())
    x, times = begun(field, 50)
    for step in get_solver("ddim").iterate(field, x, times):
        if step.k == 3:
            break
    assert Watched.asked == 3


@pytest.mark.parametrize("quiet", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in NAMES), ("heun", {"clock": "theta"})]
)
def test_points_changed_in_place_are_where_it_goes_on(name, options, quiet):
    """As if the rest were solved from there; what is only looked at, or kept, changes nothing."""
    field, solver = law(), get_solver(name, **options)
    x, times = begun(field)
    with quiet():
        whole = solver(field, x, times, rng=Rng(2)).x
        seen = list(solver.iterate(field, x, times, rng=Rng(2)))
        for step in solver.iterate(field, x, times, rng=Rng(2)):
            if step.k == 2:
                torch.testing.assert_close(step.x, seen[1].x, rtol=1e-12, atol=1e-12)
                step.x[0] = torch.tensor([7.0, -7.0])
                kept = step.x.clone()
            last = step.x
        rest = solver(field, kept, times[2:], rng=Rng(2).again(2)).x
    torch.testing.assert_close(last, rest, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(seen[-1].x, whole, rtol=1e-12, atol=1e-12)
    assert step.k == 6 and float((last[0] - whole[0]).abs().max()) > 0.1


def test_points_of_which_each_is_at_a_time_of_its_own_are_not_changed():
    field = law(Karras(), StudentT(1.0))
    x, times = begun(field, 8)
    with pytest.raises(ValueError, match="changed that trig has at times of their own; use a so"):
        for step in get_solver("trig").iterate(field, x, times):
            step.x[0] = 0.0
    for step in get_solver("heun").iterate(field, x, times):
        step.x[0] = 0.0


def test_numbers_drawn_anew_are_others():
    first, second = Rng(3), Rng(3).again(1)
    assert not torch.equal(first.normal("z", (4, 2)), second.normal("z", (4, 2)))
    assert torch.equal(first.normal("z", (4, 2)), Rng(3).again(0).normal("z", (4, 2)))
    rows = torch.tensor([2, 0])
    one, other = (Rng(3).rows(rows).again(5), Rng(3).again(5).rows(rows))
    assert torch.equal(one.normal("z", (2, 2)), other.normal("z", (2, 2)))


def test_what_a_call_refuses_is_refused_before_the_first_step():
    field = law()
    x, times = begun(field)
    with pytest.raises(ValueError, match="strictly increasing or decreasing"):
        get_solver("trig").iterate(field, x, times[[0, 0]])
    with pytest.raises(TypeError, match="heun cannot end where sigma is 0"):
        get_solver("heun").iterate(field, x, times, to_zero_noise=True)


def test_rows_with_times_of_their_own_say_them():
    field = law(Karras(), StudentT(1.0))
    x, times = begun(field, 8)
    seen = list(get_solver("trig").iterate(field, x, times))
    assert all(step.t.shape == (5,) for step in seen[:-1]) and seen[-1].t == times[-1]
    assert len({float(t) for t in seen[3].t}) == 5
    solved = get_solver("trig")(field, x, times)
    assert solved.t_per_row is None and torch.equal(solved.x, seen[-1].x)


def test_a_field_with_a_velocity_alone_has_no_estimate():
    class Still(Field):
        span, prior, event_shape = (0.0, 2.0), Normal(), (2,)

        def velocity(self, x, t, y=None):
            return -x

    steps = list(get_solver("heun").iterate(Still(), torch.ones(3, 2), grid(Still(), 4)))
    assert len(steps) == 4 and all(step.x0 is None for step in steps)
