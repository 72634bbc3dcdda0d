"""The error budget: known parts come out as computed, and the largest is the one planted."""

import json
import math
from xml.etree import ElementTree

import pytest
import torch
from scipy import stats

import diffode
from diffode.bench import error_budget
from diffode.bench.budget_march import exact_march
from diffode.bench.budget_parts import Level
from diffode.bench.budget_stages import partner
from diffode.bench.metrics import sliced_wasserstein2
from diffode.bench.twin import exact_field, exact_law
from diffode.building import build
from diffode.data import Dataset, load
from diffode.data.toys import Gaussians
from diffode.fields import (
    VP,
    Empirical,
    Field,
    Karras,
    Mixture,
    MonoFlow,
    PoissonField,
    Rectified,
    rescheduled,
)
from diffode.fields.monoflow import Mobility
from diffode.fields.ratios import ExactRatio
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.training.stats import data_stats

RING = load("eight-gaussians")
AFFINE = ["vp", "subvp", "ve", "ddpm", "edm", "rectified", "pfgmpp", "poisson"]
SMALL = {"width": 8, "depth": 1}


def untrained(name, data=RING, **options):
    return build(name, data.event_shape, None, data_stats(data.train), 0, **options).field


def single(mean, std=0.7, count=200):
    """A data set of one round Gaussian."""
    law = Gaussians(torch.ones(1).double(), torch.tensor([mean]).double(), std)
    points = law.sample(2 * count, Rng(5))[0]
    return Dataset("one Gaussian", points[:count], points[count:], law=law)


def law_of(data, schedule, noise=None, std=None):
    law = data.law if std is None else Gaussians(data.law.weights, data.law.means, std)
    return exact_law(law, schedule, noise)


def adds_up(budget):
    total = sum(part.change.value for part in budget.parts)
    assert total == pytest.approx(budget.whole.change.value, abs=1e-12)
    assert budget.levels[3].value - budget.levels[0].value == pytest.approx(total, abs=1e-12)
    assert all(part.rms.value >= 0 for part in budget.parts)
    assert budget.slack >= -1e-12
    return True


# ---------------------------------------------------------------------------------- known parts


@pytest.mark.parametrize("schedule", [Karras(0.002, 5.0), VP(), Rectified()])
def test_a_known_shift_of_a_known_gaussian_comes_out_as_computed(schedule):
    data, shift, std = single([0.4, -1.0]), torch.tensor([0.3, 0.1]), 0.7
    shifted = single([0.7, -0.9])
    budget = error_budget(law_of(shifted, schedule), data, "trig", nfe=9, n=60, tolerance=1e-8)
    start = torch.tensor(schedule.span[0]).double()
    alpha, sigma = float(schedule.alpha(start)), float(schedule.sigma(start))
    shrink = std / math.hypot(alpha * std, sigma)  # of a point of p_T on its way to the data
    prior, solver, model = budget.parts
    gap = budget.stages.real - shifted.law.means[0]  # both priors are that of the shifted one
    assert prior.rms.value == pytest.approx(
        shrink * alpha * float(gap.square().sum(1).mean().sqrt()), abs=1e-6
    )
    assert solver.rms.value < 2e-3
    assert model.rms.value == pytest.approx(float(shift.norm()) * (1 - alpha * shrink), rel=2e-3)
    assert model.median == pytest.approx(model.rms.value, rel=1e-3)
    assert adds_up(budget)


def test_nothing_wrong_leaves_nothing_but_the_reference_s_error():
    solver = diffode.solvers.get_solver("dopri5-rows", rtol=1e-7, atol=1e-7)
    exact = law_of(RING, Rectified())
    budget = error_budget(exact, RING, solver, n=40, tolerance=1e-7)
    prior, solver, model = budget.parts
    assert prior.rms.value == 0  # at t = 1 nothing of the data is left
    assert solver.rms.value < 1e-4
    assert model.rms.value == 0
    assert max(budget.errors["stage 0"], budget.errors["stage 1"]) < 1e-6


