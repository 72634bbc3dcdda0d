"""Runs whose recipe, network, solver or data are the user's own code: opened again, and safely."""

import json
import subprocess
import sys

import pytest

import diffode
from diffode import admission, code, registry
from diffode.cli.app import run
from diffode.runs.loading import load
from diffode.runs.plan import Plan
from diffode.runs.run import load_data
from diffode.training import checkpoint
from tests.test_registry import afresh  # noqa: F401  # what a test registers is forgotten

MINE = """
import pathlib

import torch
from torch import nn

import diffode
from diffode.fields import VP, Cosine
from diffode.fields.precond import NoisePrediction
from diffode.training.denoising import Denoising, Uniform

pathlib.Path(__file__).with_name("ran.txt").touch()


@diffode.recipe("own", about="noise prediction", training={"steps": 3})
def my_recipe(given, *, beta: float = 19.0):
    field = given.learned(VP(0.1, beta), NoisePrediction())
    return Denoising(field, Uniform(1e-3, 1.0), given.classes, given.label_drop)


class Net(nn.Module):
    def __init__(self, shape, conditions, classes, extra, width, depth):
        super().__init__()
        self.layer = nn.Linear(shape[0], shape[0])

    def forward(self, x, cond, y=None):
        return self.layer(x)


class Path(Cosine):
    pass


def points(seed):
    return torch.randn(300, 2, generator=torch.Generator().manual_seed(seed))
"""
TRAIN = "train mine.py:my_recipe mine.py:points --network mine.py:Net --batch 16 --out run"


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with a file of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.fixture
def trained(desk, capsys):
    """A run of code in a file; nothing of it is known any more, as in a new process."""
    assert run([*TRAIN.split(), "--samples", "20", "--device", "cpu"]) == 0, (
        capsys.readouterr().err
    )
    assert "train" not in capsys.readouterr().err.replace("train mine.py:my_recipe", "")
    forget()
    (desk / "ran.txt").unlink()
    return desk


def forget():
    """What ran is known no more, as in a new process."""
    code._RAN.clear()
    admission._ACCEPTED.clear()
    for table in registry._TABLES.values():
        for name in [
            n for n, entry in table.items() if "mine.py" in entry.key or "solvers.py" in entry.key
        ]:
            del table[name]


def said(capsys, line):
    exit_code = run(line.split())
    return exit_code, capsys.readouterr().err


def test_a_run_states_the_code_it_is_of(trained):
    config = json.loads((trained / "run/config.json").read_text())
    assert config["field"] == f"{trained}/mine.py:my_recipe"
    assert config["options"]["network"] == f"{trained}/mine.py:Net"
    assert (config["data"], config["source"]) == ("mine.py:points", f"{trained}/mine.py:points")
    assert config["code"].keys() == {"recipe", "network", "source"}
    header, _ = checkpoint.opened("run")
    assert (
        header["code"]["recipe"] == config["code"]["recipe"]
        and header["recipe"] == config["field"]
    )
    assert config["code"]["recipe"].startswith("sha256 ")


COMMANDS = [
    "sample run --samples 3 --out x.npz",
    "eval run --samples 20 --nfe 3",
    "likelihood run --points 2 --set rtol=.1 --set atol=.1",
    "check run",
    "train --resume run --steps 4 --samples 20",
]


@pytest.mark.parametrize("line", COMMANDS)
def test_no_command_runs_it_unless_it_is_trusted(line, trained, capsys):
    exit_code, message = said(capsys, line)
    assert exit_code == 2 and message.count("\n") == 1 and "Traceback" not in message
    assert (
        "mine.py:my_recipe' is code, which is run only where you say so: give --trust" in message
    )
    assert not (trained / "ran.txt").exists()


def test_a_new_process_opens_it_with_trust(trained):
    opened = (
        "import sys, diffode; print(diffode.load('run', trust='trust' in sys.argv).spec.recipe)"
    )
    done = [
        subprocess.run([sys.executable, "-c", opened, *more], capture_output=True, text=True)
        for more in ([], ["trust"])
    ]
    assert done[0].returncode == 1 and "is code, which is run only" in done[0].stderr
    assert done[1].stdout.strip() == f"{trained}/mine.py:my_recipe", done[1].stderr


