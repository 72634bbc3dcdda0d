"""Benchmarks that only print: without results they say what is missing, and what makes it."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.main import get_command

from benchmarks import digits, guidance, guided, inverse
from benchmarks.standing import __main__ as standing
from diffode.cli import comparisons  # noqa: F401  # it registers itself
from diffode.cli.app import app
from tests.runs import hints

BENCH = get_command(app).commands["bench"]


def refused(main, capsys):
    """What is printed, beside the output, by a main function that exits with 2."""
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    assert end.value.code == 2 and "Traceback" not in printed.err
    return printed


@pytest.mark.parametrize("more", [[], ["--short"]])
def test_the_standing_comparison_before_its_runs(more, tmp_path, monkeypatch, capsys):
    runs = tmp_path / "my runs"
    (runs / "digits").mkdir(parents=True)
    (runs / "digits" / "results.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["standing", "--runs", str(runs), *more])
    printed = refused(standing.main, capsys)
    assert printed.out == "" and printed.err.startswith("missing: planar, images;")
    lines = hints(printed.err)
    assert [line[0] for line in lines] == ["bench", "bench"]
    told = [BENCH.make_context("bench", line[1:]).params for line in lines]
    assert [t["out"] for t in told] == [runs / "planar", runs / "images"]
    assert all((standing.CONFIGS / Path(*t["what"]).name).exists() for t in told)


def test_the_table_of_digits_before_its_cells(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["digits", "--table", "--out", str(tmp_path)])
    monkeypatch.setattr(digits, "table", lambda out: "")
    printed = refused(digits.main, capsys)
    assert "are met" not in printed.out
    assert all(name in printed.err for name in digits.FIELDS)


def test_the_table_of_guided_fields(monkeypatch):
    monkeypatch.setattr(guided, "LAWS", ((2, 2, 1),))
    monkeypatch.setattr(guided, "NFE", (5, 20))
    monkeypatch.setattr(guided, "ASKED", ((1.0, None), (4.0, (0.2, 3.0))))
    title, *lines = guided.report([], 16, 0)
    assert title.startswith("Labelled mixtures: 2d/edm, 2d/vp, 2d/rectified")
    plain, inside = (line.split("|")[1:-1] for line in lines if line.startswith("| w"))
    assert (plain[0].strip(), inside[0].strip()) == ("w = 1", "w = 4, rho in (0.2, 3.0)")
    assert len(plain) == len(inside) == 1 + 2 + 2 + len(guided.PEERS)
    assert float(plain[2]) > 1


def test_the_tables_and_the_picture_of_guidance(tmp_path, monkeypatch, capsys):
    few = {name: guidance.NOISES[name] for name in ("normal", "D = 1")}
    monkeypatch.setattr(guidance, "NOISES", few)
    (sampled,) = guidance.tables("sampled", tmp_path, 40, (1.0, 2.0))
    assert len(sampled.rows) == 2 * 2 * 2
    with Image.open(tmp_path / "guidance.png") as picture:
        assert picture.size == (1000, 520)
    asked = ["--only", "rules", "--samples", "60", "--weights", "1", "2"]
    monkeypatch.setattr("sys.argv", ["guidance", "--out", str(tmp_path), *asked])
    guidance.main()
    written = (tmp_path / "rules.md").read_text()
    assert written.strip() in capsys.readouterr().out and "D = 128" in written


def test_at_w_1_the_rules_for_student_t_noise_are_one():
    for row in guidance.rules(60, (1.0, 2.0)).rows:
        same = [cell.startswith("0.0% ") for cell in row[2:]]
        assert all(same) if row[1] == "1" else not all(same)


@pytest.mark.filterwarnings("ignore:the 20 particles")
def test_conditioned_samples_are_scored_beside_exact_ones(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["inverse", "--only", "plane", "--quick"])
    threads = torch.get_num_threads()
    try:
        inverse.main()
    finally:
        torch.set_num_threads(threads)
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    found = {row[0].strip(): [float(cell) for cell in row[1:]] for row in lines[2:]}
    assert len(found) == 10 and all(len(figures) == 3 for figures in found.values())
    assert found["exact field"][0] < 0.8 * found["no observation"][0]
