"""The error budget: it points at the culprit, adds up, and refuses what has no budget."""

import dataclasses
import itertools
import math

import pytest
import torch

import diffode
from diffode.analysis import error_budget
from diffode.analysis.budget import PARTS, ErrorBudget, budget_tables
from diffode.analysis.stages import affine_stages, exact_field
from diffode.bench.budget_chart import chart
from diffode.data import Dataset, load
from diffode.fields import VP, Empirical, Karras, Mixture, PoissonField, Rectified
from diffode.priors import Normal, StudentT
from diffode.solvers import get_solver
from tests.quick import quick

ROWS = 80


@pytest.fixture(scope="module")
def ring():
    """A ring with fewer held-out points, which score as well and sort faster."""
    whole = load("eight-gaussians")
    return dataclasses.replace(whole, test=whole.test[:1000], test_labels=whole.test_labels[:1000])


def exact(ring, schedule, shift=0.0):
    law = ring.law
    stds = torch.full((len(law.weights),), law.std, dtype=torch.float64)
    return Mixture(law.weights, law.means + shift, stds, schedule)


def values(budget):
    return {part: e.value for part, e in budget.distances.items()}


def test_a_prior_that_does_not_fit_is_the_culprit(ring):
    b = error_budget(exact(ring, Karras(0.002, 2.0)), ring, "heun", n=ROWS, nfe=61)
    assert b.culprit == "prior mismatch"
    wide = error_budget(exact(ring, Karras(0.002, 80.0)), ring, "heun", n=ROWS, nfe=61)
    assert values(b)["prior mismatch"] > 5 * values(wide)["prior mismatch"]
    assert values(b)["model"] == 0


def test_five_steps_of_euler_are_the_culprit(ring):
    b = error_budget(exact(ring, Karras(0.002, 80.0)), ring, "euler", n=ROWS, steps=5)
    assert b.culprit == "solver" and values(b)["solver"] > 3 * values(b)["prior mismatch"]
    assert b.nfe == 6


@pytest.mark.slow
def test_a_network_hardly_trained_is_the_culprit(ring):
    run = diffode.fit(
        "edm", "eight-gaussians", steps=40, batch=128, width=32, depth=1, device="cpu"
    )
    b = error_budget(run.field, ring, "heun", n=ROWS, nfe=61)
    assert b.culprit == "model" and b.changes["model"].value > 0


def test_a_known_error_of_the_model_is_found_at_its_size(ring):
    """A mixture moved by delta: far from the prior's end its flow ends delta away."""
    moved = exact(ring, Karras(0.002, 80.0), shift=torch.tensor([0.03, 0.04]))
    b = error_budget(moved, ring, "dopri5-rows", n=ROWS, exact=exact(ring, Karras(0.002, 80.0)))
    assert b.medians["model"] == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("schedule", [Karras(0.002, 80.0), VP(), Rectified()], ids=str)
def test_nothing_wrong_costs_nothing(ring, schedule):
    b = error_budget(exact(ring, schedule), ring, "dopri5-rows", n=ROWS)
    assert values(b)["model"] == 0
    assert values(b)["solver"] < 1e-3 and b.accuracy < 1e-3
    assert b.far["prior mismatch"] < 0.05
    assert (values(b)["prior mismatch"] == 0) == isinstance(schedule, Rectified)


def test_the_parts_bound_the_whole_and_the_changes_add_up(ring):
    b = error_budget(exact(ring, VP(), shift=0.1), ring, "ddim", n=ROWS, nfe=8)
    assert all(e.value >= 0 for e in b.distances.values())
    assert b.total.value <= sum(values(b).values())
    change = sum(e.value for e in b.changes.values())
    assert change == pytest.approx(b.scores[3].value - b.scores[0].value, abs=1e-12)


@pytest.mark.slow
def test_intervals_of_changes_are_those_of_paired_runs(ring):
    """The same samples moved a little: far less uncertain than the scores themselves."""
    b = error_budget(exact(ring, VP()), ring, "heun", n=ROWS, nfe=41)
    assert b.changes["solver"].stderr < 0.2 * b.scores[1].stderr
    seeds = [
        error_budget(exact(ring, VP(), 0.1), ring, "heun", n=ROWS, nfe=21, seed=s).changes["model"]
        for s in range(12)
    ]
    spread = torch.tensor([e.value for e in seeds]).std()
    stated = torch.tensor([e.stderr for e in seeds]).mean()
    assert 0.5 < float(spread / stated) < 1.8


