"""The trainer: a step is a function of (seed, step), whatever is resumed, split or shared out."""

import random
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
import torch

from diffode.data import load
from diffode.data.source import Source
from diffode.rng import Rng
from diffode.runs.building import build
from diffode.testing import check_objective
from diffode.training import Objective, Phase, checkpoint, data_stats
from diffode.training.batches import Batch, Batches
from diffode.training.trainer import train
from tests.fields import Point

MOONS = load("moons")
X, Y = MOONS.train[:50], MOONS.train_labels[:50]
STEPS = 12


def make(name="edm", classes=None, seed=0, **options):
    return build(name, (2,), classes, data_stats(X), seed, width=16, depth=1, **options)


def begin(objective, data=X, **options):
    """A short training that has not begun."""
    options = {"steps": STEPS, "batch": 16, "device": "cpu", "warmup": 3, **options}
    return train(objective, data, **options)


def go(objective, data=X, **options):
    """The states of a short training."""
    return list(begin(objective, data, **options))


def numbers(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def assert_same(one, two, tolerance=0.0):
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------ the same run


@pytest.mark.parametrize(
    ("name", "classes", "options"),
    [
        ("poisson", 2, {}),
        ("rectified", None, {"accumulate": 2, "weight_decay": 0.1, "ema": 0.5}),
        ("ddpm", 2, {"precision": "bf16"}),
        ("radial", 2, {}),
        ("morph", None, {}),
    ],
)
def test_a_resumed_run_is_the_same_run(tmp_path, name, classes, options):
    data = (X, Y) if classes else X
    straight = go(make(name, classes), data, out=tmp_path / "a", **options)
    out = tmp_path / "b"
    states = begin(make(name, classes), data, out=out, **options)
    first = [state.losses for state in islice(states, 6)]
    states.close()
    assert checkpoint.file_at(out).name == "step-00000006.safetensors", "closing saves"
    other = make(name, classes, seed=9)
    rest = go(other, data, out=out, resume=out, **options)
    assert [s.step for s in rest] == list(range(7, STEPS + 1))
    assert first + [s.losses for s in rest] == [s.losses for s in straight]
    assert [s.grad_norm for s in rest] == [s.grad_norm for s in straight[6:]]
    assert_same(numbers(other), numbers(straight[-1].objective))
    assert_same(numbers(rest[-1].averaged), numbers(straight[-1].averaged))
    stored = [checkpoint.read(checkpoint.file_at(tmp_path / k))[1] for k in "ab"]
    assert_same(*stored)
    assert any(key.startswith("opt/field/") for key in stored[0])


def test_a_seed_fixes_a_run():
    one, two, three = (go(make(seed=s), seed=s) for s in (5, 5, 6))
    assert [s.losses for s in one] == [s.losses for s in two]
    assert_same(numbers(one[-1].objective), numbers(two[-1].objective))
    assert one[-1].losses != three[-1].losses
    changed = go(make(seed=5), seed=6)
    assert changed[0].losses != one[0].losses, "the seed of the training does nothing"


def test_training_leaves_global_state_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    one = go(make("poisson", 2), (X, Y))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]
    assert torch.get_default_dtype() == torch.float32
    torch.manual_seed(2)
    two = go(make("poisson", 2), (X, Y))
    assert [s.losses for s in one] == [s.losses for s in two], "torch's generator matters"


