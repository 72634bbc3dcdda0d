"""Measured orders of the multistep and single-step exponential methods."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
import torch

from diffode.analysis import convergence
from diffode.fields import VE, VP, Cosine, Karras, Mixture, Rectified, SubVP
from diffode.priors import StudentT
from diffode.solvers import get_solver
from diffode.solvers.coefficients import table
from diffode.solvers.forms import Nodes
from diffode.solvers.multistep import walk
from tests.quick import quick

SCHEDULES = [VP(), SubVP(), VE(0.002, 80.0), Karras(), Rectified(), Cosine()]
FORMS = [
    ("noise", "time"),
    ("noise", "logsnr"),
    ("data", "logsnr"),
    ("velocity", "time"),
    ("velocity", "fraction"),
    ("trig", "fraction"),
    ("trig", "rho"),
]
# name, options, order with the history filled
METHODS = [
    *[("ab", {"form": f, "variable": v, "order": k}, k) for f, v in FORMS for k in (1, 2, 3, 4)],
    *[("ab", {"form": "trig", "variable": "fraction", "order": k, "corrected": True}, k + 1)
      for k in (1, 2, 3)],
    *[("deis", {"order": k}, k) for k in (1, 2, 3, 4)],
    *[("dpm", {"order": k}, k) for k in (1, 2, 3)],
    *[("dpm++", {"order": k}, k) for k in (1, 2, 3)],
    *[("unipc", {"order": k}, k + 1) for k in (1, 2, 3)],
    *[("trig", {"order": k, "corrected": False}, k) for k in (1, 2, 3, 4, 5)],
]  # fmt: skip
HEAVY = StudentT(3.0)  # one object, so that its exact flow is found once
FIRST, LAST, PAST = 2.0, 0.3, 5
ENDS = math.log(FIRST), math.log(LAST)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def smooth(schedule, noise=None):
    """Three wide Gaussians in the plane."""
    means = tensor([1.0, 0.0], [-1.0, 1.0], [0.0, -1.5])
    return Mixture(tensor(0.5, 0.3, 0.2), means, tensor(0.5, 0.6, 0.4), schedule, noise)


@functools.cache
def exact(noise=None, fine=320):
    """The flow in y = x / alpha, the same for every schedule, at equal ratios of rho around 2."""
    ratio, past = math.log(LAST / FIRST) / fine, 4 * PAST
    rho = FIRST * torch.exp(ratio * torch.arange(-past, fine + 1, dtype=torch.float64))
    y = 2 * tensor([1.0, 2.0], [-0.3, 0.5], [0.0, -1.0])
    path = get_solver("dopri8", rtol=1e-12, atol=1e-13)(smooth(Karras(), noise), y, rho, path=True)
    return rho, path.path


def filled(solver, schedule, steps, noise=None, fine=320):
    """The error at rho = .3 of a method whose history before rho = 2 is exact."""
    rho, y = exact(noise, fine)
    stride = fine // steps
    rho, y = rho.flip(0)[::stride].flip(0), y.flip(0)[::stride].flip(0)
    start = len(rho) - 1 - steps
    rho, y, start = rho[start - PAST :], y[start - PAST :], PAST
    field, times = smooth(schedule, noise), schedule.time(rho)
    alpha = schedule.alpha(times)
    method = dataclasses.replace(solver.rule(steps), lower=0)
    mean, std = field.moments
    nodes = Nodes(
        times.numpy(), alpha.numpy(), (alpha * rho).numpy(), std, schedule,
        method.form, method.variable,
    )  # fmt: skip
    plan, past = table(method, nodes), []
    for k in range(start):
        x0, n = field.posterior(alpha[k] * y[k], times[k])
        past.insert(0, (plan[k].x0 or 0) * x0 + (plan[k].n or 0) * n)

    def posterior(x, k):
        return field.posterior(x, times[start + k])

    *_, x = walk(posterior, alpha[start] * y[start], plan[start:], mean, past)
    return float((x / alpha[-1] - y[-1]).abs().max())


def slope(errors):
    """The measured order: the slope over the last halvings above rounding."""
    kept = [math.log2(e) for e in errors if e > 1e-11]
    assert len(kept) >= 2, f"nothing to measure in {errors}"
    return -np.polyfit(range(len(kept)), kept, 1)[0]


# ----------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize(("name", "options", "order"), METHODS, ids=repr)
def test_order_with_the_history_filled(name, options, order):
    solver = get_solver(name, **options)
    errors = [filled(solver, Karras(), steps) for steps in (80, 160, 320)]
    assert slope(errors) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("schedule", quick(SCHEDULES, 0, 4), ids=repr)
@pytest.mark.parametrize(("name", "order"), [("trig", 3), ("deis", 3), ("dpm++", 2), ("dpm", 3)])
def test_order_on_every_schedule(name, order, schedule):
    options = {"order": order} | ({"corrected": False} if name == "trig" else {})
    solver = get_solver(name, **options)
    errors = [filled(solver, schedule, steps) for steps in (80, 160, 320)]
    assert slope(errors) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("order", [2, 3])
def test_order_on_a_student_t_field(order):
    solver = get_solver("trig", order=order, corrected=False)
    errors = [filled(solver, Karras(), n, HEAVY, 80) for n in (20, 40, 80)]
    assert slope(errors[1:]) == pytest.approx(order, abs=0.12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_damped_corrector_keeps_the_predictors_order_at_least(order):
    errors = [filled(get_solver("trig", order=order), Karras(), n) for n in (80, 160, 320)]
    assert slope(errors) > order - 0.1
    plain = filled(get_solver("trig", order=order, corrected=False), Karras(), 320)
    assert errors[-1] < plain


def shipped(name, options, schedule, *steps):
    """Convergence at rho = .3 of a method that starts with its first order at rho = 2."""
    _, y = exact()

    def times(k):
        return schedule.time(torch.linspace(*ENDS, k + 1, dtype=torch.float64).exp())

    alpha = schedule.alpha(times(1))
    solver, start, end = get_solver(name, **options), alpha[0] * y[4 * PAST], alpha[1] * y[-1]
    return convergence(solver, smooth(schedule), steps, x=start, times=times, reference=end)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("form", ["noise", "data"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_of_single_steps(order, form, schedule):
    options = {"form": form, "order": order}
    assert shipped("dpm-single", options, schedule, 20, 40).order == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("ab", {"order": 1}, 1),
        ("ab", {"order": 2}, 2),
        ("ab", {"order": 4}, 2),  # one first-order step costs h^2
        ("dpm++", {"order": 2, "lower": 0}, 2),
        ("dpm++", {"order": 2}, 2),  # and so does the lowered last one
        ("trig", {"order": 3, "corrected": False}, 2),
    ],
    ids=repr,
)
def test_order_as_shipped(name, options, order):
    found = shipped(name, options, Karras(), 80, 160, 320)
    assert len(found.used) == 3 and found.order == pytest.approx(order, abs=0.15)


def test_halving_errors_of_successive_orders():
    """Higher orders are better on a smooth field: the reason to have them."""
    ends = [shipped("trig", {"order": k}, Karras(), 12, 24).errors[1] for k in (1, 2, 3, 4)]
    assert all(b < a for a, b in itertools.pairwise(ends))
