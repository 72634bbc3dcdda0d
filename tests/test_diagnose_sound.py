"""No false alarm: exact fields and networks, trained or not; and mistakes around a trained one."""

import pytest
import torch

import diffode
from diffode.data import load
from diffode.fields import (
    VE,
    VP,
    Cosine,
    DiscreteBetas,
    Empirical,
    Field,
    GaussianFlow,
    Karras,
    Mixture,
    MonoFlow,
    PoissonField,
    Rectified,
    SubVP,
)
from diffode.fields.base import expand_like
from diffode.priors import StudentT
from diffode.runs import loading
from diffode.runs.building import build
from diffode.testing import diagnose
from diffode.training import data_stats
from tests.broken import BETAS, exact, points
from tests.contract.test_registry import VARIANTS, perturbed
from tests.quick import quick
from tests.runs import WITHOUT_LABELS

SMALL = {"width": 16, "depth": 1}


def finding(report, check):
    (found,) = (f for f in report.findings if f.check == check)
    return found


SCHEDULES = [VP(), SubVP(), VE(), Karras(), Rectified(), Cosine(), DiscreteBetas(BETAS)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_exact_fields_are_sound(schedule):
    report = diagnose(exact(schedule), points())
    assert all(f.ok for f in report.findings), str(report)


@pytest.mark.parametrize(
    ("factor", "shift", "schedule"),
    quick(
        [
            (1.0, (100.0, -50.0), VP()),
            (1.0, (100.0, -50.0), Karras()),
            (1.0, (1e6, -5e5), Karras()),
            (1e3, (0.0, 0.0), Rectified()),
            (1e3, (1e5, -5e4), Rectified()),
            (1e3, (1e5, -5e4), Karras(2.0, 80_000.0)),
        ],
        0,
        5,
    ),
)
def test_data_of_another_place_and_scale_are_sound(factor, shift, schedule):
    x = factor * points() + torch.tensor(shift, dtype=torch.float64)
    report = diagnose(Empirical(x, schedule), x)
    assert all(f.ok for f in report.findings), str(report)


@pytest.mark.parametrize("schedule", [VP(), Karras()], ids=repr)
def test_a_schedule_too_short_for_the_data_is_named(schedule):
    """Their prior is right for the noise; it is the data that it does not cover."""
    found = finding(diagnose(Empirical(1e3 * points(), schedule), 1e3 * points()), "prior")
    assert found.ok is False and found.mistake == "short schedule"
    assert "scale the data down" in found.line


@pytest.mark.parametrize("dof", [1.0, 128.0])
def test_exact_poisson_fields_are_sound(dof):
    inner = Empirical(points(), Karras(), StudentT(dof))
    for field in (inner, PoissonField(inner)):
        report = diagnose(field, points())
        assert all(f.ok for f in report.findings if f.applies), str(report)


@pytest.mark.parametrize("noise", [None, StudentT(4.0)])
def test_a_law_is_sound_beside_draws_of_it(noise):
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, -1.5]])
    law = Mixture(torch.ones(3), means, torch.full((3,), 0.4), Karras(), noise)
    report = diagnose(law, law.sample(2000, diffode.Rng(1)))
    assert report.ok and finding(report, "velocity").ok


def test_a_flow_of_a_critic_is_sound():
    field = MonoFlow(GaussianFlow(torch.ones(2), torch.tensor([0.5, 2.0])).ratio())
    assert diagnose(field, diffode.sample(field, 400, seed=1).x).ok
    assert not diagnose(field, points()).ok  # it leads elsewhere


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=repr)
def test_no_alarm_on_an_untrained_network(name, options):
    x = load("moons").train[:500]
    objective = build(name, (2,), stats=data_stats(x), **SMALL, **options)
    report = diagnose(perturbed(objective).field, x)
    assert not report.mistakes and all(f.check == "flow" for f in report.failures()), str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_no_alarm_on_images_with_labels(name):
    digits = load("digits")
    objective = build(
        name, (1, 8, 8), 10, data_stats(digits.train), network="mlp", width=16, depth=1
    )
    report = diagnose(perturbed(objective).field, digits.train[:300])
    assert not report.mistakes and all(f.check == "flow" for f in report.failures()), str(report)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["edm", "poisson"])
def test_a_hardly_trained_run_gets_no_verdict(run, request):
    field = loading.load(request.getfixturevalue(run)).field
    found = finding(diagnose(field, "digits"), "velocity")
    assert found.ok is not False and not found.mistake
    assert found.ok or "not trained enough to tell" in found.message


@pytest.fixture(scope="module")
def trained():
    return diffode.fit("edm", "moons", steps=400, width=48, depth=2, batch=256, seed=1).field


@pytest.mark.slow
def test_a_trained_network_agrees(trained):
    report = diagnose(trained, "moons")
    assert report.ok and finding(report, "velocity").ok and finding(report, "flow").ok


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("sign", lambda f, x, t: -f.velocity(x, t)),
        ("reversed time", lambda f, x, t: f.velocity(x, 80.002 - t)),
        ("missing 1/sigma", lambda f, x, t: x - f.denoise(x, t)),
        ("eps as score", lambda f, x, t: -expand_like(t, x) * f.noise_part(x, t)),
        ("float16 time", lambda f, x, t: f.velocity(x, t.half().double())),
    ],
)
def test_mistakes_around_a_trained_network_are_named(trained, name, rule):
    class Wrapped(Field):
        schedule, prior, span, event_shape = trained.schedule, trained.prior, trained.span, (2,)

        def __init__(self):
            super().__init__()
            self.inner = trained

        def velocity(self, x, t, y=None):
            return rule(self.inner, x, torch.as_tensor(t, dtype=torch.float64))

    assert diagnose(Wrapped(), load("moons").train[:2000]).mistakes[:1] == (name,)
