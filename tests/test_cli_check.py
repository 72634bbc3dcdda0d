"""``diffode check``: a line for each check, the mistake's name, and the exit code."""

import pytest

from diffode.cli.app import run
from tests.runs import refused

MINE = """
import torch
from diffode.data import load
from diffode.fields import Empirical, Field, Karras

exact = Empirical(load("moons").train[:200], Karras())


class Mine(Field):
    schedule, prior, span, event_shape = exact.schedule, exact.prior, exact.span, (2,)
    factor = 1

    def velocity(self, x, t, y=None):
        return self.factor * exact.velocity(x, t)


class Turned(Mine):
    factor = -1


def made():
    return Turned()


def needs(x):
    return exact


def fails():
    return {}["weights"]


def leaves():
    raise SystemExit(0)


class Bare(Field):
    def velocity(self, x, t, y=None):
        return -x


class NotSetUp(Mine):
    def __init__(self):
        self.k = 1


class Round(Mine):
    event_shape = 2


class Unnamed(Mine):
    def __repr__(self):
        raise KeyError("name")


class Clockless(Mine):
    class schedule(Karras):
        def time(self, rho):
            raise NotImplementedError

    schedule = schedule()


class Text:
    def __init__(self):
        raise AssertionError("it was made")


number = 3
network = torch.nn.Linear(2, 2)
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine_to_check.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_a_sound_field_of_a_file(mine, tmp_path, capsys):
    assert run(["check", f"{mine}:exact", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Empirical(event 2") and "use --data" in printed
    assert "Lipschitz  divergence" in printed and printed.endswith("all is well\n")
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize("name", ["Turned", "made"])
def test_a_mistake_is_named_and_the_exit_code_is_1(mine, name, capsys):
    assert run(["check", f"{mine}:{name}", "--data", "moons", "--device", "cpu"]) == 1
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("WRONG velocity"))
    assert "the velocity points the other way" in line and "correlation -" in line
    assert "turn its sign" in line and lines[-1].endswith("checks failed: sign")


@pytest.mark.slow
def test_a_module_by_name(mine, monkeypatch, capsys):
    monkeypatch.chdir(mine.parent)
    assert run(["check", "mine_to_check:Mine", "--data", "moons", "--device", "cpu"]) == 0
    assert "WRONG" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["edm", "poisson"])
def test_a_run_is_compared_with_its_own_data(name, request, capsys):
    folder = request.getfixturevalue(name)
    assert run(["check", str(folder), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "velocity        " in printed and "no data given" not in printed
    assert printed.splitlines()[-1].startswith(("no mistake found", "all is well"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "error: nowhere does not exist; give a run directory"),
        ("nowhere.py:made", "nowhere.py: no such file"),
        ("no_such_module:made", "cannot be imported: ModuleNotFoundError"),
        ("{mine}:absent", "the module has no attribute 'absent'"),
        ("{mine}:number", "is an object of type int; wanted a field, an objective or a run"),
        ("{mine}:network", "is an object of type Linear; wanted a field"),
        ("{mine}:Text", "is a class of something else; wanted a field"),
        ("{mine}:needs", "takes arguments (x); wanted a field, an objective or a run"),
        ("os:getcwd", "os:getcwd returned an object of type str; wanted a field"),
        ("shutil:rmtree", "takes arguments (path); wanted a field"),
        ("{mine}:fails", "raised KeyError: 'weights'"),
        ("{mine}:leaves", "raised SystemExit: 0"),
        ("{mine}:Bare", "Bare.prior is None; wanted a law to start from"),
        ("{mine}:NotSetUp", "NotSetUp is not set up: call super().__init__() first"),
        ("{mine}:Round", "Round.event_shape is 2; wanted the shape of one sample"),
        ("{mine}:Unnamed", "the repr of Unnamed raises KeyError: 'name'"),
        ("{mine}:Clockless", "Clockless's schedule raises NotImplementedError"),
    ],
)
def test_bad_targets_are_refused_in_one_line(mine, given, message, capsys):
    assert message in refused(capsys, "check", given.format(mine=mine))


def test_the_help_says_that_code_is_run(capsys):
    assert run(["check", "--help"]) == 0
    assert "runs the code that it is given" in " ".join(capsys.readouterr().out.split())


def test_data_that_do_not_fit_are_refused(mine, capsys):
    line = refused(capsys, "check", f"{mine}:exact", "--data", "digits")
    assert "this field moves points (M, 2)" in line
