"""Reflow: pairs that a run's own ODE makes, and the straight flow that is learned from them."""

import math

import numpy as np
import pytest
import torch

from diffode import fit, load, sample
from diffode.cli import training
from diffode.cli.app import run
from diffode.data import load as data
from diffode.fields import Karras, Mixture, Rectified
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.runs import reflow, shards
from diffode.runs.building import build
from diffode.runs.pairs import read_pairs
from diffode.runs.reflow import bend, make_pairs, noise_of
from diffode.sampling.encoding import encode
from diffode.solvers import get_solver
from diffode.training import Paired
from diffode.training.record import logged
from diffode.training.trainer import train
from tests.runs import TINY, arrays, figures, refused

LAW = (torch.ones(2), torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), torch.full((2,), 0.3))
SMALL = {"steps": 4, "batch": 16, "width": 16, "depth": 1, "device": "cpu"}
X = Rng(0).normal("rows", (40, 2))


def exact(schedule=None, *noise):
    return Mixture(*LAW, schedule or Rectified(), *noise)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small runs: without labels, with them, and one that cannot be straightened."""
    folder = tmp_path_factory.mktemp("runs")
    for name, field, more in (
        ("vp", "vp", []),
        ("edm", "edm", ["--labels"]),
        ("poisson", "poisson", []),
        ("monoflow", "monoflow", ["--set", "stages=2"]),
    ):
        given = ["train", field, "moons", *TINY, *more, "--out", str(folder / name)]
        assert run(given) == 0
    return folder


def again(*given):
    return ["reflow", *map(str, given), "--device", "cpu", "--samples", "20", "--nfe", "4"]


# --------------------------------------------------------------------------------------- the pairs


@pytest.mark.parametrize("schedule", [Rectified(), Karras(0.01, 20.0)])
def test_a_pair_has_both_ends_of_a_path(tmp_path, schedule):
    """The noise of a sample is where encoding takes it, at unit scale about the prior's centre."""
    field = exact(schedule)
    make_pairs(field, 30, get_solver("heun"), 80, tmp_path, seed=3)
    made = arrays(tmp_path / "pairs.npz")
    assert not (tmp_path / "pairs").exists(), "parts are put together"
    n, x = (torch.from_numpy(made[k]) for k in "nx")
    drawn = sample(field, 30, "heun", nfe=80, seed=3)
    torch.testing.assert_close(x, drawn.x)
    back = encode(
        field, sample(field, 30, "heun", steps=200, seed=3, final="none").x, "heun", steps=200
    ).x
    unit = (back - field.prior.loc) / field.prior.scale
    torch.testing.assert_close(n, unit.float(), atol=0.02, rtol=0)
    assert float(noise_of(field, 20000, 0).square().mean()) == pytest.approx(1, abs=0.03)


def test_pairs_that_were_killed_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "PART", 8)
    field, drawn = exact(), []
    make_pairs(field, 30, get_solver("heun"), 8, tmp_path / "a")

    def stop(done):
        drawn.append(done)
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pairs(field, 30, get_solver("heun"), 8, tmp_path / "b", progress=stop)
    assert not (tmp_path / "b" / "pairs.npz").exists()
    monkeypatch.setattr(shards, "sample", counted(shards.sample, calls := []))
    make_pairs(field, 30, get_solver("heun"), 8, tmp_path / "b")
    assert calls == [16, 24], "what was there stays"
    one, two = (arrays(tmp_path / k / "pairs.npz") for k in "ab")
    assert all(np.array_equal(one[k], two[k]) for k in "xn")


def counted(function, calls):
    def call(*given, **options):
        calls.append(options["first"])
        return function(*given, **options)

    return call


def test_pairs_with_one_end_are_refused(tmp_path):
    solver = get_solver("dopri5", max_nfe=8)
    with pytest.raises(ValueError, match="30 of 30 samples did not reach their end"):
        make_pairs(exact(Karras(0.01, 20.0)), 30, solver, None, tmp_path)


# ------------------------------------------------------------------------------------ straightness


def test_a_clock_changes_nothing_of_how_straight_a_flow_is():
    one, other = bend(exact(Rectified())), bend(exact(Karras(0.001, 1000.0)))
    assert other.straightness == pytest.approx(one.straightness, abs=0.01)
    assert other.defect == pytest.approx(one.defect, rel=0.05)
    assert one.straightness < 0.9 and one.defect > 0.1


