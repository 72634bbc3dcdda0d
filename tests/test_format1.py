"""Runs of checkpoint format 1, kept from an earlier version: they load, sample and go on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import diffode
from diffode.cli.app import run
from diffode.runs.run import Plan, execute
from diffode.training import checkpoint

RUNS = {"edm-moons": None, "poisson-digits": torch.arange(4)}
HERE = Path(__file__).parent / "fixtures" / "format1"


@pytest.fixture(params=RUNS)
def kept(request, tmp_path):
    """A copy of a kept run, the labels of its samples, and what the earlier version made of it."""
    folder = shutil.copytree(HERE / request.param, tmp_path / "run")
    with np.load(folder / "expected.npz") as arrays:
        return folder, RUNS[request.param], {name: arrays[name] for name in arrays.files}


def drawn(field, y):
    """By Heun's method, which stays when the default solver is another."""
    return diffode.sample(field, 4, nfe=9, y=y, solver="heun").x.numpy()


def test_a_run_loads_and_samples(kept):
    folder, y, expected = kept
    header, _ = checkpoint.read(checkpoint.file_at(folder))
    assert header["format"] == 1 and "digest" not in header
    np.testing.assert_allclose(drawn(diffode.load(folder).field, y), expected["half"], atol=1e-4)


def test_a_run_goes_on_as_it_would_have(kept):
    folder, y, expected = kept
    done = execute(Plan.read(folder), out=folder, resume=True)
    losses = [sum(loss.values()) for loss in done.losses]
    assert len(losses) == 6
    np.testing.assert_allclose(losses, expected["losses"][6:], atol=1e-4)
    np.testing.assert_allclose(drawn(done.field, y), expected["end"], atol=1e-4)
    np.testing.assert_allclose(drawn(diffode.load(folder).field, y), expected["end"], atol=1e-4)
    header, _ = checkpoint.read(checkpoint.file_at(folder))
    assert (header["format"], header["step"]) == (2, 12)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [sum(json.loads(line)["loss"].values()) for line in lines]
    np.testing.assert_allclose(logged, expected["losses"], atol=1e-4)
    assert Plan.read(folder).fingerprint is not None, "from now on its data are known"


def test_going_on_says_that_the_data_cannot_be_told(kept, capsys):
    folder, *_ = kept
    assert run(["train", "--resume", str(folder), "--samples", "20"]) == 0
    assert "is of an older version and does not tell" in capsys.readouterr().err


def test_other_statistics_are_noticed_all_the_same(kept):
    folder, *_ = kept
    plan = Plan.read(folder)
    data = diffode.data.load(plan.data)
    other = diffode.data.Dataset("other", data.train * 2, data.test, data.train_labels, classes=10)
    with pytest.raises(ValueError, match="not the data that this run was trained on: it has std"):
        execute(plan, other, out=folder, resume=True)
