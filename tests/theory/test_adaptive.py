"""Embedded pairs by their order conditions; what a tolerance delivers; samples that stay apart."""

import functools
import itertools
import math

import pytest
import torch

from diffode.fields import VP, Empirical, Field, Karras, Mixture, Rectified, SubVP
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.solvers import get_solver
from diffode.solvers.adaptive import Adaptive
from diffode.solvers.builtin import ADAPTIVE_RK
from diffode.solvers.tableaus import DOPRI5, TSIT5
from tests.fields import Turning
from tests.quick import quick

ROWS = ["dopri5-rows", "tsit5-rows"]
EVERY = [*ROWS, *ADAPTIVE_RK, "scipy_solver"]
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def ring(schedule):
    """Eight narrow components on a circle: a sample between two chooses late and quickly."""
    angle = math.pi / 4 * torch.arange(8, dtype=torch.float64)
    means = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    stds = torch.linspace(0.1, 0.3, 8, dtype=torch.float64)
    return Mixture(torch.ones(8), means, stds, schedule)


@functools.cache
def bed(schedule):
    """The ring's field, points at its start, and where they go."""
    field = ring(schedule)
    x = field.prior.sample((100, 2), Rng(5), dtype=torch.float64)
    return field, x, get_solver("dopri8", rtol=1e-10, atol=1e-10)(field, x, tensor(*field.span)).x


# ---------------------------------------------------------------------------------- the tableaus


@functools.cache
def trees(order):
    """The rooted trees of this order, each a sorted tuple of its branches."""
    if order == 1:
        return ((),)
    out = set()
    for parts in range(1, order):
        for sizes in itertools.combinations_with_replacement(range(1, order), parts):
            if sum(sizes) == order - 1:
                out |= {tuple(sorted(t)) for t in itertools.product(*map(trees, sizes))}
    return tuple(sorted(out))


def size(tree):
    return 1 + sum(map(size, tree))


def density(tree):
    return size(tree) * math.prod(map(density, tree))


def weights(tableau, tree):
    """The elementary weight of each stage."""
    count = len(tableau.error)
    a = torch.zeros(count, count, dtype=torch.float64)
    for i, row in enumerate(tableau.a):
        a[i + 1, : len(row)] = tensor(*row)
    out = torch.ones(count, dtype=torch.float64)
    for branch in tree:
        out = out * (a @ weights(tableau, branch))
    return out


@pytest.mark.parametrize("tableau", [DOPRI5, TSIT5], ids=["dopri5", "tsit5"])
def test_the_pairs_satisfy_the_order_conditions(tableau):
    assert [len(trees(k)) for k in range(1, 7)] == [1, 1, 2, 4, 9, 20]
    b, e = tensor(*tableau.a[-1], 0.0), tensor(*tableau.error)
    for order in range(1, 6):
        for tree in trees(order):
            phi = weights(tableau, tree)
            assert float(b @ phi) == pytest.approx(1 / density(tree), abs=1e-12)
            if order < 5:
                assert abs(float(e @ phi)) < 1e-12
    assert max(abs(float(b @ weights(tableau, t)) - 1 / density(t)) for t in trees(6)) > 1e-5
    assert max(abs(float(e @ weights(tableau, t))) for t in trees(5)) > 1e-5
    for c, row in zip(tableau.c, tableau.a, strict=True):
        assert sum(row) == pytest.approx(c, abs=1e-14)


@pytest.mark.parametrize("tableau", [DOPRI5, TSIT5], ids=["dopri5", "tsit5"])
def test_roughness_is_all_that_vanishes_to_third_order(tableau):
    rough = tensor(*tableau.rough)
    torch.testing.assert_close(rough @ rough.T, torch.eye(3).double(), rtol=0, atol=1e-12)
    for order in (1, 2, 3):
        for tree in trees(order):
            assert (rough @ weights(tableau, tree)).abs().max() < 1e-12
    e = tensor(*tableau.error)
    torch.testing.assert_close(rough.T @ (rough @ e), e, rtol=0, atol=1e-12)
    assert (rough @ weights(tableau, trees(4)[0])).norm() > 1e-3


