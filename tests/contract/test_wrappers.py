"""One suite over the fields that wrap fields: a new wrapper is tested by being listed here."""

import copy
import importlib
import pickle
import pkgutil

import pytest
import torch

import diffode.fields
from diffode import build, decode, encode, log_prob, sample
from diffode.analysis.budget import error_budget
from diffode.doors import needs_labels
from diffode.fields import (
    VP,
    AffineField,
    Empirical,
    ExactClassifier,
    Heat,
    Karras,
    Mixture,
    PoissonField,
    Rectified,
    Wrapped,
    blurred,
    classifier_free,
    classifier_guided,
    conditioned,
    discriminator_guided,
    rescheduled,
)
from diffode.fields.guided import Led
from diffode.fields.operators import mask
from diffode.nn import critic_network
from diffode.priors import Normal, StudentT
from diffode.rng import Rng
from diffode.solvers import get_solver
from diffode.testing import CHECKS, check_field
from diffode.warned import DiffodeWarning
from tests.quick import quick
from tests.wrappers import FLOWS, Told

Y = torch.tensor([0, 2, 1, 0])


def law(schedule, noise=None, spread=0.0):
    """A mixture of three classes in space."""
    means = 2 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double()
    stds, classes = torch.full((6,), 0.5 + spread), torch.arange(6) % 3
    return Mixture(torch.ones(6), means, stds, schedule, noise or Normal(), labels=classes)


NORMAL, WEAK = law(Karras(0.05, 20.0)), law(Karras(0.05, 20.0), spread=0.3)
POINTS = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
STUDENT = Empirical(POINTS, Karras(0.05, 20.0), StudentT(4.0), labels=torch.arange(30) % 3)
POISSON = PoissonField(STUDENT)
WRAPPERS = {
    "guided": classifier_free(NORMAL, 2.0),
    "guided rectified": classifier_free(law(Rectified()), 2.0, (0.5, float("inf"))),
    "guided between": classifier_free(NORMAL, 2.0, (0.2, 2.0)),
    "guided by a weaker field": classifier_free(NORMAL, 1.5, weak=WEAK),
    "guided poisson": classifier_free(POISSON, 2.0),
    "guided poisson between": classifier_free(POISSON, 2.0, (0.2, 2.0)),
    "guided student": classifier_free(STUDENT, 2.0),
    "classifier": classifier_guided(NORMAL, ExactClassifier(NORMAL), 2.0),
    "classifier, poisson": classifier_guided(POISSON, ExactClassifier(STUDENT), 2.0, (0.2, 2.0)),
    "discriminator": discriminator_guided(
        NORMAL, critic_network((3,), width=8, activation="silu", timed=True), 0.1
    ),
    "clock": rescheduled(NORMAL, "theta"),
    "clock around guidance": rescheduled(classifier_free(NORMAL, 2.0, (0.2, 2.0)), "logsnr"),
    "guidance on a clock": classifier_free(rescheduled(NORMAL, "logsnr"), 2.0, (0.2, 2.0)),
    "poisson": POISSON,
    "blurred": blurred(POINTS, VP(), Heat((3,), 1.0), labels=torch.arange(30) % 3),
    "map": build("flowmap", (3,), classes=3, width=8, depth=1).field,
}


def labels(field):
    return Y if needs_labels(field) else None


def told(field):
    return Told(field, 1) if needs_labels(field) else field


def own_modules():
    names = [m.name for m in pkgutil.iter_modules(diffode.fields.__path__)]
    return [importlib.import_module(f"diffode.fields.{name}") for name in names]


def test_every_wrapper_of_the_package_is_here():
    made = {type(part) for field in WRAPPERS.values() for part in field.modules()}
    kinds = {v for m in own_modules() for v in vars(m).values() if isinstance(v, type)}
    wrappers = {k for k in kinds if issubclass(k, Wrapped)} - {Led}
    lacking = {k for k in wrappers if not any(issubclass(m, k) for m in made)}
    assert {k.__name__ for k in lacking} <= {"Conditioned"}  # of as many rows as observations


@pytest.mark.parametrize("name", WRAPPERS)
def test_it_keeps_the_contract(name):
    assert len(check_field(told(WRAPPERS[name]))) == len(CHECKS)


def test_the_checks_say_that_they_go_without_labels():
    with pytest.raises(ValueError, match=r"the checks go without labels, .* guided to labels"):
        check_field(WRAPPERS["guided"])


class Counting(AffineField):
    """A field that counts how often it is asked."""

    def __init__(self, inner):
        super().__init__(inner.schedule, inner.noise, *inner.moments)
        self.inner, self.asked = inner, 0

    def posterior(self, x, t, y=None):
        self.asked += 1
        return self.inner.posterior(x, t, y)


def counted(guided, field):
    """The wrapper with a counting field in the place of the innermost one."""
    return guided.around(
        counted(guided.inner, field) if isinstance(guided.inner, Wrapped) else field
    )


GUIDED = [n for n in WRAPPERS if "guid" in n and "weaker" not in n]
CASES = [(n, s) for s in FLOWS for n in GUIDED]
FIRST = [CASES.index((n, s)) for n in GUIDED for s in ("trig", "heun", "dopri5-rows")]


