"""Solves that spend their budget or are not finite: they end, and every row says what it is."""

import math

import pytest
import torch

from diffode.fields import VP, Field, Mixture, Rectified
from diffode.likelihood.adjoint import integrate
from diffode.likelihood.density import log_prob
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.sampling.encoding import decode, encode, round_trip
from diffode.solvers import get_solver, grid, names
from diffode.solvers.builtin import ADAPTIVE_RK
from tests.wrappers import FLOWS

ROWS = ["dopri5-rows", "tsit5-rows"]
COUPLED = [*ADAPTIVE_RK, "scipy_solver"]
LIMITED = [*ROWS, *COUPLED]
FEW = {"rtol": 1e-10, "atol": 1e-10}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def law(schedule=None):
    means = tensor([-1.0, 0.0], [2.0, 1.0])
    return Mixture(torch.ones(2), means, tensor(0.2, 0.2), schedule or VP())


class Explosive(Field):
    """x' = 1e30 x: no step is short enough."""

    span, prior, event_shape = (0.0, 1.0), Normal(), (2,)

    def velocity(self, x, t, y=None):
        return 1e30 * x


class Sick(Field):
    """The row that starts furthest out has no velocity after half of the way."""

    span, prior, event_shape = (0.0, 1.0), Normal(), (2,)

    def velocity(self, x, t, y=None):
        late = torch.as_tensor(t).expand(len(x)) > 0.5
        return torch.where((late & (x[:, 0] > 2))[:, None], math.nan, 0.0 * x)


# ------------------------------------------------------------------------------------- the budget


@pytest.mark.parametrize("count", [1, 3, 100])
@pytest.mark.parametrize("name", LIMITED)
def test_the_budget_is_of_the_whole_solve(name, count):
    """However many times between the ends are asked for."""
    field = law()
    x = field.prior.sample((3, 2), Rng(1), dtype=torch.float64)
    solver = get_solver(name, max_nfe=20, **FEW)
    solution = solver(field, x, grid(field, count), path=True)
    assert solution.nfe <= 20 and int(solution.nfe_per_row.max()) <= 20
    assert solution.status.tolist() == [1, 1, 1]
    assert "3 of 3 rows did not finish (budget of" in solution.shortfall()
    assert solution.x.isfinite().all() and torch.equal(solution.path[-1], solution.x)


@pytest.mark.parametrize("name", ROWS)
def test_a_budget_that_suffices_is_not_spent(name):
    field = law()
    x = field.prior.sample((3, 2), Rng(1), dtype=torch.float64)
    for count in (1, 50):
        times = grid(field, count)
        whole = get_solver(name, rtol=1e-3, atol=1e-3)(field, x, times)
        most = int(whole.nfe_per_row.max())
        enough = get_solver(name, rtol=1e-3, atol=1e-3, max_nfe=most)(field, x, times)
        assert enough.status.tolist() == [0, 0, 0] and torch.equal(enough.x, whole.x)
        assert enough.shortfall() == "" and enough.t_per_row is None
        less = get_solver(name, rtol=1e-3, atol=1e-3, max_nfe=most - 1)(field, x, times)
        assert less.status.max() == 1