# ---------------------------------------------------------------------------------- the culprit


def test_a_short_span_is_the_prior_s_fault():
    exact = law_of(RING, Karras(0.002, 2.0))
    budget = error_budget(exact, RING, "trig", nfe=30, n=100, tolerance=1e-5)
    assert budget.largest.name == "prior mismatch"
    assert budget.largest.rms.value > 10 * max(p.rms.value for p in budget.parts[1:])
    assert "The largest part is the prior mismatch" in budget.markdown()
    assert adds_up(budget)


def test_five_euler_steps_are_the_solver_s_fault():
    budget = error_budget(law_of(RING, VP()), RING, "euler", steps=5, n=100, tolerance=1e-5)
    assert budget.largest.name == "solver"
    assert budget.largest.rms.value > 3 * budget.parts[0].rms.value
    assert budget.about["nfe"] == 6  # the last to denoise


def test_few_training_steps_are_the_model_s_fault():
    run = diffode.fit("edm", RING, steps=60, batch=128, width=32, depth=1, seed=1)
    budget = error_budget(run.field, RING, nfe=25, n=100, tolerance=1e-5)
    assert budget.largest.name == "model"
    assert budget.largest.rms.value > 2 * max(p.rms.value for p in budget.parts[:2])
    assert budget.largest.interval[0] > 0
    assert adds_up(budget)


def test_a_solver_s_error_can_hide_the_model_s():
    data = single([0.0, 0.0], count=400)
    wide = law_of(data, Karras(0.002, 80.0), std=0.9)  # euler on a coarse grid shrinks it
    budget = error_budget(wide, data, "euler", steps=8, n=300, tolerance=1e-6)
    model, solver = budget.aside
    assert model.interval[0] > 0 > solver.interval[1]
    assert solver in budget.helpful
    assert "errors cancel" in budget.markdown()
    assert solver.change.value + model.change.value == pytest.approx(
        budget.levels[3].value - budget.levels[1].value, abs=1e-12
    )


# ----------------------------------------------------------------------------------- the stages


@pytest.mark.parametrize("name", AFFINE)
def test_every_affine_recipe_has_a_budget(name):
    field = untrained(name, **SMALL)
    budget = error_budget(field, RING, "trig", nfe=12, n=24, seed=3, tolerance=1e-4)
    drawn = diffode.sample(field, 24, "trig", nfe=12, seed=3)
    assert torch.equal(budget.stages.points[3], drawn.x.double())
    assert budget.about["nfe"] == drawn.nfe
    prior, solver, _ = budget.parts
    assert prior.rms.value < 0.5
    assert (prior.rms.value == 0) == (name == "rectified")
    assert solver.rms.value < 0.2
    assert adds_up(budget)


@pytest.mark.parametrize("name", ["edm", "poisson"])
def test_the_batch_changes_nothing(name):
    field = untrained(name, **SMALL)
    few, many = (
        error_budget(field, RING, "heun", nfe=9, n=24, batch=batch, tolerance=1e-3)
        for batch in (13, 24)
    )
    for a, b in zip(few.parts, many.parts, strict=True):
        assert a.rms.value == pytest.approx(b.rms.value, rel=1e-4)
        assert a.change.value == pytest.approx(b.change.value, abs=1e-5)
    fewer = error_budget(field, RING, "heun", nfe=9, n=20, tolerance=1e-3)
    assert torch.allclose(fewer.stages.points, many.stages.points[:, :20], atol=1e-5)


@pytest.mark.parametrize("dof", [1.0, 4.0])
def test_the_hemisphere_s_partner_follows_the_plane_law(dof):
    exact = law_of(RING, Karras(0.002, 20.0), StudentT(dof))
    field = PoissonField(exact, radius="chi")
    start = field.start(2000, Rng(1))
    x0 = exact.sample(2000, Rng(1)).double()
    x = partner(field, start.x.double(), start.field.q, x0)
    radius = (x - x0).norm(dim=1) / 20.0
    below = [StudentT(dof).radius_cdf(float(r), 2) for r in radius]
    assert stats.kstest(below, "uniform").pvalue > 0.01
    ways = x - x0, start.x.double() - exact.mean  # the same direction, continued
    assert torch.allclose(torch.cosine_similarity(*ways), torch.ones(2000).double(), atol=1e-6)


