"""A comparison: what it fixes, what it keeps, how it goes on, and what it refuses."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from diffode.bench.comparison import compare
from diffode.bench.config import make_config
from diffode.bench.results import merge, read_results
from diffode.bench.rows import Mean, at, rows
from diffode.bench.tables import cells_table, markdown
from diffode.cli.app import run
from diffode.config_file import read_config
from diffode.data import load
from tests.runs import SMALL, refused, written

VARYING = ("seconds", "peak_memory", "threads")  # what another run of the same may differ in


def stable(results):
    """Everything in results.json but what depends on the machine's mood."""

    def strip(value):
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in VARYING}
        return [strip(v) for v in value] if isinstance(value, list) else value

    return strip(json.loads((results / "results.json").read_text()))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A whole comparison by the command line."""
    folder = tmp_path_factory.mktemp("bench")
    assert run(["bench", str(written(folder)), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_it_fixes_evaluations_and_not_steps(done):
    for cell in read_results(done).cells:
        if cell["allowed"] is not None:
            assert cell["nfe"] <= cell["allowed"]
            assert cell["nfe"] >= cell["allowed"] - 2  # the pairs of Heun, the denoising


def test_fields_share_the_network_the_budget_and_the_order(done):
    models = read_results(done).models.values()
    assert {(m["plan"]["training"]["steps"], m["samples"]) for m in models} == {(30, 960)}
    own = {
        f: {m["parameters"] for m in models if m["plan"]["field"] == f}
        for f in ("edm", "rectified")
    }
    assert own["edm"] == own["rectified"] and len(own["edm"]) == 1


def test_a_second_call_computes_nothing(done, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("computed again")

    for name in ("run_cell", "thumbnail"):
        monkeypatch.setattr(f"diffode.bench.comparison.{name}", fail)
    before = stable(done)
    config = make_config(**read_config(done / "config.yaml"))
    results = compare(config, done)
    assert len(results.cells) == 3 * 2 * (2 * 2 + 2)
    assert stable(done) == before


def test_an_adaptive_solver_stands_where_its_tightest_tolerance_fits(done):
    table = rows(read_results(done))
    mine = [r for r in table if (r.field, r.solver) == ("edm", "dopri5")]
    assert sorted(r.tolerance for r in mine) == [0.05, 0.3]
    loose, tight = sorted(mine, key=lambda r: r.nfe)
    assert at(table, "moons", "edm", "dopri5", int(tight.nfe) + 1) == tight
    assert at(table, "moons", "edm", "dopri5", int(loose.nfe) - 1) is None


def test_intervals_cover_the_mean_of_the_seeds_as_often_as_they_say():
    generator = random.Random(0)
    hits = 0
    for _ in range(2000):
        values = [generator.gauss(3.0, 0.5) for _ in range(3)]
        mean = Mean.of(values, [0.0] * 3)
        hits += abs(mean.value - 3.0) <= mean.half
    assert abs(hits / 2000 - 0.95) < 0.015


def test_seeds_that_agree_by_chance_keep_the_error_of_the_metric():
    assert Mean.of([1.0, 1.0, 1.0], [0.3, 0.3, 0.3]).half == pytest.approx(1.96 * 0.3 / 3**0.5)
    assert Mean.of([1.0, 1.0], [math.nan, 0.1]).half == 0.0


def test_the_report_holds_the_figures_and_what_remakes_it(done):
    page = (done / "report.html").read_text()
    text = (done / "report.md").read_text()
    table = (done / "results.csv").read_text().splitlines()
    results = read_results(done)
    assert len(table) == 1 + len(results.cells)
    assert table[0].startswith("data,field,seed,solver,allowed,tolerance,nfe")
    assert cells_table(results).csv().splitlines() == table
    assert markdown(results) in text
    for part in ("diffode bench config.yaml", "save_every: 10", "alpha", "Student"):
        assert part in page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_merging_takes_other_fields(done, tmp_path, capsys):
    text = SMALL.replace('"edm", "rectified", "poisson"', '"vp"').replace('"heun", ', "")
    other = written(tmp_path, text)
    assert run(["bench", str(other), "--out", str(tmp_path / "vp")]) == 0
    both = merge([read_results(done), read_results(tmp_path / "vp")])
    assert {r.field for r in rows(both)} == {"edm", "rectified", "poisson", "vp"}
    assert (
        run(
            [
                "bench",
                "--merge",
                str(done),
                "--merge",
                str(tmp_path / "vp"),
                "--out",
                str(tmp_path / "all"),
            ]
        )
        == 0
    )
    merged = (tmp_path / "all" / "report.md").read_text()
    assert "vp" in merged and "diffode bench --merge OUT-1 --merge OUT-2 --out OUT" in merged
    again = read_results(tmp_path / "all")
    assert all(again.picture(c["picture"]) for c in again.cells if c["picture"])
    one = make_config(**read_config(tmp_path / "all" / "config-2.yaml"))
    assert one == make_config(**read_config(tmp_path / "vp" / "config.yaml"))
    said = refused(capsys, "bench", "--merge", done, "--merge", done, "--out", tmp_path / "x")
    assert "leave one out" in said


@pytest.mark.parametrize(
    ("field", "change", "why"),
    [
        ("edm", ("steps = 30", "steps = 31"), "on moons edm was trained with"),
        ("vp", ("width = 16", "width = 8"), "trained with width 16"),
        ("subvp", ("samples = 100", "samples = 60"), "cannot merge: moons was measured with"),
    ],
)
def test_what_was_made_in_another_way_is_not_merged(done, tmp_path, capsys, field, change, why):
    text = SMALL.replace('"edm", "rectified", "poisson"', f'"{field}"').replace(*change)
    text = text.replace("[0, 1]", "[2]").replace('["default", "heun", "dopri5"]', '["heun"]')
    other = tmp_path / "other"
    assert run(["bench", str(written(tmp_path, text)), "--out", str(other)]) == 0
    said = refused(capsys, "bench", "--merge", done, "--merge", other, "--out", tmp_path / "x")
    assert why in said and not (tmp_path / "x").exists()
    assert {"edm": "train all in one way", "vp": "vp with 8", "subvp": ""}[field] in said


def test_a_damaged_cell_is_named(done, tmp_path, capsys):
    shutil.copytree(done, tmp_path / "out")
    cell = min((tmp_path / "out" / "cells" / "moons").glob("*.json"))
    cell.write_text("{")
    capsys.readouterr()
    out = str(tmp_path / "out")
    assert run(["bench", f"{out}/config.yaml", "--out", out]) == 2
    assert f"{cell} is damaged; delete it" in capsys.readouterr().err.splitlines()[-1]


def test_a_budget_that_cannot_be_made_says_why(tmp_path):
    text = SMALL.replace("seeds = [0, 1]", 'seeds = [0]\nbudget = "heun@1"\nsolvers = ["heun"]')
    text = text.replace('solvers = ["default", "heun", "dopri5"]', "")
    text = text.replace(', "rectified", "poisson"', "")
    assert run(["bench", str(written(tmp_path, text)), "--out", str(tmp_path / "out")]) == 0
    for name in ("report.md", "report.html"):
        assert "No error budget: edm:" in (tmp_path / "out" / name).read_text()


def test_a_refused_cell_says_why(tmp_path):
    text = SMALL.replace('["default", "heun", "dopri5"]', '["sde-dpm++"]').replace("[0, 1]", "[0]")
    assert run(["bench", str(written(tmp_path, text)), "--out", str(tmp_path / "out")]) == 0
    results = read_results(tmp_path / "out")
    why = {c["field"]: c.get("refused") for c in results.cells}
    assert why["edm"] is None and "normal noise" in why["poisson"]
    assert "normal noise" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_a_killed_comparison_ends_as_an_undisturbed_one(done, tmp_path):
    config = written(tmp_path)
    out = tmp_path / "out"
    start = [sys.executable, "-c", "import sys; from diffode.cli import main; main()"]
    order = [*start, "bench", str(config), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    chance = random.Random(5)
    kills = 0
    for _ in range(3):
        process = subprocess.Popen(order, env=environment, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        while not (out / "models").exists() and process.poll() is None:
            time.sleep(0.05)  # the start of Python is no part of it
        time.sleep(chance.uniform(0.1, 3.0))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert time.monotonic() - began < 500, "it hangs"
    assert kills
    subprocess.run(order, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert stable(out) == stable(done)


def test_a_training_that_diverges_leaves_the_others(tmp_path):
    text = SMALL.replace('"edm", "rectified", "poisson"', '"edm", "vp"').replace("[0, 1]", "[0]")
    text += "[options.edm]\nlr = 1e30\n"
    assert run(["bench", str(written(tmp_path, text)), "--out", str(tmp_path / "out")]) == 0
    results = read_results(tmp_path / "out")
    table = rows(results)
    assert all(("not finite" in (r.refused or "")) == (r.field == "edm") for r in table), table
    for name in ("report.md", "report.html"):
        assert "not possible: edm" in (tmp_path / "out" / name).read_text()


def test_what_was_trained_in_another_way_says_so(tmp_path):
    text = SMALL.replace('"edm", "rectified", "poisson"', '"edm", "vp"').replace("[0, 1]", "[0]")
    text += "[options.edm]\nsteps = 9\n"
    assert run(["bench", str(written(tmp_path, text)), "--out", str(tmp_path / "out")]) == 0
    models = read_results(tmp_path / "out").models.values()
    assert {m["plan"]["field"]: m["budget"] for m in models} == {"edm": "its own", "vp": "shared"}


def test_one_set_by_two_paths_is_one_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", load("moons").train[:400].numpy())
    text = SMALL.replace('"edm", "rectified", "poisson"', '"edm"').replace("[0, 1]", "[0]")
    for path in ("./x.npy", "x.npy"):
        config = written(tmp_path, text.replace("moons", path))
        assert run(["bench", str(config), "--out", "out"]) == 0
        assert {r.data for r in rows(read_results("out"))} == {path}