def test_python_opens_it_with_trust_or_where_it_ran(trained):
    with pytest.raises(ValueError, match="is code, which is run only where you say so"):
        load("run")
    with pytest.raises(ValueError, match="is code, which is run only where you say so"):
        Plan.read("run")
    assert not (trained / "ran.txt").exists()
    drawn = diffode.sample(load("run", trust=True).field, 4, steps=3)
    assert drawn.x.shape == (4, 2) and load("run").spec.recipe.endswith("mine.py:my_recipe")
    plan = Plan.read("run")  # all that it needs ran
    with pytest.raises(ValueError, match=r"the data set .*points' is code"):
        load_data(plan)
    assert load_data(Plan.read("run", trust=True)).name == "mine.py:points"


def test_a_run_goes_on_where_the_command_names_its_code(trained, capsys):
    line = "train --resume run --steps 5 --samples 20 --device cpu"
    named = "--field mine.py:my_recipe --network mine.py:Net --data mine.py:points"
    assert said(capsys, f"{line} {named}")[0] == 0
    forget()
    exit_code, message = said(capsys, f"{line.replace('5', '6')} --trust")
    assert exit_code == 0, message
    assert Plan.read("run").steps == 6


def test_a_name_that_code_registers_stands_for_its_place(desk):
    sys.path.insert(0, str(desk))
    try:
        __import__("mine")
        made = diffode.fit("own", "mine:points", out="run", batch=16, width=8, depth=1)
    finally:
        sys.path.remove(str(desk))
        del sys.modules["mine"]
    assert made.plan.field == "mine:my_recipe" and made.plan.training["steps"] == 3
    assert Plan.read("run").code.keys() == {"recipe", "source"}
    forget()


def test_a_file_that_has_changed_or_gone_is_told(trained, capsys):
    (trained / "mine.py").write_text(MINE + "\n# more\n")
    with pytest.warns(
        UserWarning, match=r"(Net|my_recipe) has changed since: then sha256 \w{12}, now"
    ):
        load("run", trust=True)
    forget()
    registry.find("recipe", f"{trained}/mine.py:my_recipe", run=True)
    with pytest.raises(ValueError, match=r"has changed since.* give --trust to take the new one"):
        load("run")
    forget()
    (trained / "mine.py").unlink()
    exit_code, message = said(capsys, "train --resume run --steps 9 --trust")
    assert exit_code == 2 and message.count("\n") == 1 and "mine.py: no such file" in message


def test_a_comparison_takes_code_that_the_command_names(desk, capsys):
    (desk / "solvers.py").write_text(
        "from diffode.solvers.heun import Heun\nclass Mine(Heun): pass\n"
    )
    line = (
        "bench --field mine.py:my_recipe --data mine.py:points --nfe 3 --samples 50 --steps 1 "
        "--solver solvers.py:Mine:grid=karras --set network=mine.py:Net --device cpu --out b"
    )
    exit_code, message = said(capsys, line)
    assert exit_code == 0, message
    assert "solvers.py:Mine:grid=karras" in (desk / "b/report.md").read_text()
    forget()
    (desk / "ran.txt").unlink()
    exit_code, message = said(capsys, "bench b/config.yaml --out b")
    assert exit_code == 2 and "is code, which is run only where you say so" in message
    assert not (desk / "ran.txt").exists()
    assert said(capsys, "bench b/config.yaml --out b --trust")[0] == 0


def test_the_path_of_rectified_flow_has_a_name_or_is_code(desk):
    small = {"steps": 1, "batch": 8, "width": 8, "depth": 1}
    for name, kind in (("rectified", "Rectified"), ("cosine", "Cosine"), ("mine.py:Path", "Path")):
        made = diffode.fit("rectified", "moons", schedule=name, **small)
        assert type(made.field.schedule).__name__ == kind
    assert made.plan.options["schedule"] == f"{desk}/mine.py:Path"
    with pytest.raises(ValueError, match="no schedule named 'cosin'; did you mean 'cosine'"):
        diffode.fit("rectified", "moons", schedule="cosin", **small)
    with pytest.raises(TypeError, match="made a dict; wanted a Schedule"):
        diffode.fit("rectified", "moons", schedule="builtins:dict", **small)
    forget()
