"""A time budget becomes a number of steps, which is what a run keeps."""

import itertools
import json
from types import SimpleNamespace

import pytest

from diffode.cli.app import run
from diffode.data import load
from diffode.runs.pace import measured, within
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.runs.suited import suited

TINY = {"batch": 16, "width": 8, "depth": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock on which each step takes half a second."""
    ticks = itertools.count(0, 0.5)
    fake = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr("diffode.training.trainer.time", fake)


@pytest.fixture
def moons():
    return load("moons")


def plan(dataset, **options):
    return suited(Plan.make("edm", "moons", **TINY, **options), dataset)


def test_the_pace_is_that_of_a_step_and_takes_no_more_steps_than_are_wanted(moons):
    assert measured(plan(moons), moons) == (0.5, 25.0)
    assert measured(plan(moons, steps=4000), moons, most=3) == (0.5, 3.5)


def test_the_steps_fill_the_time_with_what_measuring_took(moons):
    assert within(plan(moons), moons, 60).steps == 2 * (60 - 3.5)
    assert within(plan(moons), moons, 3600).steps == 2 * (3600 - 25)
    assert within(plan(moons), moons, 0.1).steps == 1


def test_a_plan_of_so_many_minutes_is_one_of_so_many_steps(moons, tmp_path):
    timed = within(plan(moons), moons, 10)
    assert timed == plan(moons, steps=timed.steps)
    execute(timed, moons, out=tmp_path)
    assert Plan.read(tmp_path).steps == timed.steps


def test_the_command_states_the_steps_and_keeps_them(tmp_path, capsys):
    options = [word for k, v in TINY.items() for word in ("--set", f"{k}={v}")]
    asked = ["train", "edm", "moons", "--samples", "20", *options, "--out", str(tmp_path / "run")]
    assert run([*asked, "--minutes", "0.1"]) == 0
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    steps = stored["training"]["steps"]
    assert f"{steps} steps fit into 0.1 min" in capsys.readouterr().err
    assert steps == 8 and "minutes" not in stored["training"]
    assert run([*asked, "--minutes", "1"]) == 2, "a folder with a run"
    assert "holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "5"], "--minutes and --steps"),
        (["--set", "steps=5"], "--minutes and --steps"),
        (["--resume", "nowhere"], "--minutes and --resume"),
    ],
)
def test_two_answers_to_one_question_are_refused(options, said, capsys):
    assert run(["train", "edm", "moons", "--minutes", "1", *options]) == 2
    assert said in capsys.readouterr().err


def test_no_time_and_several_processes_are_refused(moons, monkeypatch):
    with pytest.raises(ValueError, match="got 0 minutes; wanted more than 0"):
        within(plan(moons), moons, 0)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several processes must agree"):
        within(plan(moons), moons, 60)
