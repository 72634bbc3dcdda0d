"""Objectives of one's own: phases, further state; and a step shared out to two processes."""

import json
import os
import subprocess
import sys
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from diffode.cli.app import run
from diffode.data import load
from diffode.runs import loading
from diffode.runs.building import build
from diffode.training import Objective, Phase, checkpoint, data_stats
from diffode.training.batches import Batch, Batches
from diffode.training.denoising import Denoising
from diffode.training.trainer import train
from tests.fields import Point

X = load("moons").train[:50]
STEPS = 5


class Game(Objective):
    """A critic follows the data by gradient descent, twice a step; a generator follows it."""

    def __init__(self):
        super().__init__(Point())
        self.critic, self.calls = nn.Parameter(torch.zeros(2)), []

    def phases(self):
        return [
            Phase(
                "critic",
                [self.critic],
                repeat=2,
                optimiser=lambda params: torch.optim.SGD(params, 0.1, momentum=0.5),
                schedule=lambda step, steps: 1 / (1 + step),
            ),
            Phase("generator", self.field.parameters(), schedule=lambda step, steps: 0.5),
        ]

    def forward(self, phase, batch, rng):
        self.calls.append((phase, rng.step))
        if phase == "critic":
            return (self.critic - batch.x).square().mean(), {}
        return (self.field.where - self.critic).square().sum(), {}


def by_hand():
    """The same game, written out."""
    critic, where = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    slow = torch.optim.SGD([critic], 0.1, momentum=0.5)
    fast = torch.optim.AdamW([where], lr=0.04 * 0.5, weight_decay=0.0)
    batches, losses = Batches(Batch(X), 16, 0), []
    for step in range(STEPS):
        slow.param_groups[0]["lr"] = 0.1 / (1 + step)
        for tick in (3 * step, 3 * step + 1):
            critic.grad = (critic - batches.at(tick, torch.arange(16)).x).mean(0).detach()
            slow.step()
        where.grad = 2 * (where - critic).detach()
        losses.append(float(((where - critic).detach() ** 2).sum()))
        fast.step()
    return critic, where, losses


def test_phases_take_turns_each_with_its_own_optimiser():
    game = Game()
    states = list(train(game, X, steps=STEPS, batch=16, lr=0.04, clip=1e9, device="cpu"))
    names = ["critic", "critic", "generator"] * STEPS
    assert game.calls == [(name, tick) for tick, name in enumerate(names)]
    critic, where, losses = by_hand()
    torch.testing.assert_close(game.critic, critic)
    torch.testing.assert_close(game.field.where, where)
    assert [s.losses["generator"] for s in states] == pytest.approx(losses, rel=1e-5)
    rates = [s.lr for s in states]
    assert [r["critic"] for r in rates] == pytest.approx([0.1 / (1 + k) for k in range(STEPS)])
    assert {r["generator"] for r in rates} == {0.02}
    assert all(set(s.grad_norm) == {"critic", "generator"} for s in states)


def test_groups_of_parameters_keep_their_own_rates():
    """Each group's rate is its first one times the phase's factor, at every step."""
    seen, game = [], Game()

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    def made(params):
        return Watched(
            [{"params": [p], "lr": lr} for p, lr in zip(params, (0.1, 0.3), strict=True)]
        )

    params = [game.critic, game.field.where]
    game.phases = lambda: [Phase("critic", params, 1, made, lambda step, steps: 1 / (1 + step))]
    states = list(train(game, X, steps=3, batch=16, device="cpu"))
    assert seen == [pytest.approx([0.1 / k, 0.3 / k]) for k in (1, 2, 3)]
    assert [state.lr["critic"] for state in states] == [rates[-1] for rates in seen]


def test_an_objective_of_ones_own_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"only an objective made by diffode.build .*state_dict"):
        checkpoint.save(Game(), tmp_path / "game.safetensors")
    assert not list(tmp_path.iterdir())
    states = list(train(Game(), X, steps=2, batch=16, out=tmp_path, device="cpu"))
    assert [s.checkpoint for s in states] == [None, None]
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "metrics.jsonl"]


def test_an_objective_may_have_nothing_to_average():
    class Particles(Game):
        averaged = None

    state = next(train(Particles(), X, steps=2, batch=16, device="cpu"))
    assert state.averaged is None


