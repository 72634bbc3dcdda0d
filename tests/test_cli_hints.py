"""Lines that a command prints to go on with: each is taken as printed and run."""

import os
import re
from signal import SIGINT, SIGTERM

import numpy as np
import pytest

from diffode.bench import comparison
from diffode.cli.app import run
from diffode.cli.progress import Bar
from diffode.cli.signals import Stop
from diffode.training.record import logged
from tests.runs import TINY, figures, hints, refused


def test_a_stopped_comparison_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    out = tmp_path / "a folder"
    sizes = ["--samples", "60", "--solver", "default", "--nfe", "4", "--steps", "2"]
    small = [*sizes, "--set", "width=16", "--set", "depth=1", "--device", "cpu"]
    measure = comparison.run_cell

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "run_cell", stopped)
    assert run(["bench", "--field", "edm", "--data", "moons", *small, "--out", str(out)]) == 130
    (line,) = hints(capsys.readouterr().out)
    monkeypatch.setattr(comparison, "run_cell", measure)
    assert run(line) == 0
    assert len(figures(out / "results.json")["cells"]) == 1


def test_a_stopped_training_goes_on_by_the_line_that_it_prints(tmp_path, monkeypatch, capsys):
    rows = np.random.default_rng(0).normal(size=(120, 2))
    np.save(tmp_path / "own.npy", rows.astype(np.float32))
    out, data = tmp_path / "a folder, 'mine'", str(tmp_path / "own.npy")
    monkeypatch.setattr(Stop, "asked", lambda self: setattr(self, "number", SIGINT) or True)
    given = ["--field", "edm", "--data", data, "--steps", "3", *TINY[:4], *TINY[8:]]
    given += ["--set", "log_every=1"]
    assert run(["train", *given, "--out", str(out)]) == 130
    (line,) = hints(capsys.readouterr().out)
    monkeypatch.undo()
    assert run(line) == 0
    assert [entry["step"] for entry in logged(out)] == [1, 2, 3]
    assert "changed" not in capsys.readouterr().err


def test_a_comparison_that_a_signal_stops_keeps_its_steps(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    sizes = ["--samples", "60", "--solver", "default", "--nfe", "4", "--steps", "6"]
    small = [*sizes, "--set", "width=16", "--set", "depth=1", "--device", "cpu"]

    def signalled(bar, done, note="", total=None):
        if "step 3 of 6" in note:
            os.kill(os.getpid(), SIGTERM)

    monkeypatch.setattr(Bar, "advance", signalled)
    assert run(["bench", "--field", "edm", "--data", "moons", *small, "--out", str(out)]) == 143
    (kept,) = out.glob("models/**/step-*.safetensors")
    assert kept.name == "step-00000003.safetensors"
    monkeypatch.undo()
    assert run(hints(capsys.readouterr().out)[0]) == 0


@pytest.mark.parametrize(
    ("given", "wrong", "right"),
    [
        ("train --field {} --data moons", "edn", "edm"),
        ("train --field edm --data {}", "moon", "moons"),
        ("train --field edm --data moons --set {}=70", "sigma_mxa", "sigma_max"),
    ],
)
def test_the_name_that_a_refusal_suggests_is_taken(given, wrong, right, tmp_path, capsys):
    arguments = [*TINY, "--out", str(tmp_path / "run")]
    message = refused(capsys, *given.format(wrong).split(), *arguments)
    (name,) = re.findall(r"did you mean '([^']+)'\?", message)
    assert name == right
    assert run([*given.format(name).split(), *arguments]) == 0
