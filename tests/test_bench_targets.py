"""TARGETs in a comparison: taken as they are, beside fields that it trains."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffode.bench.config import make_config
from diffode.bench.results import read_results
from diffode.cli.app import run
from tests.pipelines import DDIMScheduler, ddim, saved, unet
from tests.runs import hints, made, refused

MINE = """
from diffode.data import load
from diffode.fields import VP, Empirical

exact = Empirical(load("moons").train[:60], VP(), bandwidth=0.1)
"""
FEW = ["--solver", "default", "--nfe", "4", "--samples", "50", "--device", "cpu"]
NETWORK = ["--steps", "2", "--set", "batch=8", "--set", "width=16", "--set", "depth=1"]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder with a pipeline of 8 x 8 images and bytes to measure it against."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "pipeline", ddim(), unet(in_channels=1, out_channels=1))
    x = np.random.default_rng(0).integers(0, 255, (120, 1, 8, 8), dtype=np.uint8)
    np.savez("images.npz", x=x)
    return tmp_path


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_to_compare.py").write_text(MINE, encoding="utf-8")
    return "mine_to_compare.py:exact"


def bench(*given):
    assert run(["bench", *given, *FEW, "--out", "out"]) == 0
    return read_results("out")


def test_a_pipeline_stands_beside_a_field_that_is_trained(desk, monkeypatch):
    given = ["pipeline", "--data", "images.npz"]
    results = bench(*given, "--field", "edm", *NETWORK)
    cells = {cell["field"]: cell for cell in results.cells}
    assert set(cells) == {"edm", "pipeline"}
    assert all(cell["nfe"] <= 4 and cell["picture"] for cell in cells.values())
    text = Path("out/report.md").read_text(encoding="utf-8")
    assert "taken as it is" in text and "| pipeline | default" in text
    monkeypatch.setattr("diffode.bench.comparison.run_cell", lambda *_: 1 / 0)
    assert run(["bench", "out/config.yaml", "--out", "out"]) == 0, "from what it keeps"


def test_its_samples_are_measured_in_the_units_of_the_data(desk):
    """What `diffode eval` says of the same samples."""
    cell = bench("pipeline", "--data", "images.npz").cells[0]
    asked = ["--data", "images.npz", "--samples", "50", "--nfe", "4", "--device", "cpu"]
    assert run(["eval", "pipeline", *asked, "--out", "measured"]) == 0
    stored = json.loads(Path("measured/eval.json").read_text(encoding="utf-8"))["metrics"]
    for name, (value, _) in cell["metrics"].items():
        assert value == pytest.approx(stored[name]["value"], rel=1e-5)


def test_a_folder_that_has_changed_is_measured_again(desk):
    """Its weights stay, and what its network's answers mean changes: no tensor tells."""
    before = bench("pipeline", "--data", "images.npz").cells[0]
    scheduler = DDIMScheduler(clip_sample=False, prediction_type="v_prediction")
    scheduler.save_pretrained("pipeline/scheduler")
    after = bench("pipeline", "--data", "images.npz").cells[0]
    assert before["model"] != after["model"] and before["metrics"] != after["metrics"]


def test_a_run_brings_its_data_and_code_is_run(mine, capsys):
    made(Path(), "edm", "moons")
    cells = bench("run", mine, "--data", "moons", "--seed", "0", "--seed", "1").cells
    own = bench("run")
    assert {(c["field"], c["seed"]) for c in cells} == {
        (name, seed) for name in ("run", str(Path(mine).resolve())) for seed in (0, 1)
    }
    assert own.cells[0]["metrics"] == next(c for c in cells if c["field"] == "run")["metrics"]


def test_a_configuration_runs_no_code_by_itself(mine):
    place = str(Path(mine).resolve())
    with pytest.raises(ValueError, match="is code, which a configuration alone does not run"):
        make_config(targets=[place], data=["moons"])


def test_a_configuration_of_targets_states_their_data():
    with pytest.raises(ValueError, match="targets without data to measure them by"):
        make_config(targets=["run"])
    assert make_config(targets=["run"], data=["moons"]).fields == []


def test_a_stopped_comparison_of_code_goes_on_by_the_line_that_it_prints(
    mine, monkeypatch, capsys
):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("diffode.bench.comparison.run_cell", stopped)
        assert run(["bench", mine, "--data", "moons", *FEW, "--out", "out"]) == 130
    (line,) = hints(capsys.readouterr().out)
    assert line[-1] == "--trust" and run(line) == 0
    assert len(read_results("out").cells) == 1


def test_what_would_be_done_is_told(desk, capsys):
    given = ["pipeline", "--data", "images.npz", "--nfe", "4", "--solver", "heun", "--dry-run"]
    assert run(["bench", *given]) == 0
    said = capsys.readouterr().out
    assert "0 trainings, 1 cells" in said and "pipeline" in said
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["pipeline"], "is no run, so it has no data of its own; give --data"),
        (["pipeline", "--data", "moons"], "makes samples of shape (1, 8, 8), moons has (2,)"),
        (["nothing", "--data", "moons"], "nothing does not exist; give a run directory"),
        (["a.toml", "b.toml"], "got a.toml and b.toml; give one configuration"),
        (["pipeline", "--data", "images.npz", "--labels"], "has no labels; compare without them"),
        (["pipeline", "pipeline", "--data", "images.npz"], "name each only once"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_done(desk, given, message, capsys):
    assert message in refused(capsys, "bench", *given, *FEW, "--out", "out")
    assert not Path("out").exists()


def test_labels_are_asked_for(desk, capsys):
    saved(Path("classes"), ddim(), unet(in_channels=1, out_channels=1, num_class_embeds=4))
    x = np.random.default_rng(0).integers(0, 255, (120, 1, 8, 8), dtype=np.uint8)
    np.savez("labelled.npz", x=x, y=np.arange(120) % 4)
    line = refused(capsys, "bench", "classes", "--data", "labelled.npz", *FEW, "--out", "out")
    assert "classes draws nothing without a label; give labels = true, or --labels" in line
    cell = bench("classes", "--data", "labelled.npz", "--labels").cells[0]
    assert cell["metrics"] and not cell.get("refused")
    null = ["--labels", "--null-label", "3", "--guidance", "2"]
    line = refused(capsys, "bench", "classes", "--data", "labelled.npz", *null, *FEW)
    assert "classes draws 3 classes, labelled.npz has 4" in line
    np.savez("labelled.npz", x=x, y=np.arange(120) % 3)
    cell = bench("classes", "--data", "labelled.npz", *null).cells[0]
    assert cell["network_calls"] == 4 and cell["nfe"] == 2


def test_a_classifier_guides_what_knows_no_labels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made(tmp_path, "edm", "eight-gaussians").rename("plain")
    made(tmp_path, "classifier", "eight-gaussians").rename("normal")
    given = ["plain", "--labels", "--guidance", "0", "--guidance", "2"]
    line = refused(capsys, "bench", *given, *FEW, "--out", "out")
    assert "got --guidance, but plain was trained without labels" in line
    cells = bench(*given, "--classifier", "normal").cells
    assert [cell["solver"] for cell in cells] == [
        "default, guidance 0 by normal",
        "default, guidance 2 by normal",
    ]
    assert cells[0]["metrics"] != cells[1]["metrics"]
    line = refused(capsys, "bench", "plain", "--classifier", "normal", *FEW)
    assert "got a classifier without guidance, which it is for" in line
    more = ["--labels", "--guidance", "2", "--classifier", "normal", "--data", "moons"]
    line = refused(capsys, "bench", "plain", *more, *FEW, "--out", "other")
    assert "--classifier normal was trained on other data" in line
