"""What is computed beforehand for a solver's times is what the field says at each of them."""

import copy
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffode import Rng, build
from diffode.fields import VE, VP, Karras, Rectified, SubVP
from diffode.fields.along import posterior_along
from diffode.fields.learned import Learned
from diffode.fields.precond import (
    DataPrediction,
    KarrasPrediction,
    NoisePrediction,
    ScorePrediction,
    VelocityPrediction,
    VPrediction,
)
from diffode.nn import DiT, UNet
from diffode.nn.mlp import MLP
from diffode.priors import Normal
from diffode.solvers import get_solver, grid

PREDICTIONS = [
    NoisePrediction(),
    DataPrediction(),
    VPrediction(),
    VelocityPrediction(),
    KarrasPrediction(0.7),
    ScorePrediction(0.7),
]


class Outermost(KarrasPrediction):
    """Its input is scaled by the row that is furthest out: a coefficient that sees the points."""

    def coefficients(self, u, alpha, sigma, t):
        c = super().coefficients(u, alpha, sigma, t)
        return c._replace(in_=c.in_ / (1 + u.double().abs().amax()))


def learned(prediction, schedule, kind=Learned, **options):
    """A field of a small network whose output is not 0."""
    network = MLP((3,), width=16, depth=1, conditions=1 + options.get("flip_label", False))
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.add_(0.3 * Rng(k).normal("p", p.shape))
    mean = torch.tensor([0.5, -1.0, 2.0])
    return kind(network, schedule, prediction, Normal(), mean, 0.7, **options)


def differences(field, dtype=torch.float32):
    """The largest differences between both ways to the posterior, relative to its size."""
    x = field.prior.sample((5, 3), Rng(1), dtype=dtype)
    times = grid(field, 6, "f1.5")[1:]
    beforehand, out = posterior_along(field, times, x), []
    for k, t in enumerate(times):
        for one, other in zip(beforehand(k, x, None), field.posterior(x, t), strict=True):
            assert one.dtype == other.dtype == dtype
            out.append(float((one - other).detach().abs().max() / other.detach().abs().max()))
    return max(out)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE(), Karras(), Rectified()], ids=repr)
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: type(p).__name__)
def test_both_ways_to_the_posterior_agree(prediction, schedule):
    """Up to the rounding of the network, which sigma or alpha near 0 magnifies."""
    field = learned(prediction, schedule)
    assert differences(field) < 5e-5
    assert differences(field.double(), torch.float64) < 1e-12


def test_a_network_that_is_told_of_mirroring_is_told_so_beforehand_too():
    field = learned(KarrasPrediction(0.7), Karras(), flip_label=True)
    assert differences(field) < 5e-5
    assert differences(field.double(), torch.float64) < 1e-12


def test_coefficients_that_see_the_points_are_not_computed_beforehand():
    """A subclass that writes its coefficients anew has not said that they are the level's."""
    assert differences(learned(Outermost(0.7), Karras())) == 0


def test_a_posterior_written_anew_is_the_one_that_is_called():
    class Halved(Learned):
        def posterior(self, x, t, y=None):
            x0, n = super().posterior(x, t, y)
            return x0 / 2, n

    field = learned(KarrasPrediction(0.7), Karras(), Halved)
    assert differences(field) == 0
    x, times = field.prior.sample((5, 3), Rng(1)), grid(field, 6, "f1.5")
    whole = learned(KarrasPrediction(0.7), Karras())
    ends = [get_solver("trig")(f, x, times).x for f in (field, whole)]
    assert not torch.allclose(*ends, atol=1e-2)
    whole.posterior = field.posterior  # one instance alone
    torch.testing.assert_close(get_solver("trig")(whole, x, times).x, ends[0])


IMAGE = (1, 8, 8)
NETWORKS = {
    "mlp": MLP((3,), width=16, depth=2, classes=2),
    "scalars": MLP((3,), width=16, depth=1, extra=1, conditions=2),
    "unet": UNet(IMAGE, width=8, multipliers="1,2", depth=1, attention=1),
    "dit": DiT(IMAGE, width=16, depth=1, patch=4, classes=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_says_the_same_of_levels_that_it_has_embedded_before(name):
    network = copy.deepcopy(NETWORKS[name]).double()
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.add_(0.1 * Rng(k).normal("p", p.shape))
    x = Rng(1).normal("x", (4, *network.event_shape), torch.float64)
    numbers = torch.tensor([[-1.0], [2.0]], dtype=torch.float64).repeat(1, network.conditions)
    labels = [None] if network.classes is None else [None, torch.tensor([0, 1, 1, 2])]
    for row, known in zip(numbers, network.embedded(numbers), strict=True):
        for y in labels:
            usual, quick = network(x, row.expand(4, -1), y), network(x, known, y)
            torch.testing.assert_close(quick, usual, rtol=1e-11, atol=1e-12)


def test_a_network_with_a_body_or_a_call_of_its_own_is_told_of_every_row():
    seen = []

    class Joined(MLP):  # a body that cannot take one embedding for all rows
        def body(self, x, e):
            seen.append(len(e))
            return super().body(torch.cat((x[:, :1] + e[:, :1], x[:, 1:]), 1), e)

    class Called(MLP):
        def forward(self, x, cond, y=None):
            seen.append(len(cond))
            return super().forward(x, cond, y)

    for kind in (Joined, Called):
        field = build("edm", (2,), network=lambda shape, kind=kind, **o: kind(shape, 16, 1)).field
        get_solver("ddim")(field, field.prior.sample((5, 2), Rng(0)), grid(field, 3))
    assert seen == [5] * 6


class _Counting(TorchDispatchMode):
    """Counts the operations of torch within."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(run):
    run()  # what is kept from then on is there
    with torch.no_grad(), _Counting() as counting:
        run()
    return counting.count


@pytest.mark.parametrize("name", ["edm", "vp", "rectified"])
@pytest.mark.parametrize(("solver", "most"), [("trig", 5), ("unipc", 0), ("ddim", -4)])
def test_a_step_takes_few_operations_beside_the_network(name, solver, most):
    """A count, not a time: of what a step adds to the network's own operations."""
    field = build(name, (2,), width=16, depth=1).field
    x, method = field.prior.sample((4, 2), Rng(0)), get_solver(solver)
    cond = torch.zeros(4, 1)
    steps = [operations(partial(method, field, x, grid(field, k, "f1.5"))) for k in (20, 30)]
    network = operations(lambda: field.network(x, cond, None))
    assert (steps[1] - steps[0]) / 10 <= network + most
