"""Options from files, and what a command would do with them."""

import json

import pytest

from diffode.cli.app import run
from tests.runs import figures, made, refused

OPTIONS = {"field": "edm", "data": "moons", "steps": 3, "labels": True, "level_std": 1.1}
OPTIONS |= {"batch": 16, "width": 16, "depth": 1, "device": "cpu", "sigma_data": None}
TYPED = ["edm", "moons", "--steps", "3", "--labels", "--set", "level_std=1.1", "--batch", "16"]
TYPED += ["--set", "width=16", "--set", "depth=1", "--device", "cpu"]
LINES = {
    "x.json": json.dumps(OPTIONS),
    "x.yaml": "\n".join(f"{k}: {json.dumps(v)}" for k, v in OPTIONS.items()),
    "x.toml": "\n".join(f"{k} = {json.dumps(v)}" for k, v in OPTIONS.items() if v is not None),
}


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """What ``train --dry-run`` says, as a mapping; it writes nothing."""
    monkeypatch.chdir(tmp_path)

    def tell(*given):
        before = sorted(tmp_path.rglob("*"))
        assert run(["train", *map(str, given), "--dry-run"]) == 0
        assert sorted(tmp_path.rglob("*")) == before
        rows = (line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
        return {name: value.strip() for name, value in rows}

    return tell


@pytest.mark.parametrize("name", LINES)
def test_a_file_of_options_is_as_good_as_typing_them(told, tmp_path, name):
    (tmp_path / name).write_text(LINES[name], encoding="utf-8")
    typed = told(*TYPED)
    assert told("--config", name) == typed
    assert typed["steps to do"] == "3" and typed["labels"] == "true"
    assert typed["network"] == "MLP, width 16, depth 1, 3,315 parameters"
    assert typed["sigma_data"].startswith("- (1.4")
    assert "20000 train and 4000 test points of shape (2,)" in typed["data"]
    assert typed["run directory"].startswith("runs/edm-moons ")


def test_the_command_line_wins_over_the_file(told, tmp_path):
    (tmp_path / "x.yaml").write_text(LINES["x.yaml"], encoding="utf-8")
    given = ["--steps", "5", "--no-labels", "--set", "level_std=1", "--config", "x.yaml"]
    plan = told("edm", "blobs", *given)
    assert (plan["steps"], plan["labels"], plan["level_std"]) == ("5", "false", "1")
    assert "blobs" in plan["data"] and plan["batch"] == "16"


FILES = {
    "steps: [1, 2]": "x.yaml: got steps = [1, 2]; wanted one value",
    "resume: runs/x": "x.yaml: resume is an option of the command line alone",
    "labels: 3": "x.yaml: got labels = 3; wanted true or false",
    "field: mine.py:field": "x.yaml: field is the code 'mine.py:field', which is run only where",
    "samples: 3": "Invalid value for '--samples'",
    "stepps: 3": "field 'edm' has no option 'stepps'; did you mean 'steps'?",
    "sead: 3": "field 'edm' has no option 'sead'; did you mean 'seed'?",
    "seed: 1.5": "Invalid value for '--seed'",
    "- a": "x.yaml holds no table of options",
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_that_states_no_options_is_refused(tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    field = [] if text.startswith("field") else ["edm"]
    assert FILES[text] in refused(capsys, "train", *field, "--config", "x.yaml", "--out", "run")
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_the_configuration_of_a_run_is_one_to_run_again(tmp_path, told, capsys):
    first = made(tmp_path, "ddim", "moons", "--set", "lr=0.0012345678901234567")
    config = first / "config.json"
    assert run(["train", "--config", str(config), "--samples", "20", "--out", "again"]) == 0
    again = tmp_path / "again"
    for key in ("field", "options", "training", "seed", "solver", "source", "resolved"):
        assert figures(again / "config.json")[key] == figures(config)[key], key
    losses = [
        [json.loads(line)["loss"] for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (first / "metrics.jsonl", again / "metrics.jsonl")
    ]
    assert losses[0] == losses[1] != []
    capsys.readouterr()
    with pytest.raises(AssertionError):  # the directory is taken
        told("edm", "--out", again)
    assert "again holds a run; resume it" in capsys.readouterr().err
    plan = told("--resume", again, "--steps", 5)
    assert (plan["steps to do"], plan["solver"]) == ("3", "ddim")


def test_the_configuration_of_a_run_says_how_its_data_are_read(tmp_path, told, capsys):
    """Else the same command would learn other columns, in other units, and without labels."""
    rows = [f"{k},{1 - k / 7},{'uv'[k % 2]},{k * k}" for k in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,kind,c", *rows]), encoding="utf-8")
    asked = ("--columns", "a,c", "--label-column", "kind", "--labels", "--scale", "standard")
    config = made(tmp_path, "edm", "t.csv", *asked) / "config.json"
    capsys.readouterr()
    plan = told("--config", config, "--out", "again")
    assert (plan["data, columns"], plan["data, label"], plan["data, scale"]) == (
        "('a', 'c')",
        "kind",
        "standard",
    )
    assert plan["labels"] == "true"
    other = told("--config", config, "--columns", "b", "--out", "again")
    assert (other["data, columns"], other["data, label"]) == ("('b',)", "kind")
    (tmp_path / "x.toml").write_text('data = "t.csv"\ncolumns = ["b", "c"]', encoding="utf-8")
    assert told("edm", "--config", "x.toml")["data, columns"] == "('b', 'c')"


def test_the_configuration_of_a_run_on_data_in_memory_wants_them(tmp_path, capsys, told):
    stored = {"field": "edm", "data": "mine", "source": "memory", "options": {}, "training": {}}
    (tmp_path / "config.json").write_text(json.dumps(stored), encoding="utf-8")
    message = refused(capsys, "train", "--config", "config.json")
    assert "config.json is of a run with data in memory; give DATA" in message
    assert "moons" in told("edm", "moons", "--config", "config.json")["data"]


def test_no_comparison_is_started_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, "bench")
    assert "nothing was started" in message and "diffode bench --data moons starts it" in message
    assert not list(tmp_path.iterdir())


def test_a_comparison_tells_its_cells_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text('fields = ["edm"]\nsolvers = ["heun", "dopri5"]\n')
    given = ["--seed", "0", "--seed", "1", "--nfe", "7", "--nfe", "9", "--dry-run"]
    assert run(["bench", "--config", "x.toml", *given]) == 0
    heun, dopri5, last = capsys.readouterr().out.splitlines()[1:]
    assert heun.split()[:5] == ["moons", "edm", "heun", "7,", "9"]
    assert dopri5.split()[:4] == ["moons", "edm", "dopri5", "0.3,"]
    assert last.startswith("2 trainings, 16 cells of at most 2000 samples each, into runs/bench")
    assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]