@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")
@pytest.mark.parametrize(("name", "solver"), quick(CASES, *FIRST))
def test_network_calls_are_those_that_were_made(name, solver):
    innermost = STUDENT if "student" in name or "poisson" in name else NORMAL
    innermost = law(Rectified()) if "rectified" in name else innermost
    counting = Counting(innermost)
    field = counted(WRAPPERS[name], counting)
    loose = {"rtol": 0.1, "atol": 0.1} if get_solver(solver).adaptive else {}
    try:
        drawn = sample(field, 4, solver, steps=4, y=Y, **loose)
    except TypeError as refused:
        assert "normal noise" in str(refused) and innermost is STUDENT
        return
    assert drawn.network_calls == counting.asked
    assert drawn.nfe <= drawn.network_calls <= 2 * drawn.nfe


APART = [(n, s) for n, s in CASES if not get_solver(s).batch_coupled]


@pytest.mark.parametrize(("name", "solver"), quick(APART, *(APART.index(CASES[k]) for k in FIRST)))
def test_a_row_goes_where_it_goes_alone(name, solver):
    """Rows at levels of their own on both sides of an interval's end, too."""
    field = WRAPPERS[name]
    loose = {"rtol": 0.1, "atol": 0.1} if get_solver(solver).adaptive else {}
    how = {"solver": solver, "steps": 4, "y": Y, "seed": 2, **loose}
    try:
        whole = sample(field, 4, **how).x
    except TypeError as refused:
        assert "normal noise" in str(refused)
        return
    for size in (1, 3):
        torch.testing.assert_close(
            sample(field, 4, batch=size, **how).x, whole, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", WRAPPERS)
def test_rows_are_those_of_the_field(name):
    field = WRAPPERS[name]
    y = labels(field)
    start = field.start(4, Rng(0), y)
    index, middle = torch.tensor([2, 0]), sum(field.span) / 2
    whole = start.field.velocity(start.x, middle, y)
    part = start.field.rows(index).velocity(
        start.x[index], middle, None if y is None else y[index]
    )
    torch.testing.assert_close(part, whole[index])


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_is_encoded_is_decoded(name):
    field = WRAPPERS[name]
    y = labels(field)
    drawn = sample(field, 4, "rk4", steps=20, y=y, final="none")
    assert torch.equal(decode(field, drawn.latent, "rk4", steps=20, y=y).x, drawn.x)
    how = {"solver": "dopri5-rows", "rtol": 1e-6, "atol": 1e-6, "y": y}
    there = encode(field, drawn.x.double(), **how)
    torch.testing.assert_close(
        decode(field, there.x, **how).x, drawn.x.double(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", WRAPPERS)
def test_it_has_a_density(name):
    field = WRAPPERS[name]
    x, y = NORMAL.sample(4, Rng(1), Y), labels(field)
    found = log_prob(field, x, y=y, solver="rk4", steps=20)
    assert found.nats.isfinite().all() and (found.status == 0).all()


@pytest.mark.parametrize("name", WRAPPERS)
def test_it_is_copied_stored_and_cast(name):
    field = WRAPPERS[name]
    y = labels(field)
    start = field.start(4, Rng(0), y)
    x, t = start.x.double(), sum(field.span) / 2
    expected = start.field.velocity(x, t, y)
    for other in (pickle.loads(pickle.dumps(field)), copy.deepcopy(field), field.to("cpu")):
        found = other.start(4, Rng(0), y).field.velocity(x, t, y)
        assert torch.equal(found, expected)
        assert repr(other) == repr(field)
    assert start.field.velocity(x.float(), t, y).dtype == torch.float32


@pytest.mark.parametrize("name", [n for n in WRAPPERS if n != "blurred"])  # which has no other
def test_it_goes_the_same_way_on_another_clock(name):
    field = WRAPPERS[name]
    y = labels(field)
    other = rescheduled(field, "logsnr" if "rectified" not in name else "theta")
    for kept in ("smooth", "classes", "unconditional", "calls_per_evaluation"):
        assert getattr(other, kept) == getattr(field, kept)
    times = torch.linspace(*field.span, 7, dtype=torch.float64)
    start = field.start(4, Rng(0), y)
    moved = rescheduled(start.field, "logsnr" if "rectified" not in name else "theta")
    for t in times[1:-1]:
        assert moved.calls_at(moved.times(t)) == start.field.calls_at(t)


def test_an_error_budget_of_a_field_guided_to_labels_says_why_there_is_none():
    with pytest.raises(ValueError, match="take the field without guidance"):
        error_budget(WRAPPERS["guided"], POINTS.float(), n=40, held_out=POINTS[:10].float() + 1)


def test_a_field_around_guidance_is_given_an_observation():
    seen = mask(torch.tensor([True, False, False]))
    with pytest.warns(DiffodeWarning, match="put guidance around what is conditioned"):
        field = conditioned(WRAPPERS["guided"], seen, torch.ones(4, 1), 0.3)
    drawn = sample(field, 4, nfe=10, y=Y)
    assert drawn.x.isfinite().all() and drawn.network_calls == 4 * drawn.nfe


@pytest.mark.parametrize(
    "change",
    [
        lambda field: classifier_free(field, 2.0, (0.2, 2.0)),
        lambda field: classifier_guided(field, ExactClassifier(STUDENT)),
        lambda field: discriminator_guided(field, critic_network((3,))),
        lambda field: conditioned(field, mask([True, False, False]), [0.5], 0.1),
    ],
)
def test_what_looks_at_the_noise_level_is_put_inside_a_poisson_field_or_refused(change):
    assert isinstance(change(POISSON), PoissonField)
    with pytest.raises(ValueError, match=r"around a PoissonField|condition the field, then"):
        change(rescheduled(POISSON, "theta"))