# ------------------------------------------------------------------------------------ the command


def test_reflow_makes_pairs_trains_and_tells_how_straight(runs, capsys):
    out = runs / "vp-reflow"
    assert run(again(runs / "vp", "--pairs", 60, "--set", "log_every=1")) == 0
    printed = capsys.readouterr().out
    known = figures(out / "reflow.json")
    before, after = (known[k]["straightness"] for k in ("before", "after"))
    said = f"straightness {before:.4f} -> {after:.4f}"
    assert said in printed and said.replace(">", "&gt;") in (out / "report.html").read_text()
    stored = figures(out / "config.json")
    assert stored["field"] == "rectified" and stored["options"]["coupling"] == "pairs"
    assert stored["options"]["width"] == 16 and stored["training"]["batch"] == 16
    assert load(out).field.coupled and len(logged(out)) == 2
    weights = (out / "checkpoints" / "step-00000002.safetensors").read_bytes()
    assert run(again(runs / "vp", "--pairs", 60, "--set", "log_every=1")) == 0, "it goes on"
    assert (out / "checkpoints" / "step-00000002.safetensors").read_bytes() == weights
    message = refused(capsys, *again(runs / "vp", "--pairs", 50))
    assert "was begun with pairs 60, not 50" in message


def test_labels_go_with_their_pairs(runs):
    out = runs / "labelled"
    assert run(again(runs / "edm", "--pairs", 50, "--seed", 2, "--out", out)) == 0
    made, y = arrays(out / "pairs.npz"), data("moons").labels(50)
    assert np.array_equal(made["y"], y)
    x = sample(load(runs / "edm").field, 50, nfe=4, seed=2, y=y).x
    torch.testing.assert_close(torch.from_numpy(made["x"]), x)
    assert load(out).field.classes == 2


def test_a_stopped_training_goes_on_with_the_same_pairs(runs, monkeypatch):
    """Stopped in the middle, by a signal as the command sees it, and given again."""
    whole, halves = runs / "whole", runs / "halves"
    options = ["--pairs", 40, "--steps", 4, "--set", "save_every=2", "--set", "log_every=1"]
    assert run(again(runs / "vp", *options, "--out", whole)) == 0
    execute = training.execute

    def stopping(*given, watch, **more):
        return execute(*given, watch=lambda state: watch(state) or state.step == 2, **more)

    monkeypatch.setattr(training, "execute", stopping)
    run(again(runs / "vp", *options, "--out", halves))
    assert logged(halves)[-1]["step"] == 2
    monkeypatch.setattr(training, "execute", execute)
    assert run(again(runs / "vp", *options, "--out", halves)) == 0
    one, two = ([line["loss"] for line in logged(f)] for f in (whole, halves))
    assert one == two and len(one) == 4


def test_what_cannot_be_straightened_is_refused(runs, capsys, tmp_path):
    for name, why in (("poisson", "normal noise"), ("monoflow", "MonoFlow")):
        assert why in refused(capsys, *again(runs / name, "--out", tmp_path / "no"))
        assert not (tmp_path / "no").exists()
    file = next((runs / "vp" / "checkpoints").glob("*"))
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(file.read_bytes())
    assert "is no run" in refused(capsys, *again(alone))
    before = (runs / "edm" / "config.json").read_bytes()
    assert "holds a run" in refused(capsys, *again(runs / "vp", "--out", runs / "edm"))
    assert (runs / "edm" / "config.json").read_bytes() == before
    with pytest.raises(TypeError, match="normal noise"):
        reflow.require_teacher(exact(Karras(0.01, 20.0), StudentT(3.0)))


# ------------------------------------------------------------------------------ pairs of one's own


