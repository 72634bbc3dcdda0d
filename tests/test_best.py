"""Keep-best: which checkpoint is kept, by which number, and that a stop changes nothing."""

import json
import os
import shutil

import pytest
import torch

import diffode
from diffode import recipes
from diffode.cli.app import run
from diffode.data import load
from diffode.data.stats import data_stats
from diffode.runs.loading import load as load_run
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training import Paired, checkpoint
from diffode.training.best import BEST, figure, settle
from diffode.training.record import logged
from diffode.training.trainer import train
from tests.runs import WITHOUT_LABELS, refused

X = load("moons").train
SMALL = {"batch": 16, "width": 8, "depth": 1, "device": "cpu", "save_every": 3}


def best(out):
    return out / "checkpoints" / BEST


def plan(steps=12, name="edm", **options):
    return Plan.make(name, "digits", steps=steps, keep_best=True, **{**SMALL, **options})


def measured(out):
    return {line["step"]: line["held_out"] for line in logged(out) if "held_out" in line}


# ----------------------------------------------------------------------------------- which number


def test_the_loss_is_that_of_the_averaged_weights_on_fixed_draws(tmp_path):
    """Of what is loaded from the file, by a loop of its own."""
    from diffode.data.rows import some_rows
    from diffode.rng import Rng
    from diffode.training.batches import Batch

    execute(plan(3), out=tmp_path)
    objective, x = load_run(best(tmp_path)), load("digits").test
    index = some_rows(len(x), 2048).repeat(6)[:2048]
    losses = [
        objective("field", Batch(x[rows]), Rng(0, step=k))[0] * len(rows)
        for k, rows in enumerate(index.split(16))
    ]
    expected = float(sum(losses).detach()) / 2048
    step, loss = figure(best(tmp_path))
    assert step == 3 and loss == pytest.approx(expected, rel=1e-5)
    assert measured(tmp_path) == {3: loss}


def test_the_training_is_the_same_to_the_bit(tmp_path):
    execute(plan(), out=tmp_path / "one")
    execute(Plan.make("edm", "digits", steps=12, **SMALL), out=tmp_path / "two")
    (_, one), (_, two) = (checkpoint.opened(tmp_path / name) for name in ("one", "two"))
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    assert not best(tmp_path / "two").exists()


def test_the_least_is_kept_and_the_newest_too(tmp_path):
    """A training whose rate is far too high gets worse after its first steps."""
    execute(plan(12, keep=1, lr=0.5, clip=1e6, warmup=1, ema=0.5), out=tmp_path)
    found = measured(tmp_path)
    assert list(found) == [3, 6, 9, 12]
    step = min(found, key=found.get)
    assert step < 12, "else this test shows nothing"
    assert figure(best(tmp_path)) == (step, found[step])
    assert checkpoint.file_at(tmp_path).name == "step-00000012.safetensors"
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [BEST, "step-00000012.safetensors"]


def test_a_stop_changes_nothing(tmp_path):
    options = {"keep": 1, "lr": 0.5, "clip": 1e6, "warmup": 1, "ema": 0.5}
    execute(plan(12, **options), out=tmp_path / "one")
    two = tmp_path / "two"
    for last in (4, 6, 11):
        execute(plan(12, **options), out=two, resume=last > 4, watch=lambda s, k=last: s.step == k)
    assert set(measured(two)) == {3, 6, 9}, "a checkpoint that a stop chose is not measured"
    execute(plan(12, **options), out=two, resume=True)
    assert measured(two) == measured(tmp_path / "one")
    assert best(two).read_bytes() == best(tmp_path / "one").read_bytes()


def test_a_kill_before_the_second_name_is_made_good(tmp_path):
    execute(plan(3), out=tmp_path)
    whole = best(tmp_path).read_bytes()
    best(tmp_path).unlink()
    execute(plan(3), out=tmp_path, resume=True)
    assert best(tmp_path).read_bytes() == whole
    best(tmp_path).unlink()  # else both names are damaged
    best(tmp_path).write_bytes(b"damaged")
    settle(tmp_path)
    assert best(tmp_path).read_bytes() == whole


