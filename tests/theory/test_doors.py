"""What the public functions take for points, labels and times: the same numbers, or one line."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from diffode import Rng, build, data_stats, decode, encode, fit, log_prob, sample, train
from diffode.data import Dataset, load
from diffode.doors import as_labels, as_positive, as_state, as_time, as_times
from diffode.fields import (
    VP,
    Empirical,
    Karras,
    Latent,
    Mixture,
    MonoFlow,
    PoissonField,
    discriminator_guided,
    rescheduled,
)
from diffode.fields.ratios import ExactRatio
from diffode.likelihood.divergence import divergence
from diffode.metrics import class_accuracy, energy_distance, frechet, nearest
from diffode.metrics.labels import class_variation
from diffode.nn.critic import critic_network
from diffode.priors import Normal, StudentT
from diffode.sampling import edit, interpolate
from diffode.sampling.encoding import round_trip
from diffode.solvers import get_solver

WHOLE = torch.tensor([[1, 0], [-1, 0], [1, 1]])
MEANS, STDS = torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.3, 0.4])
LAW = Mixture(torch.tensor([0.3, 0.7]), MEANS, STDS, VP())
HEAVY = Mixture(torch.tensor([0.3, 0.7]), MEANS, STDS, Karras(), StudentT(3.0))
POINTS = Empirical(MEANS.repeat(3, 1), VP(), labels=torch.arange(6) % 2, bandwidth=0.2)
RATIO = ExactRatio(LAW, Normal())
FIELDS = {
    "mixture": LAW,
    "points": POINTS,
    "poisson": PoissonField(HEAVY),
    "bound": PoissonField(HEAVY, torch.tensor([0.5, 1.0, 2.0])),
    "guided": discriminator_guided(LAW, RATIO),
    "clock": rescheduled(LAW, "theta"),
    "monoflow": MonoFlow(RATIO),
    "learned": build("edm", (2,), width=8).field,
}
EVERYWHERE = ("velocity", "denoise", "noise_part", "score", "posterior", "log_marginal", "enter")
EVERYWHERE += ("leave", "potential")
CALLS = [
    (name, call)
    for name, field in FIELDS.items()
    for call in EVERYWHERE
    if hasattr(field, call) and not (call == "score" and name in ("poisson", "bound"))
]


def answer(field, call, x):
    """What a field's method says at x, as one tensor."""
    found = getattr(field, call)(x, 0.5)
    return torch.cat(found) if isinstance(found, tuple) else found


@pytest.mark.parametrize("kind", ["int64", "uint8", "list", "numpy", "bool"])
@pytest.mark.parametrize(("name", "call"), CALLS)
def test_whole_numbers_get_the_answers_of_their_floats(name, call, kind):
    x = WHOLE.abs() if kind in ("uint8", "bool") else WHOLE
    given = {"list": x.tolist(), "numpy": x.numpy()}.get(kind)
    given = x.to(getattr(torch, kind)) if given is None else given
    assert torch.equal(answer(FIELDS[name], call, given), answer(FIELDS[name], call, x.float()))


