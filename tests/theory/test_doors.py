"""What the public functions take for points, labels and times: the same numbers, or one line."""

import numpy as np
import pytest
import torch

from diffode import Rng, build, decode, encode, log_prob, sample
from diffode.doors import as_labels, as_state, as_time, as_times
from diffode.encoding import round_trip
from diffode.fields import (
    VP,
    Empirical,
    Karras,
    Mixture,
    MonoFlow,
    PoissonField,
    discriminator_guided,
    rescheduled,
)
from diffode.fields.ratios import ExactRatio
from diffode.nn.critic import critic_network
from diffode.priors import Normal, StudentT
from diffode.solvers import get_solver
from diffode.solvers.divergence import divergence

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
        ([0, 1, 9], "got labels from 0 to 9; use 0 to 2"),
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


def test_a_critic_s_labels_are_known_to_its_flow():
    field = MonoFlow(critic_network((2,), classes=3))
    with pytest.raises(ValueError, match="got labels from 4 to 4; use 0 to 3"):
        sample(field, 3, y=4)
