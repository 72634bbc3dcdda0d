"""One suite over the registry: a new recipe is tested by existing."""

import pytest
import torch

from diffode import recipes
from diffode.data import load
from diffode.doors import needs_labels
from diffode.fields import (
    VP,
    Absorbing,
    AffineField,
    Corrupting,
    CriticBank,
    Denoised,
    Empirical,
    EmpiricalInterpolant,
    Enumerated,
    Field,
    GaussianFlow,
    Interpolant,
    Karras,
    Mixture,
    Mobility,
    MonoFlow,
    PoissonField,
    Rectified,
    Replacing,
    TokenField,
    classifier_free,
    discriminator_guided,
)
from diffode.nn import critic_network
from diffode.priors import Normal, StudentT
from diffode.runs.building import build
from diffode.testing import CHECKS, CORRUPTION_CHECKS, check_field, check_objective
from diffode.training import data_stats
from tests.quick import quick
from tests.runs import WITHOUT_LABELS
from tests.strings import law, strings
from tests.wrappers import ClassifierFree, Told

SMALL = {"width": 16, "depth": 1}
VARIANTS = [(name, {}) for name in WITHOUT_LABELS] + [
    ("poisson", {"objective": "regression"}),
    ("poisson", {"dof": 4.0}),
    ("interpolant", {"path": "bridge", "gamma": 0.3}),
    ("radial", {"law": "ball", "schedule": "rectified"}),
    ("radial", {"law": "logistic"}),
    ("flowmap", {"objective": "meanflow"}),
    ("flowmap", {"objective": "consistency"}),
    ("flowmap", {"of": "poisson"}),
]
IDS = [" ".join([name, *map(str, options.values())]) for name, options in VARIANTS]


def perturbed(objective):
    """The objective away from its zero initialisation, so that the network matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in objective.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    bank = getattr(objective.field, "critic", None)
    for k in range(bank.stages) if isinstance(bank, CriticBank) else ():
        bank.record(k, objective.critic)
    return objective


@pytest.fixture(scope="module")
def moons():
    return load("moons").train[:64]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_recipe_on_points(name, options, moons):
    objective = build(name, (2,), stats=data_stats(moons), **SMALL, **options)
    check_objective(objective, moons)
    field = perturbed(objective).field
    check_field(field)
    if isinstance(field, AffineField):  # a wrapper keeps the same contract
        check_field(ClassifierFree(field, 2.0))


LEARNED = [name for name in WITHOUT_LABELS if not recipes.find(name).training]
ON_IMAGES = [(name, "unet") for name in recipes.names()] + [(name, "dit") for name in LEARNED]
FIRST = [("edm", "unet"), ("poisson", "unet"), ("gan", "unet"), ("poisson", "dit")]


@pytest.mark.parametrize(
    ("name", "network"), quick(ON_IMAGES, *(ON_IMAGES.index(case) for case in FIRST))
)
def test_recipe_on_images_with_labels(name, network):
    digits = load("digits")
    x, y = digits.train[:24], digits.train_labels[:24]
    sizes = {"network": network, "width": 8, "depth": 1 if network == "dit" else None}
    objective = build(name, (1, 8, 8), 10, data_stats(digits.train), **sizes)
    check_objective(objective, x, y)
    field = perturbed(objective).field
    check_field(Told(field, 3) if needs_labels(field) else field)
    start = field.start(2, torch_rng())
    moved = start.field
    tell = moved.log_posterior if isinstance(moved, TokenField) else moved.velocity
    one, two = (tell(start.x, sum(field.span) / 2, torch.full((2,), k)) for k in (1, 2))
    assert not torch.equal(one, two)
    if isinstance(field, AffineField) and not needs_labels(field):
        check_field(Told(classifier_free(field, 2.0, (0.1, 10.0)), 1))


def torch_rng():
    from diffode.rng import Rng

    return Rng(0)


POINTS = torch.tensor([(0.0, 0.0), (3.0, 0.0), (0.0, 3.0), (-4.0, -4.0)])
EXACT = {
    "empirical vp": Empirical(POINTS, VP()),
    "empirical poisson": Empirical(POINTS, Karras(), StudentT(1.0)),
    "mixture rectified": Mixture(torch.ones(4), POINTS, torch.full((4,), 0.5), Rectified()),
    "mixture pfgm++": Mixture(
        torch.ones(4), POINTS, torch.full((4,), 0.5), Karras(), StudentT(8.0)
    ),
    "interpolant": EmpiricalInterpolant(POINTS, POINTS + 1, Interpolant("bridge", 0.5), 0.5),
    "hemisphere": PoissonField(Empirical(POINTS, Karras(), StudentT(1.0))),
    "masked strings": Enumerated(strings(), law(), Absorbing(4, (4,))),
    "replaced strings": Enumerated(strings(), law(), Replacing(4, (4,)), joint=False),
    "ddim's frame": Denoised(Empirical(POINTS, VP()), eta=0.5),
    "monoflow": MonoFlow(GaussianFlow(torch.ones(2), torch.tensor([0.5, 2.0])).ratio()),
}


def applying(field):
    """How many checks a field has to pass: halves are an affine field's, a way back a smooth."""
    if isinstance(field, Corrupting):
        return len(CORRUPTION_CHECKS)
    return len(CHECKS) - (not isinstance(field, AffineField)) - (not field.smooth)


