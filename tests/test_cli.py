"""The command line on bad input: one line that says what to do, exit code 2, nothing written."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffode.cli.app import run
from diffode.cli.failing import fail
from tests.runs import beside, edited

TINY = ["--device", "cpu", "--batch", "16", "--set", "width=16", "--set", "depth=1"]
TINY += ["--samples", "20"]


def train_run(folder, *arguments):
    assert run(["train", *arguments, "--steps", "2", *TINY, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A finished run without labels."""
    return train_run(tmp_path_factory.mktemp("plain") / "run", "--field", "poisson")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A finished run with labels."""
    return train_run(tmp_path_factory.mktemp("labelled") / "run", "--field", "edm", "--labels")


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """Run a command that must fail, in a folder of its own; its one line on standard error."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments):
        code = run([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert code == 2, f"exit code {code}: {err}"
        assert out == ""
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert not list(Path().iterdir()), "something was written in the working directory"
        return err

    return call


def says(pattern, message):
    return re.search(pattern, message) or pytest.fail(f"{pattern!r} is not in {message!r}")


def files_in(folder):
    return [p for p in Path(folder).rglob("*") if p.is_file()]


def listing(folder):
    """What is in a folder, and when each thing was changed."""
    return {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*")}


# ------------------------------------------------------------------------------------------- train

TRAIN = {
    "--field poison": r"no field named 'poison'; did you mean 'poisson'\? fields: .*vp",
    ".": "got the path . as FIELD; the field stands before the data, as in diffode train edm",
    "": "give a FIELD, as in diffode train edm; diffode fields lists the names",
    "vp --field edm": "got FIELD vp and --field edm; give one of the two",
    "--field vp --data moon": r"no data set named 'moon'; did you mean 'moons'\? data sets: .*dig",
    "--field edm --set sigma_mx=3": r"no option 'sigma_mx'; did you mean 'sigma_max'\? .*width",
    "--field vp --set zzz=3": "no option 'zzz'; options: .*beta_min.*width.*clip",
    "--field poisson --set dof=-1": "got dof='-1'; input should be greater than 0",
    "--field vp --set lr=nan": "got lr='nan'; input should be less than inf",
    "--field vp --set width=wide": "got width='wide'; input should be a valid integer",
    "--field vp --set network=big": "no network named 'big'; networks: mlp, unet",
    "--field vp --set width": "got --set 'width'; wanted --set key=value",
    "--field vp --set =3": "got --set '=3'; wanted --set key=value",
    "--field vp --set seed=3": "got --set seed; --set takes options of the recipe and the trainer",
    "--field vp --set solver=dopri5": "got --set solver; --set takes options of the recipe and",
    "--field vp --set resume=x": "got --set resume; --set takes options of the recipe and the",
    "--field vp --steps 0": "got steps=0; input should be greater than or equal to 1",
    "--field vp --steps 1e3": "Invalid value for '--steps'",
    "--field vp --seed -1": "Invalid value for '--seed'",
    "--field vp --samples 9": "Invalid value for '--samples': .* 20",
    "--field vp --device tpu": "got device 'tpu'; use auto, cpu or cuda",
    "--field vp --device cpu --set precision=fp16": "fp16 needs a GPU; use precision no or bf16",
    "--field vp --set accumulate=17": "batch 16 is less than the 17 pieces",
    "--field vp --data moons --set network=unet": r"a U-Net wants events \(channels",
    "--field edm --set sigma_min=90": "got sigma_min, sigma_max = 90.0, 80.0; wanted 0 <",
    "--field vp --data swiss-roll --labels": "'swiss-roll' has no labels; train without them",
    "--fild vp": "No such option: --fild",
}


@pytest.mark.parametrize("given", TRAIN)
def test_train_refuses(refused, tmp_path, given):
    tiny = beside(given.split(), TINY)
    message = refused("train", *tiny, "--out", tmp_path / "run", *given.split())
    says(TRAIN[given], message)
    assert not files_in(tmp_path)


def pickled(path):
    np.save(path, np.array([{"a": 1}] * 20, dtype=object), allow_pickle=True)


ARRAYS = {
    "nan": (lambda p: np.save(p, np.full((20, 2), np.nan)), "NaN or infinite .* first in row 0"),
    "rank 1": (lambda p: np.save(p, np.ones(20)), "rows that are all equal"),
    "rank 5": (lambda p: np.save(p, np.ones((20, 1, 2, 2, 2))), r"got an array of shape \(20, 1"),
    "no rows": (lambda p: np.save(p, np.ones((0, 2))), "got 0 rows .* wanted at least 10"),
    "empty": (lambda p: p.write_bytes(b""), "numpy cannot read this"),
    "text": (lambda p: p.write_text("1 2 3"), "numpy cannot read this"),
    "pickled": (pickled, "pickled objects are not opened"),
    "equal": (lambda p: np.save(p, np.ones((20, 2))), "rows that are all equal"),
    "absent": (lambda p: None, "no such file; give the path of a .npy or .npz file"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_train_refuses_an_array(refused, tmp_path, kind):
    make, pattern = ARRAYS[kind]
    make(tmp_path / "x.npy")
    data, out = tmp_path / "x.npy", tmp_path / "run"
    says(pattern, refused("train", "--field", "vp", *TINY, "--data", data, "--out", out))
    assert not files_in(out)


@pytest.fixture
def untrained(monkeypatch):
    """No batch may be drawn."""

    def at(*arguments):
        raise AssertionError("training began")

    monkeypatch.setattr("diffode.training.batches.Batches.at", at)


@pytest.mark.parametrize("inside", ["", "x", "x/y"])
@pytest.mark.usefixtures("untrained")
def test_an_output_directory_below_a_file_is_found_before_training(refused, tmp_path, inside):
    (tmp_path / "file").write_text("mine")
    message = refused("train", "--field", "vp", *TINY, "--out", tmp_path / "file" / inside)
    says("cannot write to .*file.*; choose another output directory", message)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("untrained")
def test_an_output_directory_that_holds_a_run_is_left_alone(refused, plain):
    before = listing(plain)
    message = refused("train", "--field", "vp", *TINY, "--out", plain)
    says("holds a run; resume it, or choose another output directory", message)
    assert listing(plain) == before


RESUME = {
    "--field vp": "is a run with field poisson, not vp; start a new run",
    "--seed 5": "is a run with seed 0, not 5",
    "--data moons": "is a run with data digits, not moons",
    "--labels": "is a run with labels False, not True",
    "--field poison": "no field named 'poison'; did you mean 'poisson'",
    "--set sigma_max=70": "is a run with sigma_max 80.0, not 70.0; start a new run to change that",
    "--set width=8": "is a run with width 16, not 8",
    "--set lr=.1": "is a run with lr 0.002, not 0.1; start a new run to change that",
    "--set ema=.9": "is a run with ema 0.999, not 0.9",
    "--batch 8": "is a run with batch 16, not 8",
    "--set precision=bf16": "is a run with precision no, not bf16",
    "--set accumulate=2": "is a run with accumulate 1, not 2",
    "--set warmup=9": "is a run with warmup 100, not 9",
    "--set since=1": "got --set since",
    "--set widht=8": "did you mean 'width'",
    "--out elsewhere": "goes on in its own directory; leave --out away",
    "--steps 1": "the run has had 2 of 1 steps",
}


@pytest.mark.parametrize("given", RESUME)
def test_resume_refuses(refused, plain, given):
    before = listing(plain)
    says(RESUME[given], refused("train", "--resume", plain, *given.split()))
    assert listing(plain) == before


@pytest.mark.parametrize("kind", ["absent", "empty", "a file", "no config", "damaged config"])
def test_resume_of_what_is_no_run(refused, plain, tmp_path, kind):
    folder = tmp_path / "run"
    if kind == "empty":
        folder.mkdir()
    elif kind == "a file":
        folder.write_text("mine")
    elif kind != "absent":
        shutil.copytree(plain, folder)
        config = folder / "config.json"
        config.unlink() if kind == "no config" else config.write_text(config.read_text()[:99])
    says("run is not a run: it has no readable config.json", refused("train", "--resume", folder))


# ------------------------------------------------------------------------------------------ sample

SAMPLE = {
    "--solver hen": r"no solver named 'hen'; did you mean 'heun'\? solvers: .*ddim",
    "--nfe 9 --steps 4": "got nfe=9 and steps=4; give one of the two",
    "--nfe 9 --solver dopri5": "dopri5 chooses its own steps, so nfe cannot be set; give rtol",
    "--device tpu": "got device 'tpu'; use auto, cpu or cuda",
    "--nfe 1 --solver heun": "nfe=1 does not pay for one step of heun",
    "--nfe 0": "Invalid value for '--nfe'",
    "--steps 0 --solver dopri5": "Invalid value for '--steps'",
    "--n 0": "Invalid value for .--samples. .* .--n.",
    "--label 3": "got --label 3, but this field knows no labels",
    "--out x.jpg": r"got --out x.jpg; wanted a name that ends in .png or .npz",
    "--out x": r"got --out x; wanted a name that ends in .png or .npz",
    "--weights best": "got --weights best; wanted ema or raw",
    "--grid cubic": "no grid named 'cubic'; grids: native",
    "--set eta=0.5": "solver 'trig' has no option 'eta'; options: order, corrected",
    "--set seed=3": "solver 'trig' has no option 'seed'; options: order, corrected",
    "--solver dopri5 --set rtol=-1": "got rtol=.*; input should be greater than 0",
    "--solver ddim --set eta=2": "got eta 2.0; wanted a number from 0 to 1",
    "--solver ddim --set eta=1": "ddim adds normal noise, but this field's noise is StudentT",
    "--seed -1": "Invalid value for '--seed'",
}


@pytest.mark.parametrize("given", SAMPLE)
def test_sample_refuses(refused, plain, tmp_path, given):
    out = beside(given.split(), ["--out", tmp_path / "new" / "x.png"])
    says(SAMPLE[given], refused("sample", plain, *out, *given.split()))
    assert not files_in(tmp_path)


@pytest.mark.parametrize("label", [-1, 10])
def test_sample_refuses_a_label_out_of_range(refused, labelled, label):
    message = refused("sample", labelled, "--label", label)
    says(f"got --label {label}; this field has labels 0 to 9", message)


def test_sample_refuses_an_output_below_a_file(refused, plain, tmp_path):
    (tmp_path / "file").write_text("mine")
    message = refused("sample", plain, "--out", tmp_path / "file" / "x.png")
    says("cannot write .*x.png: .*file is a file; give another name", message)


CHECKPOINTS = {
    "absent": (lambda p, c: None, "does not exist; give a run directory, a .safetensors"),
    "a folder": (lambda p, c: p.mkdir(), "has no checkpoint; give a run directory or"),
    "half": (lambda p, c: p.write_bytes(c.read_bytes()[:9999]), "is damaged or not a safetensors"),
    "a few bytes": (lambda p, c: p.write_bytes(c.read_bytes()[:50]), "is damaged or not a"),
    "empty": (lambda p, c: p.write_bytes(b""), "is damaged or not a safetensors file"),
    "random": (lambda p, c: p.write_bytes(os.urandom(5000)), "is damaged or not a safetensors"),
    "foreign": (lambda p, c: save_file({"a": torch.ones(2)}, p), "is not a diffode checkpoint"),
    "new format": (
        lambda p, c: edited(p, c, lambda h, t: h.update(format=99)),
        "has checkpoint format 99, this version reads 1 to 2; use the version",
    ),
    "no recipe": (
        lambda p, c: edited(p, c, lambda h, t: h.pop("recipe")),
        "is not a diffode checkpoint: its header has no spec",
    ),
    "other recipe": (
        lambda p, c: edited(p, c, lambda h, t: h.update(recipe="poison")),
        "no field named 'poison'",
    ),
    "other width": (
        lambda p, c: edited(p, c, lambda h, t: h["options"].update(width=8)),
        "the checkpoint does not fit this objective: .* tensors differ",
    ),
    "no statistics": (
        lambda p, c: edited(p, c, lambda h, t: t.pop("stats/mean")),
        "the checkpoint has no tensor stats/mean",
    ),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_sample_refuses_a_checkpoint(refused, plain, tmp_path, kind):
    make, pattern = CHECKPOINTS[kind]
    make(tmp_path / "x.safetensors", next((plain / "checkpoints").iterdir()))
    out = tmp_path / "new" / "x.png"
    says(pattern, refused("sample", tmp_path / "x.safetensors", "--out", out))
    assert not files_in(out.parent)


# ------------------------------------------------------------------------------------- the program


def test_a_long_message_becomes_one_line(capsys):
    assert fail("first\n  second") == 2
    assert capsys.readouterr().err == "error: first second\n"