@pytest.mark.parametrize(("name", "call"), CALLS)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2), r"got x of shape \(2,\); wanted \(B, 2\); for one point pass x\[None\]"),
        (torch.zeros(3, 4), r"got x of shape \(3, 4\); wanted \(B, 2\)"),
        (torch.zeros(3, 1, 2), r"got x of shape \(3, 1, 2\)"),
        (torch.tensor(1.0), r"got x of shape \(\)"),
        (torch.zeros(0, 2), "wanted a point at least"),
        (torch.zeros(3, 2, dtype=torch.complex64), "got x of type torch.complex64"),
        ("words", "got x of type str"),
        (None, "got x of type NoneType"),
    ],
    ids=["one", "wide", "deep", "scalar", "empty", "complex", "str", "None"],
)
def test_other_shapes_and_types_are_refused_in_one_line(name, call, x, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        getattr(FIELDS[name], call)(x, 0.5)
    assert "\n" not in str(caught.value)


def test_what_solves_and_measures_converts_too():
    tight = {"rtol": 1e-8, "atol": 1e-8}
    pairs = [
        (
            encode(LAW, x, nfe=20).x,
            decode(LAW, x, nfe=20).x,
            round_trip(LAW, x, nfe=20),
            log_prob(LAW, x, **tight).nats,
            LAW.corrupt(x, 0.5, Rng(0))[0],
            get_solver("heun")(LAW, x, [1.0, 0.5]).x,
            divergence(LAW, x, 0.5).value,
        )
        for x in (WHOLE.tolist(), WHOLE.float())
    ]
    for got, want in zip(*pairs, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize(
    "y",
    [
        torch.tensor([0, 1, 1.0]),
        torch.tensor([False, True, True]),
        [0, 1, 1],
        np.array([0, 1, 1], "u1"),
        torch.tensor([0, 1, 1], dtype=torch.int32),
    ],
    ids=["float", "bool", "list", "numpy", "int32"],
)
def test_labels_of_any_type_are_those_whole_numbers(y):
    want, x = torch.tensor([0, 1, 1]), WHOLE.float()
    assert torch.equal(as_labels(y, 3), want)
    assert torch.equal(POINTS.velocity(x, 0.5, y), POINTS.velocity(x, 0.5, want))
    assert torch.equal(sample(POINTS, 3, nfe=5, y=y).x, sample(POINTS, 3, nfe=5, y=want).x)
    learned = build("edm", (2,), 2, width=8).field
    assert torch.equal(learned.velocity(x, 0.5, y), learned.velocity(x, 0.5, want))


def test_one_label_stands_for_all():
    assert torch.equal(as_labels(4, 2), torch.tensor([4, 4]))
    assert torch.equal(sample(POINTS, 3, nfe=5, y=1).x, sample(POINTS, 3, nfe=5, y=[1] * 3).x)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1], "got 3 points and 2 labels; pass one label per point"),
        (torch.zeros(3, 1).long(), r"got 3 points and labels of shape \(3, 1\)"),
        ([0, 0.5, 1], "got the label 0.5; labels are whole numbers"),
        ([0, float("nan"), 1], "got the label nan"),
        ([0, 1, 9], "got labels from 0 to 9; use 0 to 1"),
        (2, "got labels from 2 to 2; use 0 to 1"),  # the null label, which is for training
        (-1, "got labels from -1 to -1"),
        ("three", "got labels of type str"),
        ([0, 1j, 1], "got labels of type torch.complex64"),
    ],
)
def test_labels_that_do_not_exist_are_refused(y, message):
    field = build("edm", (2,), 2, width=8).field
    with pytest.raises((ValueError, TypeError), match=message):
        field.as_labels(y, 3)
    with pytest.raises((ValueError, TypeError), match=message):
        log_prob(field, WHOLE, y=y)


def test_what_is_right_passes_untouched():
    x, y = torch.zeros(3, 2, dtype=torch.bfloat16), torch.zeros(3, dtype=torch.int64)
    assert as_state(x, (2,)) is x and as_labels(y, 3) is y


@pytest.mark.parametrize("t", ["noon", None, 1j, torch.tensor(1j), [0.1, 0.2]])
def test_times_that_are_none_are_refused(t):
    with pytest.raises((TypeError, ValueError), match="got t of"):
        as_time(t, WHOLE)
    with pytest.raises((TypeError, ValueError), match="times"):
        as_times(torch.tensor(1.0) if t == [0.1, 0.2] else t, WHOLE)


@pytest.mark.parametrize(
    "value",
    [
        *(10**400, -(10**400), "1", b"1", bytearray(b"1"), np.str_("1"), np.array("1")),
        *(True, np.True_, np.array(True), torch.tensor(True), torch.tensor([True])),
        *(None, 1j, 0, -1.0, float("nan"), float("inf"), [1.0], torch.ones(2), torch.tensor(1j)),
    ],
    ids=lambda value: f"{type(value).__name__} {value}"[:24],
)
def test_what_is_no_positive_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^got noise .*; wanted a positive finite number, s_y$"):
        as_positive(value, "noise", "s_y")


@pytest.mark.parametrize(
    "value",
    [1.5, np.float32(1.5), np.array([1.5]), torch.tensor(1.5), Fraction(3, 2), Decimal("1.5")],
    ids=lambda value: type(value).__name__,
)
def test_a_positive_number_of_any_type_is_taken(value):
    assert as_positive(value, "noise", "s_y") == 1.5
    assert as_positive(3, "noise", "s_y") == 3.0


def test_a_critic_s_labels_are_known_to_its_flow():
    field = MonoFlow(critic_network((2,), classes=3))
    with pytest.raises(ValueError, match="got labels from 4 to 4; use 0 to 2"):
        sample(field, 3, y=4)


# ---------------------------------------------------------------- data, training, metrics