def test_it_takes_no_space_of_its_own(tmp_path):
    try:
        (tmp_path / "a").touch()
        os.link(tmp_path / "a", tmp_path / "b")
    except OSError:
        pytest.skip("this file system has no hard links")
    execute(plan(3), out=tmp_path / "run")
    assert best(tmp_path / "run").samefile(checkpoint.file_at(tmp_path / "run"))


def test_without_hard_links_it_is_a_copy(tmp_path, monkeypatch):
    def link(*_):
        raise OSError("not here")

    monkeypatch.setattr(os, "link", link)
    execute(plan(3), out=tmp_path)
    assert best(tmp_path).read_bytes() == checkpoint.file_at(tmp_path).read_bytes()


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_have_a_best_or_say_that_they_have_none(tmp_path, name):
    x, y, classes = load("digits").train[:64], load("digits").train_labels[:64], None
    if name not in WITHOUT_LABELS:
        classes = 10
    if recipes.find(name).name == "tokens":
        x, classes = load("digits-binary").train[:64], None
    y = y if classes else None
    options = {"width": 8, "depth": 1}
    objective = diffode.build(name, tuple(x.shape[1:]), classes, data_stats(x), **options)
    given = {"steps": 2, "batch": 16, "device": "cpu", "out": tmp_path, "keep_best": True}
    if objective.comparable:
        *_, last = train(objective, (x, y), (x, y), **given)
        assert figure(best(tmp_path)) == (2, last.held_out)
    else:
        with pytest.raises(ValueError, match="does not tell better weights from worse"):
            next(train(objective, (x, y), (x, y), **given))


# -------------------------------------------------------------------------------- what is refused


def test_what_is_lacking_is_named(tmp_path):
    objective = diffode.build("edm", (2,), None, data_stats(X), width=8, depth=1)
    small = {"steps": 2, "batch": 16, "device": "cpu", "keep_best": True}
    with pytest.raises(ValueError, match="without held-out samples; give held_out"):
        next(train(objective, X, out=tmp_path, **small))
    with pytest.raises(ValueError, match="without a run directory"):
        next(train(objective, X, X, **small))
    with pytest.raises(ValueError, match=r"this field learns \(M, \(2,\)\)"):
        next(train(objective, X, X[:, :1], out=tmp_path, **small))
    given = (2,), None, data_stats(X)
    objective = diffode.build("rectified", *given, width=8, depth=1, coupling="pairs")
    pairs = Paired(X, n=torch.randn(X.shape, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match="for Denoising with coupling=pairs, whose loss"):
        next(train(objective, pairs, pairs, out=tmp_path, **small))


# -------------------------------------------------------------------------------------- consumers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("best") / "run"
    given = ["train", "edm", "moons", "--steps", "6", "--samples", "20", "--set", "keep_best=true"]
    given += ["--set", "save_every=3", "--set", "width=8", "--set", "depth=1", "--batch", "16"]
    assert run([*given, "--device", "cpu", "--out", str(out)]) == 0
    return out


def test_every_command_takes_the_file(made, tmp_path, capsys):
    file = str(best(made))
    target = ["--nfe", "5", "--device", "cpu"]
    assert run(["sample", file, "--n", "4", *target, "--out", str(tmp_path / "x.npz")]) == 0
    assert run(["eval", file, "--n", "40", *target, "--out", str(tmp_path / "eval")]) == 0
    capsys.readouterr()
    assert run(["verify", str(made)]) == 0
    assert f"ok       {BEST}: step" in capsys.readouterr().out


def test_going_on_from_the_best_takes_its_step_for_what_is_newer(made, tmp_path, capsys):
    out = shutil.copytree(made, tmp_path / "run")
    step = figure(best(out))[0]
    more = ["train", "--resume", str(best(out)), "--steps", "8", "--samples", "20"]
    if step == 6:
        assert run(more) == 0
        assert json.loads((out / "config.json").read_text())["since"] == 6
    else:
        assert "is newer than best.safetensors and sound" in refused(capsys, *more)


def test_the_command_says_which_was_kept(tmp_path, capsys):
    given = ["train", "edm", "moons", "--steps", "2", "--samples", "20", "--set", "keep_best=true"]
    given += ["--set", "width=8", "--batch", "16", "--device", "cpu", "--out", tmp_path / "run"]
    capsys.readouterr()
    assert run([str(word) for word in given]) == 0
    assert f"{BEST}: step 2, held-out loss" in capsys.readouterr().out