@pytest.mark.parametrize("name", EXACT)
def test_exact_field(name):
    assert len(check_field(EXACT[name])) == applying(EXACT[name])


def bank(blend):
    made = CriticBank(critic_network((3,), width=8), 4, horizon=2.0, blend=blend)
    for k in range(4):
        made.record(k, critic_network((3,), width=8, seed=k))
    return made


CRITICS = {
    "bank": lambda: MonoFlow(bank("none"), "ns"),
    "blended bank": lambda: MonoFlow(bank("linear"), "arcsinh"),
    "timed": lambda: MonoFlow(
        critic_network((2,), width=8, activation="silu", timed=True), rate=Mobility()
    ),
    "image": lambda: MonoFlow(critic_network((1, 8, 8), "conv", width=8), prior=Normal(scale=2.0)),
    "guided": lambda: discriminator_guided(
        EXACT["empirical vp"], critic_network((2,), width=8, timed=True), 0.1
    ),
    "guided poisson": lambda: discriminator_guided(
        EXACT["hemisphere"], critic_network((2,), width=8), 0.1
    ),
}


@pytest.mark.parametrize("name", CRITICS)
def test_field_of_a_critic(name):
    field = CRITICS[name]()
    assert len(check_field(field)) == applying(field)


class Decay(Field):
    """A user's field without structure, x' = -x."""

    prior, span, event_shape = Normal(), (0.0, 1.0), (3,)

    def velocity(self, x, t, y=None):
        return -x


def test_the_kit_takes_a_users_field():
    assert len(check_field(Decay())) == applying(Decay())


class Broadcasts(Decay):
    """Multiplies by a time of shape (B,) without appending axes: silently wrong where B = N."""

    def velocity(self, x, t, y=None):
        return -x * torch.as_tensor(t, dtype=x.dtype)


class Couples(Decay):
    def velocity(self, x, t, y=None):
        return x - x.mean(0, keepdim=True)


class Widens(Decay):
    def velocity(self, x, t, y=None):
        return -x.double()


class Explodes(Decay):
    def velocity(self, x, t, y=None):
        return -x / (1 - torch.as_tensor(t, dtype=x.dtype).reshape(-1, 1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Broadcasts, "alone differs"),
        (Couples, "alone differs"),
        (Widens, "float64 for torch.float32"),
        (Explodes, "not finite at t = 1.0"),
    ],
)
def test_the_kit_finds_a_planted_mistake(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_field(wrong())


class Forgets(Enumerated):
    """Its step to the data draws new letters: the law of x_s is no longer right."""

    def __init__(self):
        super().__init__(strings(), law(), Absorbing(4, (4,)))
        step = self.corruption.step
        self.corruption.step = lambda x, x0, t, s, rng: step(x, x0, t, (t + s) / 2, rng)


class Peeks(Enumerated):
    """Its guess of a row is that of the first row."""

    def guess(self, x, t, rng, y=None):
        return super().guess(x, t, rng, y)[:1].expand(len(x), -1)


class Moves(Enumerated):
    def velocity(self, x, t, y=None):
        return torch.zeros(x.shape)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Forgets(), "changes the law of x_s"),
        (lambda: Peeks(strings(), law(), Absorbing(4, (4,))), "row 1 alone differs"),
        (lambda: Moves(strings(), law(), Absorbing(4, (4,))), "states a velocity"),
    ],
)
def test_the_kit_finds_a_planted_mistake_of_a_corruption(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_field(wrong())
