"""Guided fields say how far they reach and where they jump, and the default solver heeds it."""

import numpy as np
import pytest
import torch

from diffode import Rng
from diffode.fields import VP, Karras, Mixture, PoissonField, Rectified
from diffode.fields.guidance import classifier_free
from diffode.fields.reschedule import rescheduled
from diffode.priors import StudentT
from diffode.solvers import get_solver, grid
from diffode.solvers.coefficients import MultistepRule, table
from diffode.solvers.forms import Nodes

SCHEDULES = [Karras(), VP(), Rectified()]


def law(schedule=None, noise=None, classes=4):
    """Eight narrow Gaussians on a circle, two of each class."""
    angle = torch.arange(8).double() * (np.pi / 4)
    means = 2 * torch.stack((angle.cos(), angle.sin()), 1)
    stds, labels = torch.full((8,), 0.2).double(), torch.arange(8) % classes
    return Mixture(torch.ones(8).double(), means, stds, schedule or Karras(), noise, labels)


def gap(field, solver, times, rows=32):
    """The RMS distance to the ends of tight solves."""
    x = law(field.schedule).prior.sample((rows, 2), Rng(5), dtype=torch.float64)
    y = torch.arange(rows) % 4
    fine = grid(field, 400, "mixed")
    tight = get_solver("trig", order=2, corrected=False)(field, x, fine, y).x
    return float((solver(field, x, times, y).x - tight).square().mean().sqrt())


def test_a_guided_field_says_how_far_it_reaches_and_where_it_jumps():
    field = law()
    assert (field.guidance, field.jumps) == (1.0, ())
    for weight, reach in [(1, 1.0), (0.5, 1.0), (0, 1.0), (4, 4.0)]:
        assert classifier_free(field, weight).guidance == reach
    inside = classifier_free(field, 4, (0.2, 3.0))
    assert inside.jumps == (0.2, 3.0) and rescheduled(inside, "theta").jumps == (0.2, 3.0)
    assert classifier_free(field, 4, (0.0, 3.0)).jumps == (3.0,)
    assert classifier_free(field, 4, (0.5, float("inf"))).jumps == (0.5,)
    assert classifier_free(field, 1, (0.2, 3.0)).jumps == ()  # guidance that changes nothing


def test_rows_of_a_poisson_field_share_no_jump():
    plane = classifier_free(PoissonField(law(noise=StudentT(64.0))), 4, (0.2, 3.0))
    assert plane.jumps == (0.2, 3.0) and plane.guidance == 4
    bound = plane.start(6, Rng(1)).field
    assert bound.jumps is None and bound.guidance == 4
    rule = get_solver("trig").rule(20, bound)
    assert (rule.order, rule.corrected, rule.jumps) == (2, False, ())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("steps", [3, 8, 40])
def test_the_grid_has_a_time_just_beyond_each_jump(schedule, steps):
    field = classifier_free(law(schedule), 4, (0.2, 3.0))
    rho = schedule.rho(grid(field, steps, "mixed"))
    assert len(rho) == steps + 1 and bool((rho[1:] < rho[:-1]).all())
    for jump in (0.2, 3.0):
        below = rho[rho < jump].max()
        assert jump * (1 - 1e-5) < below < jump
    guided = [bool(field.guided_at(t)) for t in grid(field, steps, "mixed")]
    first, last = guided.index(True), len(guided) - guided[::-1].index(True)
    assert (float(rho[first]), float(rho[last])) == pytest.approx((3.0, 0.2), rel=1e-5)


def test_one_step_has_no_time_to_move():
    field = classifier_free(law(), 4, (0.2, 3.0))
    assert grid(field, 1, "mixed").tolist() == [80.0, 0.002]
    assert len(grid(field, 2, "mixed").unique()) == 3


def test_no_polynomial_reaches_across_a_jump():
    rho = np.array([10.0, 6.0, 4.0, 2.999, 2.0, 1.0, 0.5, 0.1999, 0.1, 0.05])
    rule = MultistepRule("trig", "fraction", 3, corrected=True, jumps=(0.2, 3.0))
    nodes = Nodes(rho, np.ones(10), rho, 1.0, Karras(), "trig", "fraction")
    assert rule.orders(nodes).tolist() == [1, 2, 3, 1, 2, 3, 3, 1, 2]
    corrected = [step.correct is not None for step in table(rule, nodes)]
    assert corrected == [False, True, True, False, True, True, True, False, True]
    back = Nodes(
        rho[::-1].copy(), np.ones(10), rho[::-1].copy(), 1.0, Karras(), "trig", "fraction"
    )
    assert rule.orders(back).tolist() == [1, 2, 3, 1, 2, 3, 3, 1, 2]


def test_strong_guidance_has_a_low_order_for_longer_and_a_full_corrector():
    plain, solver = law(), get_solver("trig")
    strong = classifier_free(plain, 4)
    orders = [solver.rule(n, strong).order for n in (5, 18, 19, 50, 51)]
    assert orders == [2, 2, 3, 3, 4]
    damping = [solver.rule(n, strong).damping for n in (3, 5, 10, 100)]
    assert damping == pytest.approx([13, 13, 1 + 12 / 16, 1], rel=1e-4)
    assert solver.rule(20, classifier_free(plain, 2)) == solver.rule(20, plain)
    assert solver.rule(20, strong).scale == pytest.approx(2 * solver.rule(20, plain).scale)


def test_in_an_interval_the_corrector_waits_for_enough_steps():
    inside, solver = classifier_free(law(), 4, (0.2, 3.0)), get_solver("trig")
    rules = [solver.rule(n, inside) for n in (11, 12, 60)]
    assert [(r.order, r.corrected) for r in rules] == [(2, False), (2, True), (2, True)]


def test_each_row_has_its_own_order_where_guidance_is_strong_and_steady():
    """In an interval, and where rows have times of their own, orders are the rule's."""
    solver, wide = get_solver("trig"), classifier_free(law(noise=StudentT(4.0)), 7.5)
    fields = (
        classifier_free(law(), 7.5),
        classifier_free(law(), 4.0),
        classifier_free(law(), 7.5, (0.2, 3.0)),
        wide,
    )
    assert [solver.rule(12, f).variable_order for f in fields] == [True, False, False, False]
    assert not get_solver("trig", order=2).rule(12, fields[0]).variable_order


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize(("weight", "steps"), [(4.0, 12), (7.5, 16)])
def test_strong_guidance_is_followed_with_few_steps(schedule, weight, steps):
    """The rule of a field without guidance loses by it, on its own grid and on this one."""
    field, plain = classifier_free(law(schedule), weight), law(schedule)
    solver = get_solver("trig")
    own = gap(field, solver, grid(field, steps, solver.grid))
    unaware = get_solver("ab", form="trig", variable="fraction", order=4, corrected=True)
    assert own < 0.05
    assert own < 0.5 * gap(field, unaware, grid(plain, steps, "f1.5"))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_an_interval_of_guidance_is_followed_to_its_ends(schedule):
    field = classifier_free(law(schedule), 4.0, (0.2, 3.0))
    solver = get_solver("trig")
    own = gap(field, solver, grid(field, 20, solver.grid))
    across = get_solver("ab", form="trig", variable="fraction", order=4, corrected=True)
    assert own < 0.1
    assert own < 0.2 * gap(field, across, grid(law(schedule), 20, "f1.5"))