def test_a_start_within_a_cap_has_a_partner_of_the_whole_law():
    exact = law_of(RING, Karras(0.002, 20.0), StudentT(1.0))
    field = PoissonField(exact, radius="plane", max_radius=60.0)
    x = field.start(1000, Rng(2)).x.double()
    assert float((x - exact.mean).norm(dim=1).max()) < 60.1
    n = (partner(field, x, None, torch.zeros_like(x)) - 0).norm(dim=1) / 20.0
    below = [StudentT(1.0).radius_cdf(float(r), 2) for r in n]
    assert stats.kstest(below, "uniform").pvalue > 0.01


def test_points_without_a_law_are_their_own():
    points = RING.train[:40]
    field = untrained("rectified", **SMALL)
    budget = error_budget(field, points, nfe=8, n=20, tolerance=1e-4)
    assert budget.about["exact"] == "Empirical"
    ends = torch.cdist(budget.stages.points[1], points.double()).amin(1)
    assert float(ends.max()) < 1e-3  # its exact flow ends on them
    assert "ends by another training point" in budget.markdown()


# ---------------------------------------------------------------------------------- a march


def marching(stages=8, **options):
    return untrained("monoflow", stages=stages, particles=32, **SMALL, **options)


@pytest.mark.parametrize("h", ["logit", "ns"])
def test_an_exact_march_steps_along_the_ratio_s_gradient(h):
    field = marching(h=h)
    x = 1.5 * Rng(4).normal("x", (50, 2), torch.float64)
    times = torch.tensor([0.25, 0.5]).double()
    sigma = float(field.rate.sigma(times[0]))
    path = Karras(sigma, 2 * sigma)  # at whose end both laws are seen through sigma
    cloud = Empirical(x, path)
    march = MonoFlow(
        ExactRatio(law_of(RING, path), cloud), h, rate=float(field.rate_at(times[0])), horizon=99.0
    )
    step = march.velocity(x, sigma) * 0.25
    assert torch.allclose(exact_march(field, RING.law, times, x), x + step, atol=1e-9)


def test_an_exact_march_reaches_the_data():
    field = marching(stages=40)
    times = torch.linspace(0, 1, 41).double()
    x = field.prior.sample((600, 2), Rng(0), dtype=torch.float64)
    reached = sliced_wasserstein2(exact_march(field, RING.law, times, x), RING.test).value
    assert reached < 0.15 < sliced_wasserstein2(x, RING.test).value


def test_a_march_has_no_prior_mismatch_and_its_model_s_part():
    field = marching()  # untrained critics: nothing moves
    budget = error_budget(field, RING, n=60, particles=40, refine=2)
    prior, solver, model = budget.parts
    start = diffode.sample(field, 60).x.double()
    assert prior.rms.value == 0 and prior.change.value == 0
    assert 0 < solver.rms.value < model.rms.value
    assert torch.equal(budget.stages.points[3], start)
    assert budget.about["nfe"] == 8 and not budget.aside
    assert adds_up(budget)
    json.dumps(budget.asdict(), allow_nan=False)


# -------------------------------------------------------------------------- signed changes


def test_the_stated_error_of_a_signed_change_is_that_of_its_pairs():
    changes, stated, apart = [], [], []
    for seed in range(40):
        rng = Rng(seed)
        x = rng.normal("x", (150, 2), torch.float64)
        data = rng.normal("y", (200, 2), torch.float64) * 1.5
        before, after = (Level.of(x * s, data) for s in (1.0, 1.1))
        change = after.since(before)
        changes.append(change.value)
        stated.append(change.stderr)
        apart.append(math.hypot(after.estimate.stderr, before.estimate.stderr))
    spread = float(torch.tensor(changes).std())
    mean = sum(stated) / len(stated)
    assert 0.7 < mean / spread < 1.4
    assert mean < 0.3 * sum(apart) / len(apart)  # what the pairing is for