def test_pairs_of_a_file_are_kept_in_the_run(tmp_path, capsys):
    n = Rng(1).normal("noise", (40, 2))
    np.savez(tmp_path / "mine.npz", x=X.numpy(), n=n.numpy())
    given = ["train", "rectified", "moons", "--pairs", str(tmp_path / "mine.npz"), *TINY]
    assert run([*given, "--out", str(tmp_path / "run")]) == 0
    (tmp_path / "mine.npz").unlink()
    more = ["train", "--resume", str(tmp_path / "run"), "--steps", "4", "--samples", "20"]
    assert run(more) == 0, "the run has them"
    kept = read_pairs(tmp_path / "run" / "pairs.npz", build("rectified", (2,)).field, None)
    assert torch.equal(kept.x, X) and torch.equal(kept.n, n)
    made = fit("rectified", "moons", pairs=Paired(X, n=n), out=tmp_path / "api", **SMALL)
    again = fit("rectified", "moons", pairs=tmp_path / "run" / "pairs.npz", **SMALL)
    assert made.losses == again.losses and (tmp_path / "api" / "pairs.npz").exists()
    capsys.readouterr()
    both = ["--pairs", tmp_path / "run" / "pairs.npz"]
    assert "--pairs and --resume" in refused(capsys, *more[:3], *both)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"x": X}, "got no array n beside x of shape"),
        ({"x": X, "n": X[:20]}, r"got n of shape \(20, 2\)"),
        ({"x": X[:, :1], "n": X[:, :1]}, "this field learns"),
    ],
)
def test_a_file_that_holds_no_pairs_is_refused(tmp_path, content, why):
    np.savez(tmp_path / "pairs.npz", **content)
    with pytest.raises(ValueError, match=why):
        fit("rectified", "moons", pairs=tmp_path / "pairs.npz", **SMALL)


def test_noise_that_is_not_the_prior_is_warned_of(tmp_path):
    np.savez(tmp_path / "pairs.npz", x=X, n=3 * X)
    with pytest.warns(UserWarning, match="mean square of"):
        fit("rectified", "moons", pairs=tmp_path / "pairs.npz", **SMALL)


def test_pairs_and_couplings_must_agree(tmp_path):
    with pytest.raises(ValueError, match="there are none; give --pairs"):
        fit("rectified", "moons", coupling="pairs", **SMALL)
    with pytest.raises(ValueError, match="has no option 'coupling'"):
        fit("edm", "moons", pairs=Paired(X, n=X), **SMALL)


# ----------------------------------------------------------------------------- the filtered target


class Straight(torch.nn.Module):
    """The velocity of pairs x = a n, which is that of every point of their paths."""

    def __init__(self, a):
        super().__init__()
        self.a = a

    def velocity(self, x, t, y):
        return (1 - self.a) / (self.a + (1 - self.a) * t)[:, None] * x


def filtered(a, kappa):
    objective = build("rectified", (2,), coupling="pairs", kappa=kappa, width=16, depth=1)
    objective._slow = [Straight(a)]
    return objective.eval()


def test_the_filter_changes_nothing_on_pairs_that_a_straight_flow_has_made():
    """There the velocity is a function of the path, so that the prediction is the target."""
    n = Rng(5).normal("n", (64, 2))
    plain = build("rectified", (2,), coupling="pairs", width=16, depth=1).eval()
    loss = plain("field", Paired(0.4 * n, n=n), Rng(0))[0]
    for kappa in (0.3, 1.0):
        same = filtered(0.4, kappa)("field", Paired(0.4 * n, n=n), Rng(0))[0]
        torch.testing.assert_close(same, loss, rtol=1e-4, atol=1e-6)
        other = filtered(0.4, kappa)("field", Paired(0.4 * n.flip(0), n=n), Rng(0))[0]
        assert abs(other - plain("field", Paired(0.4 * n.flip(0), n=n), Rng(0))[0]) > 0.1


def test_the_filter_is_for_pairs_on_the_straight_path():
    with pytest.raises(ValueError, match="kappa=1 for coupling=ot"):
        build("rectified", (2,), coupling="ot", kappa=1)
    with pytest.raises(ValueError, match="schedule=rectified"):
        build("rectified", (2,), coupling="pairs", schedule="cosine", kappa=1)


def test_a_filtered_training_resumes_exactly(tmp_path):
    def go(out, stop=None, resume=None):
        objective = build("rectified", (2,), coupling="pairs", kappa=0.5, width=16, depth=1)
        given = {"steps": 6, "batch": 8, "device": "cpu", "warmup": 2, "out": out}
        states = train(objective, Paired(X, n=X.flip(0)), resume=resume, **given)
        losses = []
        for state in states:
            losses.append(state.losses["field"])
            if state.step == stop:
                break
        states.close()
        return losses

    straight = go(tmp_path / "a")
    first = go(tmp_path / "b", stop=3)
    assert first + go(tmp_path / "b", resume=tmp_path / "b") == straight
    assert math.isfinite(straight[-1])
    assert bool(sample(load(tmp_path / "a").field, 4, nfe=4).x.isfinite().all())
