"""Code of the user's own that fails: one line that names its file, and nothing half-written."""

import sys

import pytest

from diffode import code, registry
from diffode.cli.app import run
from tests.runs import refused
from tests.test_registry import afresh  # noqa: F401  # what a test registers is forgotten

MINE = """
import torch
from torch import nn

def lost(given): raise KeyError("hm")
def leaves(given): raise SystemExit(0)
def nothing(given): return None
def empty(): return None
def points(a, b): return a
def gone(seed): return 1 / seed

class Net(nn.Module):
    def __init__(self, shape, *, conditions, classes, extra, width, depth):
        super().__init__()
        self.layer = nn.Linear(shape[0], 1)
    def forward(self, x, cond, y=None):
        return self.layer(x)

class Fixed(Net):
    def __init__(self, shape, **sizes):
        nn.Module.__init__(self)

class Raises(Net):
    def forward(self, x, cond, y=None):
        return self.layer(x[:, :1])

class Solver:
    def __init__(self, needed): pass

def clocked(given):
    from diffode import build
    from diffode.fields import rescheduled
    objective = build("vp", given.shape, stats=given.stats, width=8, depth=1)
    objective.field = rescheduled(objective.field, "theta")
    return objective
"""
LINES = {
    "mine.py:lost moons": "mine.py (line 5) raised KeyError: 'hm'",
    "mine.py:leaves moons": "mine.py (line 6) raised SystemExit: 0",
    "mine.py:nothing moons": "returned a NoneType; wanted an Objective",
    "mine.py:clocked moons": "made a field with units of its own",
    "mine.py:empty moons": "mine.py:empty' cannot be called with 1 argument by place",
    "vp mine.py:points": "mine.py:points' cannot be called with 1 argument by place",
    "vp mine.py:gone": "mine.py (line 10) raised ZeroDivisionError: division by zero",
    "package_of_mine:lost moons": "package_of_mine.py (line 5) raised KeyError: 'hm'",
    "package_of_mine:leaves moons": "package_of_mine.py (line 6) raised SystemExit: 0",
    "vp moons --network mine.py:Net": "output is of shape (8, 1); wanted that of x, (8, 2)",
    "vp moons --network mine.py:Fixed": "has no parameters, so there is nothing to train",
    "vp moons --network mine.py:Raises": "mine.py (line 25) raised RuntimeError: ",
    "vp moons --solver mine.py:Solver": "mine.py:Solver' cannot be called with 0 arguments by",
}


@pytest.mark.parametrize("line", LINES)
def test_code_that_fails_is_named_in_one_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "package_of_mine", raising=False)
    for name in ("mine.py", "package_of_mine.py"):
        (tmp_path / name).write_text(MINE)
    few = "--steps 1 --batch 8 --samples 20 --device cpu --out run"
    assert LINES[line] in refused(capsys, "train", *line.split(), *few.split())
    assert not (tmp_path / "run/config.json").exists()
    assert run(f"train vp moons --set width=8 {few}".split()) == 0


def test_torch_is_not_blamed_once_a_class_of_its_own_was_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code._module("torch.nn.modules.linear")
    (tmp_path / "mine.py").write_text(MINE)
    line = "vp moons --network mine.py:Raises"
    few = "--steps 1 --batch 8 --samples 20 --device cpu --out run"
    assert LINES[line] in refused(capsys, "train", *line.split(), *few.split())


def test_a_run_is_sampled_with_a_solver_of_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from diffode.solvers.heun import Heun\nclass Mine(Heun): pass\n"
    )
    few = "--steps 1 --batch 8 --samples 20 --device cpu --out run --set width=8"
    assert run(f"train vp moons --solver mine.py:Mine {few}".split()) == 0
    assert "vp is sampled with mine.py:Mine" in capsys.readouterr().out


def test_a_link_to_code_keeps_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "version-1").write_text("level = 3")
    (tmp_path / "link.py").symlink_to("version-1")
    assert str(found := code.place("link.py:level")) == f"{tmp_path.resolve()}/link.py:level"
    assert code.run(found) == 3


@pytest.mark.parametrize("name", [3, None, "", " ", "mine.py:f", "os:system"])
def test_what_is_no_name_is_not_registered(name):
    with pytest.raises(ValueError, match=r"got the name .*; wanted a word, without"):
        registry.register("recipe", name, lambda given: None)
    with pytest.raises(ValueError, match=r"got the name .*; wanted a word, without"):
        registry.register("recipe", "sound", lambda given: None, aliases=(name,))
