"""A spherical law of the user's own: `Empirical` is exact for it, all else refuses it by name."""

import dataclasses
import math

import pytest
import torch

from diffode import sample
from diffode.analysis.stages import exact_field
from diffode.data import load
from diffode.fields import (
    VP,
    Empirical,
    ExactClassifier,
    Karras,
    Mixture,
    PoissonField,
    classifier_guided,
    discriminator_guided,
)
from diffode.fields.conditioning import conditioned
from diffode.fields.operators import mask
from diffode.fields.ratios import ExactRatio
from diffode.priors import (
    Ball,
    GeneralisedNormal,
    Normal,
    Spherical,
    StudentT,
    is_normal,
    is_student,
)
from diffode.rng import Rng
from diffode.sampling import twisted
from diffode.solvers import get_solver, grid, names

SHARES, SCALES = (0.8, 0.2), (1.0, 3.0)
POINTS = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.5, -0.5]])
FIRST = mask([True, False])  # observes the first of the two coordinates
BY_CLASS = ExactClassifier(Empirical(POINTS, VP(), labels=torch.tensor([0, 1, 1])))


class Contaminated(Spherical):
    """Normal noise of which a fifth of the draws is three times as wide."""

    def log_radial(self, r2, dim):
        parts = [
            math.log(p) - dim * math.log(s) - r2 / (2 * s**2)
            for p, s in zip(SHARES, SCALES, strict=True)
        ]
        return torch.logsumexp(torch.stack(parts), 0)

    def log_norm(self, dim):
        return -dim / 2 * math.log(2 * math.pi)

    def mixing(self, n, rng, name):
        wide = rng.uniform(f"{name}/wide", (n,)) < SHARES[1]
        return torch.where(wide, *reversed(SCALES)).double()


def log_potential(field):
    return field.log_potential(POINTS, 0.5)


class Derived(Normal):
    """The same, written as a class of normal laws."""

    log_radial, mixing = Contaminated.log_radial, Contaminated.mixing


@pytest.mark.parametrize("law", [Contaminated, Derived])
def test_points_under_contaminated_noise_are_those_of_its_two_normal_noises(law):
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).double()
    field, sigma = Empirical(POINTS.double(), Karras(), law()), 0.7
    normal = Empirical(POINTS.double(), Karras())
    logs = torch.stack(
        [
            math.log(p) + normal.log_marginal(x, sigma * s)
            for p, s in zip(SHARES, SCALES, strict=True)
        ]
    )
    shares = torch.softmax(logs, 0)
    x0 = sum(
        w[:, None] * normal.denoise(x, sigma * s) for w, s in zip(shares, SCALES, strict=True)
    )
    torch.testing.assert_close(field.denoise(x, sigma), x0, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(field.log_marginal(x, sigma), torch.logsumexp(logs, 0))
    assert sample(field, 4, nfe=9).x.isfinite().all()


@pytest.mark.parametrize(
    "law", [Contaminated(), Derived(), GeneralisedNormal(1.0), GeneralisedNormal(2.0), Ball()]
)
@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda f: Mixture(torch.ones(3), POINTS, torch.ones(3), VP(), f.noise), "use Empirical"),
        (lambda f: discriminator_guided(f, ExactRatio(Normal(), Normal(), (2,))), "guidance is"),
        (lambda f: f.score(POINTS, 0.5), "is not the score"),
        (lambda f: sample(f, 2, "ancestral"), "adds normal noise"),
        (lambda f: sample(f, 2, "ddim", eta=0.5), "adds normal noise"),
        (lambda f: sample(f, 2, "euler-maruyama"), "adds normal noise"),
        (lambda f: sample(f, 2, temperature=0.9), "temperature"),
        (log_potential, "is not known"),
        (lambda f: PoissonField(f), "needs StudentT noise"),
        (lambda f: Empirical(POINTS, VP(), f.noise, bandwidth=0.1), "a bandwidth needs Normal"),
        (lambda f: classifier_guided(f, BY_CLASS), "guidance by a classifier is known for"),
        (lambda f: conditioned(f, FIRST, torch.ones(1), 0.1), "a field is conditioned for"),
        (lambda f: twisted(f, FIRST, torch.ones(1), 0.1, 2), "weighs particles by"),
    ],
    ids=[
        "mixture",
        "guided",
        "score",
        "ancestral",
        "eta",
        "sde",
        "temperature",
        "potential",
        "poisson",
        "bandwidth",
        "classifier",
        "conditioned",
        "twisted",
    ],
)
def test_what_is_exact_for_known_laws_refuses_another_by_name(law, what, message):
    field = Empirical(POINTS, Karras() if "StudentT" in message else VP(), law)
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        what(field)
    assert type(law).__name__ in str(caught.value) or "Normal()" in str(caught.value)


@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")  # of four steps
@pytest.mark.parametrize("name", names())
def test_a_solver_adds_no_noise_or_refuses_the_law(name):
    """What is added is normal, so that two seeds must give the same points."""
    field = Empirical(POINTS, VP(), GeneralisedNormal(1.0))
    x, times = field.start(3, Rng(0)).x, grid(field, 4, "native")
    solver = get_solver(name)
    if hasattr(solver, "rtol"):
        solver.rtol = solver.atol = 0.1
    try:
        one, two = (solver(field, x, times, rng=Rng(seed)).x for seed in (1, 2))
    except TypeError as refusal:
        assert any(word in str(refusal) for word in ("GeneralisedNormal", "needs"))
    else:
        assert torch.equal(one, two)


def test_the_exact_field_of_a_budget_is_that_of_points_under_another_law():
    ring = load("eight-gaussians")
    few = dataclasses.replace(ring, train=ring.train[:64], train_labels=None)
    field = Empirical(few.train, VP(), Contaminated())
    assert isinstance(exact_field(field, few), Empirical)


def test_only_the_laws_themselves_count_as_known():
    class Cauchy(StudentT):
        def __init__(self):
            super().__init__(1.0)

    assert is_normal(Normal()) and is_student(Cauchy())
    assert not is_normal(Derived()) and not is_student(Normal()) and not is_normal(Contaminated())


def test_a_law_derived_from_another_stays_itself_at_other_scales():
    assert type(Derived().at(2.0)) is Derived and StudentT(3.0).at(2.0).dof == 3.0
    with pytest.raises(ValueError, match="a scale is a positive"):
        Derived().at(0.0)


def test_noise_is_given_at_scale_one_about_zero():
    for noise in (Normal(scale=2.0), StudentT(3.0, loc=1.0), Normal(loc=torch.ones(2))):
        with pytest.raises(ValueError, match="wanted a law of scale 1 about 0"):
            Empirical(POINTS, VP(), noise)
