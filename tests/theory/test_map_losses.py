"""The objectives of flow maps: none finds fault with the exact map, and each with another."""

import pytest
import torch

from diffode.fields.base import expand_like
from diffode.fields.learnedmap import LearnedMap, Turn
from diffode.nn import network
from diffode.rng import Rng
from diffode.runs.paths import Drawing, saved_paths
from diffode.training.batches import Batch
from diffode.training.flowmaps import MapLearning
from diffode.training.jumps import Teacher
from tests.maps import MEAN, STD, GaussianMap

X = MEAN + STD * Rng(0).normal("x", (512, 3), torch.float64)


class Known(LearnedMap):
    """The exact map of a Gaussian in the place of a network, or one that is off by a share."""

    def __init__(self, off=0.0):
        self.exact, self.off = None, off
        exact = GaussianMap()
        super().__init__(exact.inner, torch.nn.Linear(1, 1))
        self.exact = exact

    def turn(self, z, s, t, y=None):
        f = self.exact.direction(z, s, t) + self.off * expand_like(t, z).sin() * z
        return Turn(f, torch.ones_like(s))


def objective(kind, off=0.0, teacher=True, full=0.25, angles=None):
    made = MapLearning(Known(off), kind, full)
    if teacher:
        made.follow(Teacher(made.map.inner, angles))
    made.begin(100)
    return made


def loss(made, batch, step=90):
    return float(made("map", batch, Rng(1).at(step))[0].detach())


@pytest.mark.parametrize("kind", ["lagrangian", "progressive", "meanflow", "consistency"])
def test_the_exact_map_has_no_loss(kind):
    """What is left is the error of Heun's steps, which consistency takes the longest of."""
    bound = {"lagrangian": 1e-4, "consistency": 1e-3}.get(kind, 1e-10)
    assert loss(objective(kind), Batch(X)) < bound
    assert loss(objective(kind, 0.3), Batch(X)) > (1e-4 if kind == "consistency" else 5e-4)


@pytest.mark.parametrize("kind", ["lagrangian", "progressive"])
def test_targets_of_data_alone_are_made_of_the_average(kind):
    made = MapLearning(LearnedMap(GaussianMap().inner, network((3,), width=8, conditions=2)), kind)
    made.begin(100)
    before = loss(made, Batch(X.float()))
    with torch.no_grad():
        for weight in made.slow.parameters():
            weight.add_(1.0)
    assert loss(made, Batch(X.float())) != before
    made.advance(0, Rng(0))
    own, slow = (next(n.parameters()) for n in (made.map.network, made.slow))
    torch.testing.assert_close(slow, own + 0.1)  # the decay of the first step is .1


def test_steps_of_the_teacher_grow_shorter():
    made = objective("lagrangian")
    first, last = (loss(made, Batch(X), step) for step in (0, 99))
    assert last < 0.01 * first


@pytest.mark.parametrize("kind", ["lagrangian", "progressive", "meanflow"])
def test_data_alone_find_no_fault_with_it_on_average(kind):
    """The gradient of the loss vanishes at the exact map, up to chance, and not at another."""
    slopes = []
    for off in (0.0, 0.3):
        made = objective(kind, teacher=False)
        made.map.off = torch.tensor(off, dtype=torch.float64, requires_grad=True)
        value, _ = made("map", Batch(X.repeat(16, 1)), Rng(3).at(50))
        slopes.append(float(torch.autograd.grad(value, made.map.off)[0]))
    assert abs(slopes[0]) < 0.02 < 0.05 < slopes[1], slopes


def test_chords_of_paths_are_those_of_the_exact_map(tmp_path):
    field = Known().inner
    paths, angles = saved_paths(field, Drawing(tmp_path, "g", 300, 60, 7))
    assert angles[-1] == 0 and bool((angles.diff() < 0).all())
    made = objective("pairs", angles=angles)
    assert loss(made, paths) < 1e-3
    assert loss(objective("pairs", 0.3, angles=angles), paths) > 1e-2
    all_the_way = objective("pairs", full=1 - 1e-9, angles=angles)
    assert loss(all_the_way, paths) < 1e-3


def test_paths_end_at_the_data(tmp_path):
    """The last state is the data itself, in the units of the others: no clock, no size."""
    field = Known().inner
    paths, _ = saved_paths(field, Drawing(tmp_path, "g", 2000, 30, 7))
    ends = paths.path[:, -1].double()
    torch.testing.assert_close(
        ends * field.moments[1] + field.moments[0], paths.x.double(), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(ends.std(0) * field.moments[1], STD, rtol=0.06, atol=0)
    torch.testing.assert_close(
        paths.path[:, 0].double().std(0), torch.ones(3).double(), rtol=0.06, atol=0
    )


def test_an_objective_that_distils_wants_what_is_distilled():
    with pytest.raises(ValueError, match="distils a run: diffode distil RUN"):
        objective("pairs", teacher=False).phases()
