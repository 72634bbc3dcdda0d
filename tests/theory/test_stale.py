"""What was computed for one schedule never answers for another, whatever object holds it."""

import pytest
import torch

from diffode import Rng, sample
from diffode.fields import VE, VP, DiscreteBetas, Karras, Mixture, Rectified, Schedule
from diffode.solvers import get_solver, grid
from diffode.solvers.multistep import _shared_table
from tests.wrappers import ClassifierFree

METHODS = ("trig", "dpm++", "dpm", "unipc", "deis", "ab", "ddim", "heun", "dpm-single")


class Power(Schedule):
    """A schedule of a user's own: a straight path on a clock of some power."""

    span = (1.0, 0.01)

    def __init__(self, power):
        self.power = power

    def alpha(self, t):
        return 1 - t**self.power

    def sigma(self, t):
        return t**self.power

    def time(self, rho):
        return (rho / (1 + rho)) ** (1 / self.power)


def law(schedule):
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]).double()
    return Mixture(torch.tensor([0.3, 0.7]), means, torch.tensor([0.3, 0.4]), schedule)


def end(name, schedule):
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    field, solver = law(schedule), get_solver(name)
    return solver(field, x, grid(field, 8, "native")).x


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("make", "attribute", "value"),
    [
        (lambda v: VP(beta_max=v), "beta_max", (20.0, 5.0)),
        (Power, "power", (1.0, 2.0)),
    ],
    ids=["VP", "own"],
)
def test_a_schedule_that_changed_is_solved_as_it_is_now(name, make, attribute, value):
    schedule = make(value[0])
    before = end(name, schedule)
    setattr(schedule, attribute, value[1])
    after = end(name, schedule)
    assert torch.equal(after, end(name, make(value[1])))
    assert not torch.allclose(after, before, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "fresh"),
    [
        (lambda s: setattr(s, "beta_max", 5.0), VP(beta_max=5.0)),
        (lambda s: setattr(s, "sigma_max", 3.0), VE(sigma_max=3.0)),
        (lambda s: setattr(s, "span", (3.0, 0.01)), Karras(0.01, 3.0)),
        (lambda s: setattr(s, "span", (0.9, 0.1)), Rectified()),
    ],
    ids=["VP", "VE", "Karras", "Rectified"],
)
def test_prior_and_span_are_those_of_the_schedule_as_it_is_now(change, fresh):
    field = law(type(fresh)())
    wrapped = ClassifierFree(field, 1.0)
    before = field.prior.scale
    change(field.schedule)
    fresh.span = field.schedule.span if isinstance(fresh, Rectified) else fresh.span
    for now in (field, wrapped):
        assert now.span == fresh.span and now.signal == law(fresh).signal
        assert now.prior.scale == law(fresh).prior.scale != before
        assert torch.equal(now.prior.loc, law(fresh).prior.loc)
        assert torch.equal(now.start(3, Rng(0)).x, law(fresh).start(3, Rng(0)).x)
    assert torch.equal(sample(field, 3, steps=4).x, sample(law(fresh), 3, steps=4).x)


def test_the_ends_of_the_karras_span_are_stated_once():
    schedule = Karras()
    schedule.span = (3.0, 0.01)
    assert repr(schedule) == repr(Karras(0.01, 3.0)) == "Karras(sigma_min=0.01, sigma_max=3)"
    with pytest.raises(AttributeError):
        schedule.sigma_max = 5.0


def test_a_table_is_changed_in_place():
    chain = DiscreteBetas(torch.linspace(1e-3, 0.2, 50))
    end("deis", chain)
    chain._log_rho += 0.5
    fresh = DiscreteBetas(torch.linspace(1e-3, 0.2, 50))
    fresh._log_rho = chain._log_rho.clone()
    assert torch.equal(end("deis", chain), end("deis", fresh))


def test_equal_schedules_share_their_coefficients():
    _shared_table.cache_clear()
    for _ in range(3):
        end("trig", VP())
    assert _shared_table.cache_info()[:2] == (2, 1)