def test_a_level_is_the_sliced_distance():
    x, y = RING.train[:100], RING.test[:150]
    known = sliced_wasserstein2(x, y)
    level = Level.of(x, y).estimate
    assert level.value == pytest.approx(known.value)
    assert level.stderr == pytest.approx(known.stderr)


# ------------------------------------------------------------------------------ what it prints


def test_tables_chart_and_json():
    budget = error_budget(law_of(RING, VP()), RING, "ddim", nfe=6, n=30, tolerance=1e-4)
    text = str(budget)
    assert "(i) Paired end points" in text and "parts may cancel" in text
    for part in (*budget.parts, budget.whole, *budget.aside):
        assert f"| {part.name} |" in text
    assert json.loads(json.dumps(budget.asdict(), allow_nan=False))["parts"][1]["name"] == "solver"
    picture = ElementTree.fromstring(budget.chart())
    bars = [e for e in picture.iter() if e.tag.endswith("rect")]
    assert len(bars) == 4 + 3 + 2
    assert all(float(bar.get("width")) > 0 for bar in bars)
    page = budget.html()
    assert page.count("<table>") == 2 and "<script" not in page and "http" not in page
    ElementTree.fromstring(f"<div>{page}</div>")


def test_progress_goes_from_nothing_to_all():
    seen = []
    error_budget(
        law_of(RING, VP()), RING, "ddim", nfe=4, n=40, batch=20, tolerance=1e-3,
        progress=seen.append,
    )  # fmt: skip
    assert seen == sorted(seen) and seen[-1] == 1.0


# ------------------------------------------------------------------------------------ refusals


def test_refusals_say_what_to_do():
    class Plain(Field):
        span, prior, event_shape = (0.0, 1.0), Normal(), (2,)

        def velocity(self, x, t, y=None):
            return x

    exact = law_of(RING, VP())
    poisson = PoissonField(law_of(RING, Karras(), StudentT(1.0)))
    with pytest.raises(TypeError, match="follows no flow"):
        error_budget(untrained("gan", **SMALL), RING)
    with pytest.raises(TypeError, match="states no path"):
        error_budget(Plain(), RING)
    with pytest.raises(TypeError, match="pass its plane form"):
        error_budget(poisson.bind(torch.ones(20)), RING)
    with pytest.raises(TypeError, match="on another clock"):
        error_budget(rescheduled(exact, "theta"), RING)
    with pytest.raises(ValueError, match=r"build it with field\.schedule"):
        error_budget(exact, RING, exact=law_of(RING, Rectified()))
    with pytest.raises(ValueError, match=r"build it with field\.noise"):
        karras = law_of(RING, Karras())
        error_budget(karras, RING, exact=law_of(RING, Karras(), StudentT(3.0)))
    with pytest.raises(ValueError, match="wanted at least 20"):
        error_budget(exact, RING, n=5)
    with pytest.raises(ValueError, match="got data of shape"):
        error_budget(exact, load("digits"))
    with pytest.raises(ValueError, match="belong to Euler steps"):
        error_budget(marching(), RING, "heun")
    with pytest.raises(ValueError, match="known where the data set is a mixture"):
        error_budget(marching(), RING.train)
    with pytest.raises(ValueError, match="noise of a Mobility"):
        error_budget(MonoFlow(ExactRatio(exact, exact)), RING, "euler", steps=3, n=20)


def test_the_exact_field_is_the_mixture_where_the_data_is_one():
    assert isinstance(exact_field(untrained("vp", **SMALL), RING), Mixture)
    digits = load("digits")
    assert isinstance(exact_field(untrained("vp", digits, **SMALL), digits), Empirical)
    assert isinstance(marching().rate, Mobility)