@pytest.mark.parametrize("name", ["edm", "rectified", "poisson"])
def test_training_on_whole_numbers_is_training_on_their_floats(name):
    whole = torch.randint(-3, 4, (60, 2), generator=torch.Generator().manual_seed(0))
    runs = [
        fit(name, Dataset("w", x[:50], x[50:]), steps=3, width=8, batch=16, device="cpu")
        for x in (whole, whole.tolist(), whole.float())
    ]
    assert runs[0].losses == runs[1].losses == runs[2].losses


def test_the_trainer_takes_whole_numbers_and_labels_of_other_types():
    x, y = torch.arange(40).view(20, 2) % 7, torch.arange(20) % 2
    pairs = [(x, y.float()), (x.numpy(), y.tolist()), (x.float(), y)]
    objectives = [build("edm", (2,), 2, width=8) for _ in pairs]
    first, *others = (
        [s.losses for s in train(o, d, steps=2, batch=8, device="cpu")]
        for o, d in zip(objectives, pairs, strict=True)
    )
    assert others == [first, first]


X = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Dataset("x", torch.arange(5), X), r"got train of shape \(5,\); wanted \(M, \*ev"),
        (lambda: Dataset("x", X, X[:, :1]), r"got test of shape \(30, 1\); wanted \(B, 2\)"),
        (lambda: Dataset("x", X[:0], X), r"got train of shape \(0, 2\); wanted a point"),
        (lambda: Dataset("x", X, X, torch.ones(3)), "got 30 points and 3 labels"),
        (lambda: Dataset("x", X, X, [2] * 30, None, 2), "got labels from 2 to 2; use 0 to 1"),
        (
            lambda: fit("edm", 3),
            r"got data of type int; wanted an array or a tensor \(M, \*event\)",
        ),
        (lambda: data_stats("moons"), "got data of type str"),
        (lambda: Empirical(X / 0, VP()), "got data with values that are not finite"),
        (lambda: Empirical(X, VP(), labels=[0.5] * 30), "got the label 0.5"),
        (lambda: Empirical(X, VP(), weights=[float("inf")] * 30), "finite and not all 0"),
        (lambda: Mixture([1, 1], [0, 1], [1, 1], VP()), r"got means of shape \(2,\)"),
        (lambda: Mixture([1, 1], MEANS, [1, -1], VP()), "got negative stds"),
        (lambda: Mixture([1, 1], MEANS / 0, [1, 1], VP()), "got means that are not finite"),
        (lambda: PoissonField(HEAVY, [1.0, 0.0]), "q is a positive finite number"),
        (lambda: FIELDS["bound"].bind([1.0]), "bound to q already"),
        (lambda: decode(PoissonField(HEAVY), X, q=[1.0]), "got 30 points and 1 values of q"),
        (lambda: Normal().log_prob("x"), "got x of type str"),
        (lambda: get_solver("heun")(LAW, X, torch.tensor(1.0)), "times must be at least two"),
        (lambda: frechet(X, "x"), "got y of type str"),
        (lambda: nearest(X, X[:, :1]), r"got reference of shape \(30, 1\)"),
        (lambda: class_variation([], [0], 2), "got no labels|got 0 labels"),
    ],
)
def test_what_builds_and_measures_refuses_the_rest(call, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["moons", "pinwheel", "checkerboard"])
def test_log_densities_of_whole_numbers_are_no_whole_numbers(name):
    density, x = load(name).log_density, torch.tensor([[0, 0], [1, 1], [-1, 0]])
    assert torch.equal(density(x), density(x.float()))


def test_a_mixture_of_whole_numbers_keeps_its_mean():
    law = Mixture([1, 3], [[0, 0], [1, 2]], [1, 1], VP())
    assert torch.equal(law.mean, torch.tensor([0.75, 1.5]))


def test_metrics_take_arrays_and_lists():
    want = energy_distance(X, X + 1)
    assert energy_distance(X.numpy(), (X + 1).tolist()) == want
    assert class_accuracy([0, 1.0], np.array([0, 0])).value == 0.5


BAD = torch.tensor([[0.0, 1.0], [torch.nan, 1.0], [torch.inf, 0.0]])


@pytest.mark.parametrize(
    "call",
    [
        lambda: encode(LAW, BAD),
        lambda: edit(LAW, BAD, 0.5, nfe=4),
        lambda: edit(LAW, BAD, 0.5, deterministic=True),
        lambda: interpolate(LAW, BAD.nan_to_num(), BAD),
        lambda: interpolate(LAW, Latent(BAD), Latent(BAD.nan_to_num())),
    ],
)
def test_points_that_are_not_finite_are_refused(call):
    with pytest.raises(ValueError, match=r"got [xab] with values .* in 2 of 3 rows; drop those"):
        call()
