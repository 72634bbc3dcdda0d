"""Every command takes every TARGET: here a field of a file, which no run was trained for."""

import json

import numpy as np
import pytest

from diffode.cli.app import run
from tests.runs import refused

MINE = """
from diffode.data import load
from diffode.fields import VP, Empirical

moons = load("moons")
x, y = moons.train[:60], moons.train_labels[:60]
exact = Empirical(x, VP(), bandwidth=0.1)
labelled = Empirical(x, VP(), bandwidth=0.1, labels=y)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine_of_all_commands.py"
    path.write_text(MINE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def samples(mine):
    out = mine.with_name("samples.npz")
    assert run(["sample", f"{mine}:exact", "--n", "8", "--device", "cpu", "--out", str(out)]) == 0
    return out


def test_samples_go_to_the_prior_and_back(mine, samples, tmp_path, capsys):
    target, z, back = f"{mine}:exact", str(tmp_path / "z.npz"), str(tmp_path / "x.npz")
    assert run(["encode", target, str(samples), "--device", "cpu", "--out", z]) == 0
    assert run(["decode", target, z, "--device", "cpu", "--out", back]) == 0
    assert "another field" not in capsys.readouterr().err
    np.testing.assert_allclose(np.load(back)["x"], np.load(samples)["x"], atol=0.01)
    assert run(["decode", f"{mine}:labelled", z, "--device", "cpu", "--out", back]) == 0
    assert "those of another field" in capsys.readouterr().err


def test_a_label_is_the_fields_own_matter(mine, tmp_path, capsys):
    arguments = ["--n", "4", "--device", "cpu", "--out", str(tmp_path / "x.npz"), "--label"]
    assert run(["sample", f"{mine}:labelled", *arguments, "1"]) == 0
    line = refused(capsys, "sample", f"{mine}:labelled", *arguments, "5")
    assert "label 5 has no points" in line
    assert "knows no labels" in refused(capsys, "sample", f"{mine}:exact", *arguments, "1")


def test_a_grid_is_fitted_and_used(mine, tmp_path):
    grid, few = str(tmp_path / "grid.json"), ["--steps", "4", "--pilot", "8", "--device", "cpu"]
    assert run(["fit-grid", f"{mine}:exact", *few, "--out", grid]) == 0
    out = str(tmp_path / "x.npz")
    assert run(["sample", f"{mine}:exact", "--n", "4", "--grid", grid, "--out", out]) == 0


@pytest.mark.parametrize("data", ["moons", "{samples}"])
def test_its_likelihood(mine, samples, data, capsys):
    given = ["--data", data.format(samples=samples), "--n", "6", "--device", "cpu"]
    assert run(["likelihood", f"{mine}:exact", *given]) == 0
    assert "likelihood of 6 points" in capsys.readouterr().out


def test_its_samples_are_measured(mine, tmp_path, capsys):
    out = tmp_path / "eval"
    given = ["--data", "moons", "--n", "60", "--nfe", "6", "--device", "cpu", "--out", str(out)]
    assert run(["eval", f"{mine}:exact", *given]) == 0
    assert "mine_of_all_commands.py:exact on moons" in capsys.readouterr().out
    stored = json.loads((out / "eval.json").read_text(encoding="utf-8"))
    assert stored["run"] == f"{mine}:exact" and stored["data"] == "moons"
    parts = set((out / "eval" / "parts").iterdir())
    mine.write_text(MINE.replace("bandwidth=0.1", "bandwidth=0.2"), encoding="utf-8")
    try:
        assert run(["eval", f"{mine}:exact", *given]) == 0
    finally:
        mine.write_text(MINE, encoding="utf-8")
    assert len(set((out / "eval" / "parts").iterdir()) - parts) == 1, "of the code as it is now"


def test_samples_of_a_solver_are_those_of_its_code_as_it_is(mine, tmp_path):
    solver, out = tmp_path / "solver.py", tmp_path / "eval"
    given = ["--data", "moons", "--n", "60", "--nfe", "6", "--device", "cpu", "--out", str(out)]
    for k in (1, 2, 2):
        text = f"from diffode.solvers.heun import Heun\n\n\nclass Mine(Heun):\n    k = {k}\n"
        solver.write_text(text, encoding="utf-8")
        assert run(["eval", f"{mine}:exact", "--solver", f"{solver}:Mine", *given]) == 0
    assert len(list((out / "eval" / "parts").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval"], "is no run, so it has no data of its own; give --data"),
        (["eval", "--data", "moons"], "is no run with a folder of its own; give --out FOLDER"),
        (["eval", "--data", "digits", "--out", "x"], "makes samples of shape (2,), digits has"),
        (["likelihood"], "is no run, so it has no data of its own; give --data"),
        (["likelihood", "--data", "train"], "is no run, so it has no data of its own"),
    ],
)
def test_what_needs_data_says_so(mine, arguments, message, capsys):
    command, *options = arguments
    assert message in refused(capsys, command, f"{mine}:exact", *options)