@pytest.mark.parametrize("name", ROWS)
def test_the_error_falls_with_the_fifth_power_of_the_evaluations(name):
    field, x = Turning(torch.full((3,), 9.0).double()), Rng(1).normal("x", (3, 2), torch.float64)
    runs = [get_solver(name, rtol=tol, atol=tol)(field, x, ENDS) for tol in (1e-4, 1e-9)]
    errors = [float((run.x - field.end(x)).norm()) for run in runs]
    order = math.log(errors[0] / errors[1]) / math.log(runs[1].nfe / runs[0].nfe)
    assert order == pytest.approx(5.2, abs=0.4)


# --------------------------------------------------------------------------- what a tolerance is


@pytest.mark.parametrize(
    ("schedule", "clock"),
    quick([(SubVP(), "auto"), (Karras(), "auto"), (Karras(), "native"), (Rectified(), "auto")], 1),
    ids=repr,
)
@pytest.mark.parametrize("name", EVERY)
def test_a_tolerance_delivers_its_error(name, schedule, clock):
    field, x, end = bed(schedule)
    for tolerance in (1e-3, 1e-4):
        solver = get_solver(name, rtol=tolerance, atol=tolerance, clock=clock)
        solution = solver(field, x, tensor(*field.span))
        assert float((solution.x - end).square().mean().sqrt()) <= 5 * tolerance


@pytest.mark.parametrize("tolerance", [1e-4, 1e-6])
@pytest.mark.parametrize("name", ROWS)
def test_no_sample_is_far_off(name, tolerance):
    """Where the embedded estimate alone leaves samples wrong by hundreds of tolerances."""
    field, x, end = bed(Karras())
    solution = get_solver(name, rtol=tolerance, atol=tolerance)(field, x, tensor(*field.span))
    assert float((solution.x - end).norm(dim=1).max()) <= 30 * tolerance