@pytest.mark.parametrize("clock", ["native", "theta"])
@pytest.mark.parametrize("name", LIMITED)
def test_what_stopped_is_on_the_flow_at_the_time_that_is_stated(name, clock):
    field = law(Rectified())
    x = field.prior.sample((3, 2), Rng(2), dtype=torch.float64)
    loose = {"rtol": 1e-5, "atol": 1e-5, "clock": clock, "max_nfe": 40}
    part = get_solver(name, **loose)(field, x, grid(field, 1))
    assert part.status.tolist() == [1, 1, 1] and part.t_per_row.shape == (3,)
    tight = get_solver("tsit5-rows", **FEW)
    for k in range(3):
        t = float(part.t_per_row[k])
        assert field.span[1] < t < field.span[0]
        true = tight(field, x[k : k + 1], tensor(field.span[0], t)).x
        torch.testing.assert_close(part.x[k : k + 1], true, rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", LIMITED)
def test_an_explosive_velocity_ends(name):
    x = torch.ones(2, 2, dtype=torch.float64)
    solver = get_solver(name, max_nfe=2000)
    try:
        solution = solver(Explosive(), x, tensor(0.0, 1.0))
    except ValueError as error:
        assert "too stiff" in str(error)
    else:
        assert solution.nfe <= 2000 and bool((solution.status > 0).all())
        assert bool((solution.t_per_row < 1e-20).all())


def test_every_method_with_tolerances_has_a_budget():
    for name in names():
        try:
            get_solver(name, rtol=1e-3)
        except ValueError:
            continue
        assert get_solver(name, max_nfe=77).max_nfe == 77
        with pytest.raises(ValueError, match="max_nfe"):
            get_solver(name, max_nfe=0)


def test_the_adjoint_keeps_the_budget_both_ways():
    field = law()
    x = tensor([0.1, 0.2], [1.0, -1.0]).requires_grad_()
    times = tensor(1e-3, 1.0)
    with pytest.raises(ValueError, match=r"did not finish [(]budget of 30 evaluations"):
        integrate(get_solver("dopri5", max_nfe=30, **FEW), field, x, times, gradient="adjoint")
    plain = integrate(get_solver("dopri5"), field, x, times, gradient="adjoint")
    there = get_solver("dopri5", max_nfe=plain.nfe)  # the way back takes more
    end = integrate(there, field, x, times, gradient="adjoint").x
    with pytest.raises(ValueError, match=rf"budget of {plain.nfe} evaluations spent"):
        end.sum().backward()
    plain.x.sum().backward()
    assert x.grad.isfinite().all()


# ----------------------------------------------------------------------------- what depends on it


def test_a_round_trip_of_unfinished_rows_is_no_number():
    field = law()
    x = field.sample(4, Rng(0)).double()
    assert round_trip(field, x, "dopri5-rows", max_nfe=14, **FEW).isnan().all()
    assert round_trip(field, x, "dopri5", max_nfe=14, **FEW).isnan().all()
    whole = round_trip(field, x, "dopri5-rows", rtol=1e-7, atol=1e-7)
    assert bool((whole < 1e-4).all())
    nfe = encode(field, x, "dopri5-rows", rtol=1e-7, atol=1e-7).nfe_per_row
    some = round_trip(field, x, "dopri5-rows", rtol=1e-7, atol=1e-7, max_nfe=int(nfe.min()))
    assert int(some.isnan().sum()) >= 1 and bool((some[~some.isnan()] < 1e-4).all())


def test_a_density_of_unfinished_rows_is_no_number():
    field = law()
    found = log_prob(field, tensor([0.0, 0.0], [2.0, 1.0]), solver="dopri5", max_nfe=20)
    assert found.status.tolist() == [1, 1] and found.nats.isnan().all()


@pytest.mark.parametrize("name", ["dopri5-rows", "dopri5"])
def test_unfinished_rows_are_not_denoised(name):
    field = law()
    raw = sample(field, 4, name, final="none", max_nfe=20, **FEW)
    told = sample(field, 4, name, max_nfe=20, batch=3, path=True, steps=5, **FEW)
    assert told.status.tolist() == [1] * 4 and told.t_per_row.shape == (4,)
    assert bool((told.t_per_row > 0.1).all()) and told.nfe_per_row.max() <= 20
    assert raw.status.tolist() == [1] * 4
    back = decode(field, torch.ones(4, 2), name, final="denoise", max_nfe=20, **FEW)
    assert back.status.tolist() == [1] * 4 and float((back.x - 1).abs().max()) < 1


# ------------------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("name", ["heun", "euler", "rk4", *ROWS])
def test_rows_that_are_not_finite_say_so(name):
    x = tensor([1.0, 0.0], [9.0, 0.0], [0.0, 1.0])
    options = {"rtol": 1e-3, "atol": 1e-3} if name in ROWS else {}
    solution = get_solver(name, **options)(Sick(), x, torch.linspace(0, 1, 9).double())
    assert solution.status.tolist() == [0, 2, 0]
    assert solution.shortfall("samples").startswith("1 of 3 samples are not finite")
    assert solution.x[[0, 2]].isfinite().all()


# ------------------------------------------------------------------------- the path's last is x


@pytest.mark.parametrize("final", ["denoise", "none"])
@pytest.mark.parametrize("name", FLOWS)
def test_a_path_ends_in_x(name, final):
    field = law(Rectified())
    solution = sample(field, 3, name, steps=16, path=True, final=final, grid="native")
    assert torch.equal(solution.path[-1], solution.x) and solution.final == final
    assert len(solution.path) == len(solution.times) == 17
    torch.testing.assert_close(solution.path[0], field.start(3, Rng(0)).x, rtol=1e-5, atol=1e-5)