def test_further_state_is_saved_and_resumed(tmp_path, monkeypatch):
    """A sum of draws made after each step goes on where it was."""

    def advance(self, step, rng):
        self.total = getattr(self, "total", 0.0) + float(rng.uniform("further", (1,)))

    def load_extra_state(self, state):
        self.total = float(state["total"])

    monkeypatch.setattr(Denoising, "advance", advance)
    monkeypatch.setattr(Denoising, "load_extra_state", load_extra_state)
    monkeypatch.setattr(Denoising, "extra_state", lambda self: {"total": torch.tensor(self.total)})

    def begin(out, resume=None):
        objective = build("edm", (2,), stats=data_stats(X), width=16, depth=1)
        options = {"steps": 6, "batch": 16, "device": "cpu", "out": out, "resume": resume}
        return objective, train(objective, X, **options)

    straight, states = begin(tmp_path / "a")
    list(states)
    _, states = begin(tmp_path / "b")
    list(islice(states, 3))
    states.close()
    resumed, states = begin(tmp_path / "b", tmp_path / "b")
    list(states)
    assert resumed.total == pytest.approx(straight.total, rel=1e-6) and straight.total > 1
    assert loading.load(tmp_path / "b").total == pytest.approx(resumed.total, rel=1e-6)


# ----------------------------------------------------------------------------------- two processes

SCRIPT = """
import atexit, gc, os, sys
from pathlib import Path
from torch import distributed
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel
sys.path.insert(0, {tests!r})
from test_trainer_phases import Game, X, command, train
from diffode.cli.app import run

# threads of a group that is left when the interpreter ends abort the process now and then
atexit.register(lambda: distributed.is_initialized() and os._exit(3))
out, rank = Path({out!r}), os.environ["RANK"]
assert run(command(out / "run")) == 0
game = Game()
states = list(train(game, X, steps=4, batch=16, seed=3, device="cpu"))
assert os.environ["WORLD_SIZE"] == "2" and len(game.calls) == 12
save_file({{k: p.detach() for k, p in game.named_parameters()}}, out / f"game-{{rank}}")
held = [o for o in gc.get_objects() if isinstance(o, DistributedDataParallel)]
assert not held, "a wrapper that stays would keep the group"
"""


def command(out):
    """Train an EDM of the digits with labels."""
    given = ["--field", "edm", "--labels", "--steps", "6", "--batch", "16", "--seed", "3"]
    tiny = ["--samples", "20", "--device", "cpu", "--out", str(out)]
    options = ["width=16", "depth=1", "log_every=1", "lr=0.05", "warmup=1", "accumulate=2"]
    return ["train", *given, *tiny, *(word for option in options for word in ("--set", option))]


def logged(out, key):
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)[key]["field"] for line in lines]


def learned(run):
    """The tensors of a run's checkpoint, with the covariance in the place of its eigenvectors.

    These are determined up to their sign, and where eigenvalues are equal not even so.
    """
    tensors = checkpoint.read(checkpoint.file_at(run))[1]
    basis, spectrum = tensors.pop("stats/basis"), tensors["stats/spectrum"]
    return tensors | {"covariance": basis * spectrum @ basis.T}


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "two"
    out.mkdir()
    script.write_text(SCRIPT.format(tests=os.path.dirname(__file__), out=str(out)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        [sys.executable, *launch],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 6, "both processes report"

    assert run(command(tmp_path / "one")) == 0
    for key in ("loss", "grad_norm"):
        one, two = logged(tmp_path / "one", key), logged(out / "run", key)
        assert len(one) == 6 and two == pytest.approx(one, rel=1e-5)
    one, two = (learned(f) for f in (tmp_path / "one", out / "run"))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)

    game = Game()
    list(train(game, X, steps=4, batch=16, seed=3, device="cpu"))
    alone = {k: p.detach() for k, p in game.named_parameters()}
    ranks = [load_file(out / f"game-{rank}") for rank in "01"]
    torch.testing.assert_close(ranks[0], ranks[1], rtol=0, atol=0)
    torch.testing.assert_close(ranks[0], alone, rtol=1e-5, atol=1e-6)


def test_another_training_of_an_objective_has_its_own_precision():
    objective, seen = build("edm", (2,), width=16, depth=1), []
    layer = next(m for m in objective.modules() if isinstance(m, nn.Linear))
    layer.register_forward_hook(lambda _layer, _given, out: seen.append(out.dtype))
    for precision, dtype in [("bf16", torch.bfloat16), ("no", torch.float32)] * 2:
        seen.clear()
        list(train(objective, X, steps=1, batch=8, device="cpu", precision=precision))
        assert set(seen) == {dtype}
