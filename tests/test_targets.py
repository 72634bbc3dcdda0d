"""One resolver of TARGETs: runs, checkpoints and code, for Python as for every command."""

import warnings
from dataclasses import replace

import pytest
import torch

from diffode import fit, load, sample
from diffode.data import load as load_data
from diffode.fields import Empirical
from diffode.runs.plan import Plan
from diffode.runs.targets import resolve

CODE = """
import torch
from diffode import build, fit
from diffode.data import load
from diffode.fields import VP, Empirical, Field
from diffode.training import Objective

exact = Empirical(load("moons").train[:50], VP())
objective = build("edm", (2,), width=8)
trained = fit("edm", "moons", steps=3, batch=8, width=8, device="cpu", ema=0.5)


def made():
    return exact


def rate():
    return objective


class Mine(Empirical):
    def __init__(self):
        super().__init__(torch.eye(2), VP())


class Bare(Field):
    pass
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of a few steps."""
    folder = tmp_path_factory.mktemp("targets") / "run"
    fit("edm", "moons", steps=4, batch=8, width=8, device="cpu", ema=0.5, out=folder)
    return folder


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "mine_as_target.py"
    path.write_text(CODE, encoding="utf-8")
    return path


def drawn(field):
    return sample(field, 3, nfe=4, seed=1).x


def test_a_run_and_its_checkpoint(small):
    by_run = resolve(small)
    (file,) = (small / "checkpoints").iterdir()
    by_file = resolve(str(file))
    for target in (by_run, by_file):
        assert (target.checkpoint, target.folder) == (file, small)
        assert target.plan == Plan.read(small) and target.solver == "default"
        assert torch.equal(drawn(target.field), drawn(load(small).field))
    assert by_run.title(by_run.dataset()) == "edm on moons"


def test_the_weights_are_those_asked_for(small):
    raw, averaged = resolve(small, "raw").field, resolve(small).field
    assert torch.equal(drawn(raw), drawn(load(small, "raw").field))
    assert not torch.equal(drawn(raw), drawn(averaged))
    with pytest.raises(ValueError, match="got --weights best; wanted ema or raw"):
        resolve(small, "best")


def test_a_checkpoint_that_lies_alone(small, tmp_path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(next((small / "checkpoints").iterdir()).read_bytes())
    target = resolve(file)
    assert (target.checkpoint, target.folder, target.plan) == (file, None, None)
    assert target.dataset("moons").name == "moons"
    with pytest.raises(ValueError, match=r"x.safetensors is no run, so it has no data of its own"):
        target.dataset()


@pytest.mark.parametrize("name", ["exact", "made", "Mine"])
def test_a_field_of_a_file(mine, name):
    target = resolve(f"{mine}:{name}")
    assert isinstance(target.field, Empirical)
    assert (target.checkpoint, target.folder, target.plan) == (None, None, None)
    assert target.title(load_data("moons")) == f"{mine}:{name} on moons"


@pytest.mark.parametrize("name", ["objective", "rate"])
def test_an_objective_of_a_file(mine, name):
    assert resolve(f"{mine}:{name}").field.event_shape == (2,)


def test_a_run_of_a_file(mine):
    ema, raw = resolve(f"{mine}:trained"), resolve(f"{mine}:trained", "raw")
    assert ema.plan.field == "edm" and ema.dataset().name == "moons" and ema.folder is None
    assert not torch.equal(drawn(ema.field), drawn(raw.field))


def test_a_module_by_its_name(mine, monkeypatch):
    monkeypatch.chdir(mine.parent)
    assert isinstance(resolve("mine_as_target:exact").field, Empirical)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "nowhere does not exist; give a run directory"),
        ("{mine}:absent", "has no attribute 'absent'"),
        ("{mine}:load", r"takes arguments \(name_or_path\); wanted a field"),
        ("{mine}:VP", "is a class of something else; wanted a field, an objective or a run"),
        ("{mine}:Bare", "Bare.prior is None; wanted a law to start from"),
    ],
)
def test_what_is_no_target(mine, given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        resolve(given.format(mine=mine))


def test_other_data_and_older_runs_are_told(small):
    target = resolve(small)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target.dataset()
        target.dataset("moons")
    with pytest.warns(UserWarning, match="blobs is not known to be the data that .* was"):
        target.dataset("blobs")
    replace(Plan.read(small), fingerprint=None).write(small)
    with pytest.warns(UserWarning, match="is of an older version and does not tell which values"):
        resolve(small).dataset()