# ----------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("batch", [7, 16, 120])
def test_every_epoch_sees_each_sample_once(batch):
    rows = torch.arange(50)
    batches = Batches(Batch(rows[:, None].float(), rows + 100), batch, seed=3)
    pieces = [batches.at(step, torch.arange(batch)) for step in range(30)]
    seen = torch.cat([piece.x[:, 0] for piece in pieces]).long()
    labels = torch.cat([piece.y for piece in pieces])
    assert torch.equal(labels, seen + 100), "labels do not belong to their samples"
    epochs = seen[: len(seen) // 50 * 50].view(-1, 50)
    assert torch.equal(epochs.sort(1).values, rows.expand_as(epochs))
    assert len({tuple(e.tolist()) for e in epochs}) == len(epochs), "epochs repeat their order"


def test_a_batch_is_addressed_by_its_step_alone():
    whole = torch.arange(16)
    walked = Batches(Batch(X, Y), 16, seed=3)
    for step in range(20):
        last = walked.at(step, whole)
    fresh = Batches(Batch(X, Y), 16, seed=3).at(19, whole)
    assert torch.equal(last.x, fresh.x) and torch.equal(last.y, fresh.y)
    parts = [Batches(Batch(X, Y), 16, seed=3).at(19, rows) for rows in (whole[:5], whole[5:])]
    assert torch.equal(torch.cat([p.x for p in parts]), last.x)
    assert not torch.equal(Batches(Batch(X, Y), 16, seed=4).at(19, whole).x, last.x)
    assert Batches(Batch(X), 16, seed=3).at(19, whole).y is None


# ------------------------------------------------------------------------------- pieces of a batch


class Recorder(Objective):
    """Keeps what it is given, and draws."""

    def __init__(self):
        super().__init__(Point(0.0))
        self.seen = []

    def forward(self, phase, batch, rng):
        x = batch.x
        self.seen.append((x, batch.y, rng.normal("noise", x.shape), rng.spread("time", len(x))))
        return (self.field.where - x).square().mean(), {}


def descent(objective):
    """A phase of gradient descent of rate 1: a step moves the weights by their gradient."""
    return Phase(
        "field",
        list(objective.parameters()),
        optimiser=lambda params: torch.optim.SGD(params, 1.0),
        schedule=lambda step, steps: 1.0,
    )


@pytest.mark.parametrize("accumulate", [2, 4])
def test_pieces_of_a_batch_draw_what_the_batch_draws(accumulate):
    whole, pieces = Recorder(), Recorder()
    go(whole, (X, Y), steps=3)
    go(pieces, (X, Y), steps=3, accumulate=accumulate)
    assert len(pieces.seen) == 3 * accumulate
    for step, expected in enumerate(whole.seen):
        parts = pieces.seen[step * accumulate : (step + 1) * accumulate]
        for got, want in zip(map(torch.cat, zip(*parts, strict=True)), expected, strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("accumulate", [2, 4])
@pytest.mark.parametrize("name", ["poisson", "rectified"])
def test_pieces_of_a_batch_add_up_to_its_gradient(name, accumulate):
    def gradient(pieces):
        objective = make(name, 2)
        before = numbers(objective)
        objective.phases = lambda: [descent(objective)]
        state = go(objective, (X, Y), steps=1, clip=1e9, accumulate=pieces)[0]
        return {k: before[k] - v for k, v in numbers(objective).items()}, state

    (one, state), (many, other) = gradient(1), gradient(accumulate)
    assert_same(one, many, 1e-5)
    assert max(float(g.abs().max()) for g in one.values()) > 1e-2
    assert state.losses["field"] == pytest.approx(other.losses["field"], rel=1e-5)
    length = torch.cat([g.flatten() for g in one.values()]).norm()
    assert state.grad_norm["field"] == pytest.approx(float(length), rel=1e-4)


# ----------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("decay", [0.999, 0.3])
def test_the_average_follows_its_weights_quickly_at_first(decay):
    mean = None
    for k, state in enumerate(begin(make(), lr=0.1, ema=decay)):
        now = {n: p.double() for n, p in numbers(state.objective.field).items()}
        keep = 0.0 if k == 0 else min(decay, (1 + k) / (10 + k))
        mean = now if mean is None else {n: keep * mean[n] + (1 - keep) * now[n] for n in now}
    assert_same({n: m.float() for n, m in mean.items()}, numbers(state.averaged), 1e-5)
    raw = state.objective.field.network.outer.bias
    assert not torch.equal(state.averaged.network.outer.bias, raw)


def test_bfloat16_trains_float32_weights():
    plain, mixed = go(make("poisson")), go(make("poisson"), precision="bf16")
    assert all(p.dtype == torch.float32 for p in mixed[-1].objective.parameters())
    losses = [[s.losses["field"] for s in states] for states in (plain, mixed)]
    assert losses[0] != losses[1], "nothing was rounded"
    np.testing.assert_allclose(*losses, rtol=0.05)
    objective = mixed[-1].objective
    loss, _ = objective("field", Batch(X), Rng(0))
    again, _ = type(objective).forward(objective, "field", Batch(X), Rng(0))
    assert torch.equal(loss, again), "the objective still rounds after training"


def test_the_gradient_is_clipped():
    far, objective = X + 100, Recorder()
    objective.phases = lambda: [descent(objective)]
    state = go(objective, far, steps=1, clip=0.25)[0]
    assert state.grad_norm["field"] > 50, "this is the norm before clipping"
    assert float(objective.field.where.detach().norm()) == pytest.approx(0.25, rel=1e-4)


def test_the_learning_rate_rises_and_falls():
    states = go(make(), lr=0.5, warmup=4)
    rates = [s.lr["field"] for s in states]
    assert max(rates) < 0.5 and rates.index(max(rates)) == 3
    assert rates[0] == pytest.approx(0.5 / 4) and 0 < rates[-1] < 0.02


# ----------------------------------------------------------------------- more than samples, labels


@dataclass(frozen=True)
class Pairs(Batch):
    """Samples, each with the noise that it is paired with."""

    noise: torch.Tensor | None = None


def test_what_belongs_to_a_sample_stays_with_it():
    """A batch of the user's own goes through permutation and pieces as its samples do."""

    class Coupled(Recorder):
        def forward(self, phase, batch, rng):
            assert isinstance(batch, Pairs) and len(batch) == 8
            assert torch.equal(batch.noise, 3 * batch.x)
            assert torch.equal(batch.y, (batch.x > 0)[:, 0].long())
            return super().forward(phase, batch, rng)

    objective, plain = Coupled(), Recorder()
    go(objective, Pairs(X, (X > 0)[:, 0].long(), 3 * X), accumulate=2)
    go(plain, (X, (X > 0)[:, 0].long()), accumulate=2)
    assert_same(numbers(objective), numbers(plain))
    with pytest.raises(
        ValueError, match=r"got 50 samples and noise of shape \(9, 2\); wanted a row"
    ):
        go(objective, Pairs(X, noise=X[:9]))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Pairs(X, noise=[0.0] * len(X)), "got noise of type list beside samples; wanted a tensor"),
        (Pairs(Source(X.numpy())), r"a Source as x of a Pairs.* source\[:\], or the pair"),
    ],
)
def test_a_batch_holds_tensors(data, said):
    with pytest.raises(TypeError, match=said):
        go(Recorder(), data)


def test_the_kit_checks_an_objective_of_ones_own():
    """It has no spec, so that nothing is said about checkpoints."""
    assert check_objective(Recorder(), Pairs(X, noise=X)) == [
        "every parameter learns",
        "the loss falls",
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_data_of_half_precision_are_learned_in_single(dtype):
    found, wanted = go(make(), X.to(dtype)), go(make(), X.to(dtype).float())
    assert [s.losses for s in found] == [s.losses for s in wanted]
