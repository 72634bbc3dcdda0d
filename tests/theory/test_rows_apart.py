"""The adaptive method that treats every sample apart: accuracy, independence, status, cost."""

import math

import pytest
import torch

from diffode.fields import VE, VP, Field, Karras, Mixture, PoissonField, Rectified, SubVP
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.solvers import get_solver

NAMES = ["dopri5-rows", "tsit5-rows"]


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def smooth(schedule, noise=None):
    """Three wide Gaussians in the plane."""
    means = tensor([1.0, 0.0], [-1.0, 1.0], [0.0, -1.5])
    return Mixture(tensor(0.5, 0.3, 0.2), means, tensor(0.5, 0.6, 0.4), schedule, noise)


class Rotation(Field):
    """Row i turns at its own rate; a row's answer is exact in closed form."""

    span, prior, event_shape = (0.0, 1.0), Normal(), (2,)

    def __init__(self, rates):
        super().__init__()
        self.rates, self.evaluated = rates, 0

    def rows(self, index):
        part = Rotation(self.rates[index])
        part.parent = getattr(self, "parent", self)
        return part

    def velocity(self, x, t, y=None):
        getattr(self, "parent", self).evaluated += len(x)
        return self.rates[:, None] * x.flip(-1) * x.new_tensor([-1.0, 1.0])


def turned(x, rates):
    c, s = rates.cos()[:, None], rates.sin()[:, None]
    return c * x + s * x.flip(-1) * x.new_tensor([-1.0, 1.0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE(), Karras(), Rectified()], ids=repr)
def test_the_tolerance_is_kept(schedule, tolerance, name):
    field = smooth(schedule)
    x = field.prior.sample((64, 2), Rng(1), dtype=torch.float64)
    times = tensor(*schedule.span)
    exact = get_solver("tsit5-rows", rtol=1e-10, atol=1e-10)(field, x, times).x
    solution = get_solver(name, rtol=tolerance, atol=tolerance)(field, x, times)
    assert float((solution.x - exact).square().mean().sqrt()) <= 10 * tolerance
    assert solution.status.eq(0).all() and solution.t_end == schedule.span[1]


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_know_of_each_other(name):
    field = smooth(Karras())
    x = field.prior.sample((12, 2), Rng(2), dtype=torch.float64)
    times = tensor(80.0, 0.002)
    solver = get_solver(name, rtol=1e-5, atol=1e-5)
    whole = solver(field, x, times)
    for i in (0, 5, 11):
        alone = solver(field, x[i : i + 1], times)
        torch.testing.assert_close(alone.x[0], whole.x[i], rtol=1e-12, atol=1e-12)
        assert alone.nfe == int(whole.nfe_per_row[i])


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_have_arrived_leave_the_batch(name):
    """Two stiff rows in a hundred cost what they cost, and the others nothing more."""
    rates = torch.ones(100, dtype=torch.float64)
    rates[[3, 70]] = 120.0
    x = Rng(3).normal("x", (100, 2), torch.float64)
    field = Rotation(rates)
    solution = get_solver(name, rtol=1e-6, atol=1e-6)(field, x, tensor(0.0, 1.0))
    torch.testing.assert_close(solution.x, turned(x, rates), rtol=0, atol=1e-3)
    together = Rotation(rates)
    coupled = get_solver("dopri5", rtol=1e-6, atol=1e-6)(together, x, tensor(0.0, 1.0))
    assert coupled.status.eq(0).all()
    assert field.evaluated <= 0.5 * together.evaluated
    assert int(solution.nfe_per_row[3]) > 5 * int(solution.nfe_per_row[0])
    assert solution.nfe == int(solution.nfe_per_row.max())


@pytest.mark.parametrize("name", NAMES)
def test_a_spent_budget_is_a_status_and_no_exception(name):
    rates = tensor(1.0, 400.0)
    x = torch.ones(2, 2, dtype=torch.float64)
    solver = get_solver(name, rtol=1e-8, atol=1e-8, max_nfe=200)
    solution = solver(Rotation(rates), x, tensor(0.0, 1.0))
    assert solution.status.tolist() == [0, 1]
    assert int(solution.nfe_per_row[1]) <= 200
    torch.testing.assert_close(solution.x[:1], turned(x, rates)[:1], rtol=0, atol=1e-5)
    assert bool(solution.x.isfinite().all())


class Cliff(Field):
    """Infinite beyond x = 2."""

    span, prior, event_shape = (0.0, 1.0), Normal(), (1,)

    def velocity(self, x, t, y=None):
        return torch.where(x < 2, torch.ones_like(x), math.nan)


@pytest.mark.parametrize("name", NAMES)
def test_a_velocity_that_is_not_finite_stops_its_row_alone(name):
    solution = get_solver(name)(Cliff(), tensor([0.0], [1.5]), tensor(0.0, 1.0))
    assert solution.status.tolist() == [0, 2]
    assert float(solution.x[0]) == pytest.approx(1.0) and bool(solution.x.isfinite().all())


def test_intermediate_times_are_hit_exactly():
    field = smooth(VP())
    x = field.prior.sample((5, 2), Rng(4), dtype=torch.float64)
    times = tensor(1.0, 0.6, 0.3, 0.001)
    solver = get_solver("dopri5-rows", rtol=1e-8, atol=1e-8)
    path = solver(field, x, times, path=True).path
    for k in (1, 2, 3):
        direct = solver(field, x, times[[0, k]]).x
        torch.testing.assert_close(path[k], direct, rtol=0, atol=1e-6)


def test_a_poisson_flow_keeps_its_rows():
    field = PoissonField(smooth(Karras(0.01), StudentT(1.0)))
    start = field.start(6, Rng(5))
    solver = get_solver("dopri5-rows", rtol=1e-6, atol=1e-6)
    times = tensor(*field.span)
    whole = solver(start.field, start.x.double(), times).x
    index = torch.tensor([4, 2])
    part = solver(start.field.rows(index), start.x[index].double(), times).x
    torch.testing.assert_close(part, whole[index], rtol=1e-9, atol=1e-9)


def test_both_ways_and_gradients():
    field = smooth(Karras(0.1, 10.0))
    x = field.prior.sample((4, 2), Rng(6), dtype=torch.float64).requires_grad_()
    solver = get_solver("dopri5-rows", rtol=1e-8, atol=1e-8)
    there = solver(field, x, tensor(10.0, 0.1)).x
    back = solver(field, there, tensor(0.1, 10.0)).x
    torch.testing.assert_close(back, x, rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(there[:, 0].sum(), x)
    step = 1e-4 * torch.ones_like(x)
    with torch.no_grad():
        ends = [solver(field, x + sign * step, tensor(10.0, 0.1)).x[:, 0] for sign in (1, -1)]
    torch.testing.assert_close(
        (gradient * step).sum(1), (ends[0] - ends[1]) / 2, rtol=1e-4, atol=1e-10
    )


def test_sampling_with_it():
    solution = sample(smooth(VP()), 9, "tsit5-rows", seed=7, batch=4)
    assert solution.x.shape == (9, 2) and solution.status.eq(0).all()
    assert solution.nfe_per_row.shape == (9,)
    with pytest.raises(ValueError, match="one step of dopri5-rows takes"):
        get_solver("dopri5-rows", max_nfe=2)
