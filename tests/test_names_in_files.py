"""Names inside files that are read are data: none of them is ever run, wherever it stands."""

import json

import pytest

import diffode
from diffode.cli.app import run
from diffode.runs.loading import load
from diffode.training import checkpoint, container
from tests.test_registry import afresh  # noqa: F401  # what a test registers is forgotten
from tests.test_runs_of_code import said

SPOTS = ["field", "solver", "network", "schedule", "source"]
OPTIONS = ("network", "schedule")
TOUCH = "__import__('pathlib').Path('ran.txt').touch()"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file that tells when it runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(f"{TOUCH}\ndef f(*a, **k): {TOUCH}\n")
    return tmp_path


@pytest.fixture
def plain(folder):
    """A run of diffode's own parts in it."""
    diffode.fit("rectified", "moons", out="run", steps=1, batch=8, width=8, depth=1)
    return folder


def refused(folder, capsys, line, spoil):
    """That a command refuses what is spoilt by each of these names, and runs nothing."""
    for name in ("os:system", "evil:f", "evil.py:f", f"{folder}/evil.py:f"):
        spoil(name)
        exit_code, message = said(capsys, f"{line} --device cpu")
        assert exit_code == 2 and "is code, which is run only where you say so" in message
        assert not (folder / "ran.txt").exists()


@pytest.mark.parametrize("spot", SPOTS)
def test_no_name_in_a_config_is_run(spot, plain, capsys):
    path = plain / "run/config.json"
    stored = json.loads(path.read_text())

    def spoil(name):
        config = stored | {"code": {"recipe": "sha256 0", "source": ""}}
        inner = spot in OPTIONS
        config |= {"options": stored["options"] | {spot: name}} if inner else {spot: name}
        path.write_text(json.dumps(config))

    refused(plain, capsys, "eval run --samples 20 --nfe 2", spoil)


@pytest.mark.parametrize("spot", ["recipe", *OPTIONS])
def test_no_name_in_a_checkpoint_is_run(spot, plain, capsys):
    file = checkpoint.newest(plain / "run")
    header, tensors = container.read(file)
    header.pop("digest")

    def spoil(name):
        spoilt = {"options": header["options"] | {spot: name}, "recipe": name}
        key = "options" if spot in OPTIONS else "recipe"
        container.write(file, header | {key: spoilt[key]}, tensors)
        with pytest.raises(ValueError, match="is code, which is run only where you say so"):
            load(file)

    refused(plain, capsys, "sample run --samples 2 --out x.npz", spoil)


def test_no_name_in_a_fitted_grid_is_run(plain, capsys):
    line = "fit-grid run --pilot 8 --steps 3 --out grid.json --device cpu"
    assert run(line.split()) == 0
    grid = json.loads((plain / "grid.json").read_text())
    capsys.readouterr()

    def spoil(name):
        (plain / "grid.json").write_text(json.dumps(grid | {"solver": name}))

    refused(plain, capsys, "sample run --samples 2 --grid grid.json", spoil)


CONFIGURED = {
    "fields": 'fields = ["{}"]',
    "data": 'data = ["{}"]',
    "solvers": 'solvers = ["{}"]',
    "metrics": 'metrics = ["{}"]',
    "features": 'features = ["{}"]\nfields = ["vp"]\ntrain = {{steps = 1}}',
    "budget": 'budget = "{}"',
    "train": 'train = {{network = "{}"}}',
    "options": 'fields = ["vp"]\noptions = {{vp = {{network = "{}"}}}}',
}


@pytest.mark.parametrize("spot", CONFIGURED)
def test_no_name_in_the_configuration_of_a_comparison_is_run(spot, folder, capsys):
    def spoil(name):
        (folder / "c.toml").write_text(CONFIGURED[spot].format(name))

    refused(folder, capsys, "bench c.toml --out b", spoil)