@pytest.mark.parametrize("name", EVERY)
def test_a_push_midway_is_not_stepped_over(name):
    """The field rests at both ends, so that a step from one to the other would see nothing."""

    class Push(Field):
        span, prior, event_shape = (0.0, 1.0), Normal(), (1,)

        def velocity(self, x, t, y=None):
            height = torch.exp(-(((torch.as_tensor(t) - 0.5) / 0.1) ** 2) / 2)
            return height.reshape(-1, 1).expand_as(x).to(x)

    solution = get_solver(name, rtol=1e-5, atol=1e-5)(Push(), tensor([0.0], [1.0]), ENDS)
    area = 0.1 * math.sqrt(2 * math.pi) * math.erf(5 / math.sqrt(2))
    torch.testing.assert_close(solution.x, tensor([area], [1 + area]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["dopri5", "bosh3", "dopri8"])
def test_one_sample_is_not_lost_in_the_mean_of_the_batch(name):
    rate = torch.ones(500, dtype=torch.float64)
    rate[7] = 8.0
    field, x = Turning(rate), Rng(2).normal("x", (500, 2), torch.float64)
    solution = get_solver(name, rtol=1e-5, atol=1e-5)(field, x, ENDS)
    alone = get_solver(name, rtol=1e-5, atol=1e-5)(Turning(rate[7:8]), x[7:8], ENDS)
    errors = (solution.x - field.end(x)).norm(dim=1)
    assert float(errors[7]) <= 2 * float((alone.x - field.end(x)[7:8]).norm())


def test_the_angle_needs_fewer_evaluations_than_sigma():
    field, x, end = bed(Karras())
    angle = get_solver("dopri5-rows", rtol=1e-3, atol=1e-3)(field, x, tensor(*field.span))
    sigma = get_solver("dopri5", rtol=3e-4, atol=3e-4, clock="native")(field, x, tensor(80, 0.002))
    errors = [float((s.x - end).square().mean().sqrt()) for s in (angle, sigma)]
    assert errors[0] <= 1e-3 and float(angle.nfe_per_row.double().mean()) <= 0.3 * sigma.nfe


# -------------------------------------------------------------------------------- samples apart


@pytest.mark.parametrize("shape", [(6,), (2, 3), (6, 1, 1), (1, 2, 3)])
def test_an_event_has_any_shape(shape):
    angle = tensor(*range(6))
    flat = Mixture(torch.ones(6), torch.diag(angle), 0.2 + angle / 9, VP())
    field = Mixture(torch.ones(6), torch.diag(angle).view(6, *shape), 0.2 + angle / 9, VP())
    x = Rng(4).normal("x", (6, 6), torch.float64)
    solver = Adaptive(rtol=1e-5, atol=1e-5)
    one = solver(field, x.view(6, *shape), tensor(1.0, 1e-3))
    assert one.x.shape == (6, *shape)
    torch.testing.assert_close(one.x.flatten(1), solver(flat, x, tensor(1.0, 1e-3)).x)


def test_labels_follow_their_rows():
    points, labels = tensor([0.0, 0.0], [3.0, 0.0], [0.0, 9.0]), torch.tensor([0, 1, 2])
    field = Empirical(points, Karras(0.01), labels=labels)
    y = torch.tensor([2, 0, 1, 0, 2])
    x = 80 * Rng(5).normal("x", (5, 2), torch.float64)
    solver = get_solver("tsit5-rows", rtol=1e-6, atol=1e-6)
    solution = solver(field, x, tensor(80.0, 0.01), y=y)
    assert len(solution.nfe_per_row.unique()) > 1
    torch.testing.assert_close(solution.x, points[y] + (x - points[y]) / 8000, rtol=0, atol=1e-4)


def test_a_row_that_stops_stays_where_it_is():
    rate, x = tensor(1.0, 900.0, 2.0), Rng(6).normal("x", (3, 2), torch.float64)
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    solution = Adaptive(max_nfe=300)(Turning(rate), x, times, path=True)
    assert solution.status.tolist() == [0, 1, 0]
    assert solution.path.shape == (5, 3, 2) and bool((solution.nfe_per_row <= 300).all())
    assert torch.equal(solution.path[1, 1], solution.path[-1, 1])
    torch.testing.assert_close(solution.x[[0, 2]], Turning(rate).end(x)[[0, 2]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ROWS)
def test_nothing_is_evaluated_beyond_the_times(name):
    class Fenced(Turning):
        def rows(self, index):
            return Fenced(self.rate[index])

        def velocity(self, x, t, y=None):
            assert bool(((t >= 0.1) & (t <= 0.7)).all())
            return super().velocity(x, t)

    field, x = Fenced(tensor(0.0, 1e-9, 3.0, 50.0)), Rng(7).normal("x", (4, 2), torch.float64)
    for times in (tensor(0.1, 0.3, 0.7), tensor(0.7, 0.1)):
        solution = get_solver(name)(field, x, times)
        assert solution.status.eq(0).all() and torch.equal(solution.x[0], x[0])


@pytest.mark.parametrize("tolerance", [1e-4, 1e-8])
def test_single_precision(tolerance):
    """Below the rounding of the state a tolerance costs evaluations and does no harm."""
    field, x, end = bed(VP())
    solver = Adaptive(rtol=tolerance, atol=tolerance, max_nfe=2000)
    solution = solver(field, x[:40].float(), tensor(*field.span))
    assert solution.x.dtype == torch.float32 and solution.status.eq(0).all()
    assert float((solution.x - end[:40]).abs().max()) <= 20 * max(tolerance, 1e-6)


def test_refusals():
    with pytest.raises(ValueError, match=r"no method named 'rk4' here; methods: dopri5-rows, tsi"):
        Adaptive("rk4")
    with pytest.raises(ValueError, match=r"got rtol 0.0, atol 1e-05; tolerances are positive"):
        Adaptive(rtol=0.0)
    with pytest.raises(ValueError, match=r"got max_nfe 7; one step of tsit5-rows takes 8"):
        Adaptive("tsit5-rows", max_nfe=7)
    with pytest.raises(ValueError, match="has no option 'eta'; options: rtol, atol, clock, max_n"):
        get_solver("dopri5-rows", eta=1.0)