@pytest.mark.parametrize(
    ("radius", "dof"), quick(itertools.product(["fixed", "chi", "plane"], [1.0, 16.0]), 0, 3)
)
def test_poisson_flows_start_from_the_exact_law_on_the_plane(ring, radius, dof):
    points = ring.train[:512].double()
    field = PoissonField(Empirical(points, Karras(0.002, 80.0), StudentT(dof)), radius=radius)
    few = dataclasses.replace(ring, train=ring.train[:512], train_labels=None, law=None)
    b = error_budget(field, few, "heun", n=ROWS, nfe=41)
    assert b.medians["prior mismatch"] < 0.2 and values(b)["model"] < 1e-9
    assert b.accuracy < 1e-3


def test_the_exact_field_is_that_of_the_law_or_of_the_points(ring):
    digits = load("digits")
    assert isinstance(exact_field(exact(ring, VP()), ring), Mixture)
    flat = torch.zeros(1, 8, 8)
    path = Empirical(digits.train[:20], VP())
    found = exact_field(path, digits)
    assert isinstance(found, Empirical) and found.moments[0].shape == flat.shape
    heavy = Empirical(ring.train[:64], Karras(), StudentT(1.0))
    assert isinstance(exact_field(heavy, load("moons")), Empirical)
    assert isinstance(exact_field(heavy, ring), Mixture)
    assert isinstance(path.noise, Normal)


def test_the_exact_law_is_that_of_the_exact_field(ring):
    """Of a data set too large for its exact field, only the field's own points count."""
    few = ring.train[:25]
    path = Empirical(few, Karras(0.002, 0.01))  # so little noise that all end where they began
    ends = affine_stages(path, path, ring, get_solver("ddim"), 50, 0, nfe=3).x[0]
    where = torch.cdist(ends, few.double()).argmin(1)
    assert torch.bincount(where, minlength=25).tolist() == [2] * 25


def test_the_grid_is_that_of_the_solver(ring):
    field = exact(ring, VP())
    own, other = (
        error_budget(field, ring, "dpm++", n=40, nfe=6, grid=grid) for grid in ("logsnr", "t2")
    )
    assert own.nfe == other.nfe == 6
    assert values(own)["prior mismatch"] == values(other)["prior mismatch"]
    assert values(own)["solver"] > 1.5 * values(other)["solver"]


def test_a_march_is_held_against_exact_ratios():
    blobs = load("blobs")
    field = diffode.build("monoflow", (2,), stages=6, width=8, depth=1).field
    b = error_budget(field, blobs, n=ROWS)
    assert values(b)["prior mismatch"] == 0 and b.changes["prior mismatch"].value == 0
    assert 0 < values(b)["solver"] < math.inf and values(b)["model"] > values(b)["solver"]
    assert b.nfe == 6


def test_what_has_no_budget_is_refused_in_one_line(ring):
    with pytest.raises(ValueError, match="no flow between two laws"):
        error_budget(diffode.build("gan", (2,), width=8).field, ring, n=ROWS)
    with pytest.raises(ValueError, match="no known law"):
        march = diffode.build("monoflow", (1, 8, 8), stages=2, width=8, depth=1).field
        error_budget(march, load("digits"), n=ROWS)
    with pytest.raises(ValueError, match="needs a bank"):
        error_budget(diffode.build("monoflow-pool", (2,), width=8).field, ring, n=ROWS)
    with pytest.raises(ValueError, match="needs 40 rows"):
        error_budget(exact(ring, VP()), ring, n=10)


def test_points_alone_are_not_scored_against_themselves(ring):
    field, points, others = exact(ring, VP()), ring.train[:300], ring.test[:300]
    with pytest.raises(ValueError, match=r"got 300 training points alone; .* pass held_out="):
        error_budget(field, points, "heun", n=ROWS, nfe=21)
    for data in (Dataset("twice", points, points), Dataset("copy", points, points.clone())):
        with pytest.raises(ValueError, match="the test points are the training points"):
            error_budget(field, data, "heun", n=ROWS, nfe=21)
    with pytest.raises(ValueError, match="got held_out with a data set"):
        error_budget(field, ring, "heun", n=ROWS, nfe=21, held_out=others)
    b = error_budget(field, points, "heun", n=ROWS, nfe=21, held_out=others)
    assert b.floor.value > 0.05 and 0 < b.floor.stderr < b.floor.value


def test_figures_come_back_from_json_and_are_drawn(ring):
    b = error_budget(exact(ring, VP(), 0.1), ring, "ddim", n=ROWS, nfe=8, name="<vp>")
    again = ErrorBudget.fromdict(b.asdict())
    assert again == b
    for table in budget_tables([b]):
        assert len(table.rows[0]) == len(table.head)
    picture = chart([b, b])
    assert picture.count("<rect") == 2 * 2 * len(PARTS) and "&lt;vp&gt;" in picture
