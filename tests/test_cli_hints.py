"""Lines that a command prints to go on with: each is taken as printed and run."""

import re

import pytest

from diffode.bench import comparison
from diffode.cli.app import run
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
