"""Orders chosen by what would have been best: exact where all are, and safe under guidance."""

from itertools import pairwise

import pytest
import torch

from diffode.fields import VP, AffineField, Karras, Mixture, Rectified, classifier_free
from diffode.priors import Normal
from diffode.rng import Rng
from diffode.solvers import get_solver, grid
from diffode.solvers.multistep import nodes_of
from diffode.solvers.trig import Trig
from diffode.solvers.variable_order import VariableOrder

D = torch.float64
VARIABLE = get_solver("trig", order="variable")


def labelled(schedule):
    """Eight classes of three components each, in eight dimensions."""
    rng = Rng(11)
    means = rng.normal("means", (24, 8), D)
    stds = 0.08 + 0.25 * rng.uniform("stds", (24,))
    weights = torch.full((24,), 1 / 24)
    return Mixture(weights, means, stds, schedule, None, torch.arange(24) % 8)


@pytest.mark.parametrize("schedule", [VP, Karras, Rectified])
def test_it_converges_to_the_same_end(schedule):
    field = labelled(schedule())
    x = field.prior.sample((16, 8), Rng(0), dtype=D)
    fine = get_solver("trig")(field, x, grid(field, 300, "mixed")).x
    errors = [
        float((VARIABLE(field, x, grid(field, k, "mixed")).x - fine).square().mean().sqrt())
        for k in (10, 20, 40, 80)
    ]
    assert errors[3] < 2e-3 * errors[0]
    assert all(later < before for before, later in pairwise(errors))


def test_rows_choose_for_themselves():
    field = classifier_free(labelled(VP()), 7.5)
    x, y = field.prior.sample((6, 8), Rng(0), dtype=D), torch.arange(6)
    times = grid(field, 12, "mixed")
    together = VARIABLE(field, x, times, y).x
    alone = torch.cat([VARIABLE(field, x[k : k + 1], times, y[k : k + 1]).x for k in range(6)])
    assert torch.allclose(alone, together, atol=1e-9)


def test_it_is_safe_where_the_weight_is_not_told():
    inner = labelled(VP())
    field = classifier_free(inner, 7.5)
    x, y = field.prior.sample((64, 8), Rng(0), dtype=D), torch.arange(64) % 8
    fine = get_solver("trig", order=2)(field, x, grid(field, 400, "mixed"), y).x

    class Silent(AffineField):  # the same answers, and no word of the weight
        def posterior(self, x, t, y=None):
            return field.posterior(x, t, y)

    silent = Silent(field.schedule, field.noise, *field.moments)
    times = grid(field, 15, "mixed")
    untold, chosen = (
        (get_solver("trig", order=order)(silent, x, times, y).x - fine).square().mean().sqrt()
        for order in ("auto", "variable")
    )
    assert chosen < untold / 2


def test_the_order_is_the_lowest_that_foretells_the_slopes():
    field = AffineField(Karras(), Normal(), torch.zeros(1, dtype=D), 1.0)
    times = torch.cat((grid(field, 12, "mixed")[:-1], torch.tensor([0.002], dtype=D)))
    solver = Trig(order="variable")
    rule, x = solver.rule(12, field), torch.zeros(2, 1, dtype=D)
    nodes = nodes_of(rule, field, times)
    walk = VariableOrder(rule, nodes, torch.zeros(1, dtype=D), x)
    u = torch.from_numpy(nodes.u(nodes.clock))
    for k in range(8):  # one row's slope is a line in u, the other's jumps to and fro
        slopes = torch.stack((1 + 2 * u[k], torch.tensor((-1.0) ** k, dtype=D)))[:, None]
        step = walk.steps[k]
        walk.advance(x, slopes * 0, slopes / step.n)
    assert walk.order.tolist()[0] in (2, 3, 4) and walk.order.tolist()[1] == 1
    line = [w @ (1 + 2 * u[[7 - 1 - j for j in range(len(w))]]) for w in walk.foretold[7][1:]]
    assert torch.allclose(torch.stack(line), (1 + 2 * u[7]).expand(len(line)))


def test_no_polynomial_reaches_across_a_jump():
    inner = labelled(VP())
    field = classifier_free(inner, 4.0, (0.2, 3.0))
    x, y = field.prior.sample((16, 8), Rng(0), dtype=D), torch.arange(16) % 8
    fine = get_solver("trig", order=2, corrected=False)(field, x, grid(field, 800, "mixed"), y).x
    few, many = (
        (VARIABLE(field, x, grid(field, k, "mixed"), y).x - fine).square().mean().sqrt()
        for k in (15, 60)
    )
    assert many < few / 4 and many < 0.02
