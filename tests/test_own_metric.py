"""A metric of one's own: five lines, a column with its real-data row and its error."""

import json
import math

import pytest
import torch

from diffode import code as code_of
from diffode import registry
from diffode.cli.app import run
from diffode.data import load
from diffode.metrics import Estimate, Panel, mean, metric
from diffode.metrics.estimates import jackknife
from tests.draws import Quick
from tests.runs import made, refused, written

SPREAD = """
from diffode.metrics import metric

@metric("spread", "one", "standard deviation over that of real data")
def spread(s):
    return s.x.std() / s.reference.std()
"""
COUNT = 400


@pytest.fixture
def own(monkeypatch):
    """A name for a metric, which is gone after the test."""
    for kind in ("metric", "feature"):
        monkeypatch.setitem(registry._TABLES, kind, dict(registry._TABLES[kind]))


def test_a_number_is_a_column_with_an_error_and_a_row_of_real_data(own):
    @metric("mean of x", "low", "the mean of the first coordinate")
    def first(s):
        return s.x[:, 0].mean()

    panel = Panel(load("moons"), COUNT, [], metrics=["mean of x"])
    x = Quick(1).normal("x", (COUNT, 2))
    found = panel.measure(x)["mean of x"]
    assert found.value == pytest.approx(float(x[:, 0].mean()))
    assert found.stderr == pytest.approx(float(x[:, 0].std()) / COUNT**0.5, rel=0.4)  # 20 parts
    real = panel.floor["mean of x"]
    assert real.value == pytest.approx(float(panel.real[:, 0].mean())) and real.stderr > 0
    assert "mean of x" in panel.gaussian and panel.metrics[-1].about.startswith("the mean")


def test_estimates_nones_and_failures_are_taken_as_they_are(own):
    @metric("stated", "low", "with its own error")
    def stated(s):
        return mean(s.x.flatten())

    @metric("of paths", "high", "none without paths")
    def of_paths(s):
        return None if s.path is None else 1.0

    @metric("broken", "low", "raises")
    def broken(s):
        return s.no_such

    panel = Panel(load("moons"), COUNT, [], metrics=["stated", "of paths", "broken"])
    x = Quick(1).normal("x", (COUNT, 2))
    found = panel.measure(x)
    assert found["stated"] == mean(x.flatten()) and "of paths" not in found
    assert isinstance(found["energy"], Estimate) and found["energy"].value > 0
    assert math.isnan(found["broken"].value)
    assert found["broken"].refused == "AttributeError: 'Samples' object has no attribute 'no_such'"


def test_a_metric_in_features_has_a_column_for_each_space(own):
    @metric("gap", "low", "distance of means", in_features=True)
    def gap(s):
        return (s.x.mean(0) - s.reference.mean(0)).norm()

    panel = Panel(load("moons"), COUNT, ["pixels", "pca"], metrics=["gap"])
    names = [m.name for m in panel.metrics]
    spaces = [str(f) for f in panel.features]
    assert names[4:10] == [f"{m}[{s}]" for s in spaces for m in ("Frechet", "KID", "gap")]
    found = panel.measure(panel.reference)
    assert all(found[f"gap[{s}]"].value == 0 for s in spaces)


def test_the_jackknife_of_a_mean_with_a_part_for_each_row_is_its_variance():
    x = Quick(2).normal("x", (30,)).double()
    assert jackknife(lambda k: float(x[k].mean()), 30, 30) == pytest.approx(float(x.var()) / 30)


def test_its_error_is_the_spread_over_fresh_draws(own):
    @metric("ratio", "one", "of standard deviations")
    def ratio(s):
        return s.x.std() / s.reference.std()

    panel = Panel(load("moons"), COUNT, [], metrics=["ratio"])
    columns = {m.name: m for m in panel.metrics}
    from diffode.metrics import Samples

    found = [
        columns["ratio"](Samples(*Quick(k).normal("x", (2, COUNT, 2)).unbind(), panel))
        for k in range(40)
    ]
    spread = float(torch.tensor([e.value for e in found]).std())
    stated = sum(e.stderr for e in found) / 40
    assert 0.7 < stated / spread < 1.5  # 40 draws know a spread to 11 %


def test_a_feature_space_of_ones_own_is_a_function_of_the_data(own, tmp_path, capsys):
    lines = """
from diffode.metrics import Features, feature_space

@feature_space("radius")
def radius(data):
    return Features("radius", "version1", lambda x: x.norm(dim=1, keepdim=True))

def number(data):
    return 1.0
"""
    code = written(tmp_path, lines, "spaces.py")
    trained = made(tmp_path, "--field", "edm", "--data", "moons")
    given = ["eval", str(trained), "--samples", "50", "--nfe", "5", "--features"]
    assert run([*given, f"{code}:radius"]) == 0
    assert "\nFrechet[radius@version1] " in capsys.readouterr().out
    said = refused(capsys, *given, f"{code}:number")
    assert "returned an object of type float; wanted diffode.metrics.Features" in said


def test_names_and_senses_are_checked(own):
    with pytest.raises(ValueError, match="got better='up'; wanted one of low, high, half, one"):
        metric("x", "up", "")
    with pytest.raises(ValueError, match="the metric name 'energy' is taken"):
        metric("energy", "low", "again")(lambda s: 0.0)
    with pytest.raises(ValueError, match="no metric named 'enrgy'; did you mean 'energy'"):
        Panel(load("moons"), COUNT, [], metrics=["enrgy"])
    with pytest.raises(ValueError, match="got two metrics named 'energy'"):
        Panel(load("moons"), COUNT, [], metrics=["energy"])


def test_eval_and_bench_measure_by_a_file(own, tmp_path, capsys, monkeypatch):
    code = written(tmp_path, SPREAD, "mine.py")
    trained = made(tmp_path, "--field", "edm", "--data", "moons")
    name = f"{code}:spread"
    assert run(["eval", str(trained), "--samples", "50", "--metric", name, "--nfe", "5"]) == 0
    assert "\nspread " in capsys.readouterr().out
    (figures,) = (json.loads(f.read_text()) for f in trained.glob("eval/*/eval.json"))
    for row in ("metrics", "floor", "gaussian"):
        assert figures[row]["spread"]["stderr"] > 0
    assert figures["panel"]["own_metrics"]["spread"].startswith("sha256 ")

    out, config = tmp_path / "out", written(tmp_path, f"metrics = ['{name}']")
    given = ["--field", "edm", "--steps", "2", "--set", "width=16", "--solver", "heun",
             "--nfe", "5", "--samples", "50", "--device", "cpu", "--out", str(out)]  # fmt: skip
    assert run(["bench", *given, "--metric", name]) == 0
    for kind in ("html", "md"):
        assert "spread" in (out / f"report.{kind}").read_text()
    assert "spread stderr" in (out / "results.csv").read_text()
    others = {k: e for k, e in registry._TABLES["metric"].items() if not e.origin}
    monkeypatch.setitem(registry._TABLES, "metric", others)  # as in another process
    monkeypatch.setattr(code_of, "_RAN", {})
    assert "is code, which is run only where you say so" in refused(capsys, "bench", config)
    assert run(["bench", str(config), *given, "--trust"]) == 0


def test_a_function_without_the_line_above_it_says_what_is_missing(own, tmp_path, capsys):
    code = written(tmp_path, "def plain(s):\n    return 1.0\n", "bare.py")
    trained = made(tmp_path, "--field", "edm", "--data", "moons")
    said = refused(capsys, "eval", trained, "--samples", "50", "--metric", f"{code}:plain")
    assert "put @diffode.metrics.metric(NAME" in said
