"""The measured order of solvers, on flows whose ends are known."""

import itertools
import math

import pytest
import torch
from test_orders import smooth
from test_solvers import Rotation

from diffode.analysis import convergence
from diffode.fields import VP, Field, Karras, Rectified
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.solvers import Solver, get_solver
from tests.samplers import between, clusters


def test_orders_of_a_rotation_against_its_exact_end():
    """Half a turn takes x to -x, in any number of steps."""
    x = Rng(2).normal("x", (4, 2), torch.float64)
    for name, order in {"euler": 1, "heun": 2, "rk4": 4}.items():
        found = convergence(name, Rotation(), (64, 128, 256), x=x, reference=-x)
        assert found.order == pytest.approx(order, abs=0.05)
        assert found.nfe == tuple(k * get_solver(name).nfe_per_step for k in (64, 128, 256))


@pytest.mark.parametrize(("name", "order"), [("heun", 2), ("ddim", 1)])
def test_any_reference_gives_the_same_order(name, order):
    field = smooth(Rectified())
    steps = (16, 32, 64)
    tight = convergence(name, field, steps, n=4)
    own = convergence(name, field, steps, n=4, reference=get_solver(name))
    assert tight.reference.startswith("dopri5-rows")
    assert tight.order == pytest.approx(order, abs=0.15)
    assert own.order == pytest.approx(tight.order, abs=0.1)


def test_the_solver_itself_is_the_reference_where_the_tight_one_stops():
    """A velocity with a jump in time stops no step of Euler's, but every tolerance of 1e-11."""

    class Jumps(Field):
        span, prior, event_shape = (0.0, 1.0), Normal(), (1,)

        def velocity(self, x, t, y=None):
            late = torch.as_tensor(t, dtype=torch.float64) > 1 / math.pi
            return -x * late.to(x).reshape(-1, 1)

    found = convergence("euler", Jumps(), (16, 32, 64), n=2)
    assert found.reference in ("256 steps of its own", "dopri5-rows(rtol=1e-11, atol=1e-11)")
    assert math.isfinite(found.order)


def test_errors_at_rounding_are_left_out():
    x = Rng(3).normal("x", (3, 2), torch.float64)
    found = convergence("rk4", Rotation(), (64, 128, 256, 2048), x=x, reference=-x)
    assert found.used == (64, 128, 256) and len(found.orders) == 2
    assert found.order == pytest.approx(4, abs=0.05) and found.spread < 0.05
    assert str(found).count("left out") == 1
    with pytest.raises(ValueError, match=r"not above the reference's own"):
        convergence("rk4", Rotation(), (2048, 2049), x=x, reference=-x)


def test_errors_before_the_asymptotic_part_are_left_out():
    found = convergence("rk4", smooth(Rectified()), (4, 8, 64, 128), n=4, kind="logsnr")
    assert found.used[0] > 4 and found.steps[-1] in found.used
    assert found.order == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize("name", ["sde-trig", "sde-dpm++"])
def test_a_stochastic_solver_has_its_strong_order_along_a_path(name):
    x = 4 * Rng(5).normal("x", (32, 2), torch.float64)
    found = convergence(
        name, clusters(Karras()), (16, 32, 64), x=x, times=lambda k: between(Karras(), k)
    )
    assert found.strong and found.order == pytest.approx(1, abs=0.3)
    assert "strong order" in str(found) and found.reference.endswith("same Brownian path")


def test_without_noise_it_is_an_ode():
    found = convergence(get_solver("sde-dpm++", order=1, eta=0.0), smooth(VP()), (32, 64), n=2)
    assert not found.strong and found.order == pytest.approx(1, abs=0.15)


class Backwards(Solver):
    """Euler's method with an off-by-one grid: it evaluates at the end of a step."""

    name = "late"

    def states(self, f, x, times, rng):
        for t, t_next in itertools.pairwise(times):
            x = x + (t_next - t) * f.velocity(x, t_next)
            yield x


class Slower(Backwards):
    """Heun's method with a weight forgotten: it does not converge to the flow."""

    def states(self, f, x, times, rng):
        for t, t_next in itertools.pairwise(times):
            x = x + 0.9 * (t_next - t) * f.velocity(x, t)
            yield x


def test_a_wrong_solver_shows():
    x = Rng(4).normal("x", (3, 2), torch.float64)
    steps = (32, 64, 128)
    assert convergence(Slower(), Rotation(), steps, x=x, reference=-x).order < 0.2
    assert convergence(Backwards(), smooth(Rectified()), steps, n=3).order < 1.2


@pytest.mark.parametrize(
    ("solver", "steps", "message"),
    [
        ("dopri5", (8, 16), "dopri5 chooses its own steps; an order needs a fixed-step solver"),
        ("ancestral", (8, 16), "ancestral draws other noise for other steps"),
        ("heun", (8,), r"got steps \(8,\); wanted two or more, rising"),
        ("heun", (16, 8), "wanted two or more, rising"),
        ("hoin", (8, 16), "no solver named 'hoin'"),
    ],
)
def test_refusals(solver, steps, message):
    with pytest.raises(ValueError, match=message):
        convergence(solver, smooth(VP()), steps, n=2)


def test_a_solver_that_cannot_use_the_field_is_refused():
    with pytest.raises(TypeError, match="ddim needs an AffineField"):
        convergence("ddim", Rotation(), (8, 16))
