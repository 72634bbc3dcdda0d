"""What a resumed run may change, the data it goes on with, and the schedule of more steps."""

import re
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from diffode import Rng
from diffode.cli.app import run
from diffode.data import Dataset, load
from diffode.data.fingerprint import Fingerprint, Split
from diffode.runs.plan import Plan
from diffode.runs.run import execute, fit, home, load_data
from diffode.training import checkpoint
from tests.runs import figures, refused

SMALL = {"steps": 6, "batch": 16, "width": 8, "depth": 1, "device": "cpu", "save_every": 3}
GIVEN = ["--batch", "16", "--steps", "6", "--set", "width=8", "--set", "depth=1"]
GIVEN += ["--set", "save_every=3", "--device", "cpu", "--samples", "20"]


def array(path, change=lambda x, y: (x, y)):
    x = Rng(0).normal("rows", (200, 2)).numpy()
    x, y = change(x, np.arange(200) % 3)
    np.savez(path, x=x, y=y)
    return path


def stopped(plan, out, at=3, dataset=None):
    execute(plan, dataset, out=out, watch=lambda state: state.step == at)
    return out


def listing(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -------------------------------------------------------------------------------------------- data

CHANGED = {
    "values": lambda x, y: (x * 1.01, y),
    "(labels|values)": lambda x, y: (x, np.roll(y, 1)),
    "number of rows": lambda x, y: (x[:-20], y[:-20]),
    "shape": lambda x, y: (np.hstack([x, x]), y),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_run_refuses_other_data(tmp_path, capsys, kind):
    file, out = array(tmp_path / "d.npz"), tmp_path / "run"
    stopped(Plan.make("edm", str(file), labels=True, **SMALL), out)
    array(file, CHANGED[kind])
    before = listing(out)
    for command in (["train", "--resume"], ["eval"], ["likelihood"]):
        message = refused(capsys, *command, out)
        assert re.search(f"not the data that .* on: its {kind} changed; then 180 .*; now", message)
    assert listing(out) == before
    array(file)
    assert len(execute(Plan.read(out), out=out, resume=True).losses) == 3


def test_moved_data_are_found_by_name(tmp_path, capsys, monkeypatch):
    """The same values in another place are the same data; the source is absolute."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    array("d.npz")
    stopped(Plan.make("edm", "d.npz", **SMALL), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert load_data(Plan.read("run")).train.shape == (180, 2), "from another folder"
    shutil.move("here/d.npz", "there.npz")
    for command in (["train", "--resume"], ["eval"]):
        said = refused(capsys, *command, "run")
        assert f"{tmp_path}/here/d.npz, the data of this run, is there no more" in said
    assert run(["train", "--resume", "run", "--data", "there.npz", "--samples", "20"]) == 0
    moved = f"changed: data: {tmp_path}/here/d.npz -> {tmp_path}/there.npz"
    assert moved in capsys.readouterr().err
    assert figures(tmp_path / "run" / "config.json")["source"] == str(tmp_path / "there.npz")
    shutil.move("there.npz", "last.npz")
    assert run(["train", "--resume", "run", "--data", "last.npz"]) == 0, "of a finished run too"
    said = capsys.readouterr()
    assert "already at step 6 of 6" in said.out
    assert said.err == f"changed: data: {tmp_path}/there.npz -> {tmp_path}/last.npz\n"
    assert load_data(Plan.read("run")).train.shape == (180, 2)


def test_a_set_in_memory_never_becomes_the_built_in_one(tmp_path, capsys):
    moons = load("moons")
    own = Dataset("moons", moons.train[:300] * 2 + 1, moons.test[:50])
    out = tmp_path / "run"
    fit("edm", own, out=out, watch=lambda state: state.step == 3, **SMALL)
    assert Plan.read(out).source == "memory"
    for command in (["train", "--resume"], ["eval"]):
        assert "was trained on a data set in memory" in refused(capsys, *command, out)
    with pytest.raises(ValueError, match="not the data that this run was trained on"):
        execute(Plan.read(out), moons, out=out, resume=True)
    assert len(execute(Plan.read(out), own, out=out, resume=True).losses) == 3
    assert Plan.read(fit("edm", moons, out=tmp_path / "b", **SMALL).out).source == "moons"


def test_the_statistics_come_from_the_checkpoint(tmp_path):
    out = stopped(Plan.make("edm", "moons", **SMALL), tmp_path / "run")
    again = execute(Plan.read(out), out=out, resume=True)
    stored = checkpoint.read(checkpoint.file_at(out))[1]
    assert torch.equal(again.objective.stats.basis, stored["stats/basis"])


def test_a_fingerprint_is_that_of_the_values_not_of_their_last_bits():
    data = load("moons")
    one = Fingerprint.of(data)
    noise = 1 + 6e-8 * Rng(1).normal("bits", data.train.shape)
    assert Split.of(data.train * noise, data.train_labels).differs(one.train) is None
    x = data.train.clone()
    x[777, 1] += 0.01
    assert Split.of(x, data.train_labels).differs(one.train) == "values"
    order = Rng(2).permutation("order", len(x))
    assert Split.of(data.train[order], data.train_labels[order]).differs(one.train) == "values"
    y = data.train_labels.clone()
    y[4] = 1 - y[4]
    assert Split.of(data.train, y).differs(one.train) == "labels"
    assert Split.of(data.train).differs(one.train) == "labels"


# ----------------------------------------------------------------------------------------- options


def test_changes_are_said_with_both_values(tmp_path, capsys):
    out = stopped(Plan.make("edm", str(array(tmp_path / "d.npz")), **SMALL), tmp_path / "run")
    capsys.readouterr()
    given = ["--set", "save_every=2", "--set", "keep=1", "--steps", "8", "--samples", "20"]
    assert run(["train", "--resume", str(out), *given]) == 0
    err = capsys.readouterr().err
    for line in ("steps: 6 -> 8", "save_every: 3 -> 2", "keep: 2 -> 1"):
        assert f"changed: {line}\n" in err
    assert (Plan.read(out).steps, Plan.read(out).since) == (8, 3)


def test_a_finished_run_is_left_alone(tmp_path, capsys):
    file, out = array(tmp_path / "d.npz"), tmp_path / "run"
    assert run(["train", "--field", "edm", "--data", str(file), *GIVEN, "--out", str(out)]) == 0
    before = listing(out)
    capsys.readouterr()
    assert run(["train", "--resume", str(out), "--set", "keep=1", "--samples", "30"]) == 0
    said = capsys.readouterr()
    assert said.out == "already at step 6 of 6; --steps takes it further\n"
    assert said.err == "not changed, there is nothing to train: keep: 2 -> 1\n"
    assert listing(out) == before
    assert "is a run with lr 0.002, not 0.1" in refused(
        capsys, "train", "--resume", out, "--set", "lr=.1"
    )
    for option in ("--scale", "--label-column"):
        said = refused(capsys, "train", "--resume", out, option, "none")
        assert f"reads its data as it did; leave {option} away" in said


def test_python_refuses_other_options_too(tmp_path):
    from diffode.runs.building import build
    from diffode.training import data_stats
    from diffode.training.trainer import train

    x = load("moons").train[:50]

    def go(data=x, **options):
        objective = build("edm", (2,), None, data_stats(x), width=8, depth=1)
        return list(train(objective, data, **{"steps": 4, "batch": 8, "device": "cpu", **options}))

    go(out=tmp_path)
    for key, value in {"lr": 0.1, "ema": 0.5, "batch": 16, "seed": 3, "warmup": 7}.items():
        with pytest.raises(ValueError, match=f"was trained with {key} .*, not {value}"):
            go(resume=tmp_path, **{"steps": 6, key: value})
    with pytest.raises(ValueError, match=r"their values changed; then 50 rows, .* now 50 rows"):
        go(x * 1.1, resume=tmp_path, steps=6)
    assert len(go(resume=tmp_path, steps=6, log_every=1)) == 2


def test_what_stands_beside_the_samples_is_of_the_data_too(tmp_path):
    from diffode.runs.building import build
    from diffode.training import Batch
    from diffode.training.trainer import train

    @dataclass(frozen=True)
    class Pairs(Batch):
        noise: torch.Tensor | None = None

    x = load("moons").train[:50]

    def go(data, steps, **places):
        objective = build("edm", (2,), width=8, depth=1)
        return list(train(objective, data, steps=steps, batch=8, device="cpu", **places))

    go(Pairs(x, noise=x), 4, out=tmp_path)
    for other in (Pairs(x, noise=x.flip(0)), Pairs(x)):
        with pytest.raises(ValueError, match="their noise changed"):
            go(other, 6, resume=tmp_path)
    assert len(go(Pairs(x, noise=x.clone()), 6, resume=tmp_path)) == 2


def test_more_steps_begin_the_schedule_anew(tmp_path):
    """A warm-up over a tenth of the rest, then half a cosine: not the spent end of the old one."""
    plan, out = Plan.make("edm", "moons", **SMALL, warmup=3, lr=0.5), tmp_path / "run"
    rates = []

    def watch(state):
        rates.append(state.lr["field"])
        return state.step == 16

    execute(plan, out=out)
    longer = Plan.read(out).altered({"steps": 26})
    execute(longer, out=out, resume=True, watch=watch)
    assert Plan.read(out).since == 6
    assert rates[0] == pytest.approx(0.25) and max(rates) == rates[1] > 0.49
    execute(Plan.read(out), out=out, resume=True, watch=watch)
    assert len(rates) == 20 and rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.01, "it ends at 0, where it was stopped once more on the way"


def test_the_directory_of_a_checkpoint(tmp_path):
    out = stopped(Plan.make("edm", "moons", **SMALL), tmp_path / "run")
    assert home(out) == home(checkpoint.file_at(out)) == out


def test_a_run_is_measured_against_other_data_by_name(tmp_path, capsys):
    """What it was trained on has changed: eval refuses, and takes what it is given, saying so."""
    file, out = array(tmp_path / "d.npz"), tmp_path / "run"
    stopped(Plan.make("edm", str(file), **SMALL), out)
    array(file, CHANGED["values"])
    refused(capsys, "eval", out)
    given = ["--samples", "50", "--nfe", "3", "--device", "cpu", "--data", str(file)]
    assert run(["eval", str(out), *given]) == 0
    said = capsys.readouterr()
    assert f"warning: {file} is not known to be the data that" in said.err
    assert "eval" in {p.name for p in out.iterdir()}
