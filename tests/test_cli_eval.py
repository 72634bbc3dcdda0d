"""``diffode eval``: its table, its files, and samples that no stop and no sharing changes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffode.cli.app import run
from diffode.data import load
from diffode.runs import loading, shards
from diffode.sampling.drawing import sample
from tests.runs import arrays, beside, figures, made, refused

FAST = ["--nfe", "3", "--device", "cpu", "--samples", "60"]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(shards, "PART", 20)


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return made(tmp_path_factory.mktemp("ring"), "--field", "edm", "--data", "eight-gaussians")


def evaluate(folder, out, *given):
    fast = beside(given, FAST)
    assert run(["eval", str(folder), *fast, "--out", str(out), *given]) == 0
    return arrays(out / "samples.npz"), figures(out / "eval.json")


def parts(folder):
    return sorted((folder / "eval").glob("parts/*/*.npz"))


def forget(folder):
    for path in parts(folder):
        path.unlink()


def same(a, b):
    (x, figures_a), (y, figures_b) = a, b
    assert x.keys() == y.keys()
    assert all((x[k] == y[k]).all() for k in x)
    assert figures_a["metrics"] == figures_b["metrics"]
    assert figures_a["floor"] == figures_b["floor"]


def test_table_and_files_say_what_was_measured_against_what(ring, tmp_path, capsys):
    x, found = evaluate(ring, tmp_path)
    printed = capsys.readouterr().out
    assert x["x"].shape == (60, 2)
    assert found["nfe"] == 3 and found["panel"]["count"] == 60
    assert {"W2", "sliced W2", "copying", "modes", "straightness"} <= found["metrics"].keys()
    assert found["metrics"]["straightness"]["stderr"] > 0
    assert found["floor"].keys() == (found["metrics"].keys() | {"accuracy"}) - {"straightness"}
    page = (tmp_path / "eval.md").read_text(encoding="utf-8")
    for text in (printed, page):
        assert found["panel"]["reference_hash"] in text and "60 samples with trig" in text
        assert all(name in text for name in found["metrics"])
        assert "Frechet[pixels@" in text and "60 points of the test split" in text


def test_train_and_eval_have_one_panel_and_one_floor(ring, tmp_path):
    """The same samples too, of 35 evaluations: the whole table is the same."""
    quality = figures(ring / "quality.json")
    given = ["--n", "20", "--device", "cpu", "--out", str(tmp_path)]
    assert run(["eval", str(ring), *given]) == 0
    found = figures(tmp_path / "eval.json")
    assert quality["headline"] == found["headline"] == "W2"
    for part in ("floor", "gaussian", "panel"):
        assert quality[part] == found[part]
    for name, e in quality["metrics"].items():
        assert found["metrics"][name]["value"] == pytest.approx(e["value"], rel=1e-3, abs=1e-3)


def test_samples_are_those_of_the_sample_command(ring, tmp_path):
    x, _ = evaluate(ring, tmp_path, "--seed", "5")
    out = tmp_path / "x.npz"
    same_seed = ["--n", "60", "--nfe", "3", "--seed", "5", "--device", "cpu", "--out", str(out)]
    assert run(["sample", str(ring), *same_seed]) == 0
    assert abs(arrays(out)["x"] - x["x"]).max() < 1e-5


def test_a_stopped_evaluation_goes_on_and_ends_the_same(ring, tmp_path, monkeypatch):
    forget(ring)
    undisturbed = evaluate(ring, tmp_path / "a")
    forget(ring)
    drawn = []

    def stopped(*arguments, **options):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(options["first"])
        return sample(*arguments, **options)

    monkeypatch.setattr(shards, "sample", stopped)
    assert run(["eval", str(ring), *FAST, "--out", str(tmp_path / "b")]) == 130
    assert len(parts(ring)) == 2 and not (tmp_path / "b" / "eval.json").exists()
    drawn.clear()
    resumed = evaluate(ring, tmp_path / "b")
    assert drawn == [40]
    same(resumed, undisturbed)


def test_more_samples_go_on_with_those_that_are_there(ring, tmp_path):
    few, _ = evaluate(ring, tmp_path, "--seed", "6", "--samples", "40")
    before = {p: p.stat().st_mtime_ns for p in parts(ring)}
    more, _ = evaluate(ring, tmp_path, "--seed", "6", "--samples", "60")
    assert (more["x"][:40] == few["x"]).all()
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())


@pytest.mark.parametrize("change", [("--samples", "40"), ("--features", "pca"), ("--likelihood",)])
def test_evaluations_that_differ_lie_side_by_side(change, ring, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("diffode.cli.evaluating.POINTS", 3)
    home = shutil.copytree(ring, tmp_path / "run")
    shutil.rmtree(home / "eval", ignore_errors=True)
    for given in ((), change, ()):
        assert run(["eval", str(home), *beside(given, FAST), *given]) == 0
    results = sorted((home / "eval").glob("*/eval.json"))
    assert len(results) == 2
    assert len({figures(path)["panel"]["count"] for path in results}) == 1 + (
        "--samples" in change
    )
    assert len(parts(home)) == 3, "their samples are the same, and drawn once"


def test_labels_of_another_number_of_samples_have_parts_of_their_own(poisson, tmp_path):
    """The first 40 of 60 labels are not those of 40 samples."""
    home = shutil.copytree(poisson, tmp_path / "run")
    shutil.rmtree(home / "eval", ignore_errors=True)
    evaluate(home, tmp_path / "more")
    few, _ = evaluate(home, tmp_path / "few", "--samples", "40")
    assert few["y"].tolist() == load("digits").labels(40).tolist()


@pytest.mark.parametrize("change", [("--seed", "1"), ("--nfe", "4"), ("--solver", "heun")])
def test_other_settings_have_parts_of_their_own(ring, tmp_path, change):
    x, _ = evaluate(ring, tmp_path / "a")
    y, _ = evaluate(ring, tmp_path / "b", *change)
    assert (x["x"] != y["x"]).any()


def test_processes_share_the_parts_and_the_first_gathers_them(ring, tmp_path, monkeypatch, capsys):
    forget(ring)
    alone = evaluate(ring, tmp_path / "a")
    forget(ring)
    capsys.readouterr()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert run(["eval", str(ring), *FAST, "--out", str(tmp_path / "b")]) == 0
    assert [p.name for p in parts(ring)] == ["00000020-00000040.npz"]
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    same(evaluate(ring, tmp_path / "b"), alone)


@pytest.mark.slow
def test_two_processes_of_torchrun_give_what_one_gives(poisson, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "PART", 250)
    given = ["eval", str(poisson), "--nfe", "3", "--device", "cpu", "--samples", "600"]
    code = "import sys; from diffode.cli import main; main()"
    script = tmp_path / "main.py"
    script.write_text(code, encoding="utf-8")
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    for count in ("1", "2"):
        forget(poisson)
        out = ["--out", str(tmp_path / count)]
        done = subprocess.run(
            [*launch, count, str(script), *given, *out], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote") == 3
    one, two = (
        (arrays(tmp_path / c / "samples.npz"), figures(tmp_path / c / "eval.json")) for c in "12"
    )
    same(one, two)


def test_labels_and_radii_of_a_labelled_poisson_flow_are_kept(poisson, tmp_path):
    x, found = evaluate(poisson, tmp_path)
    assert x["x"].shape == (60, 1, 8, 8) and x["q"].shape == x["y"].shape == (60,)
    assert found["labels"] and found["floor"]["accuracy"]["value"] > 0.97
    assert "accuracy" in found["metrics"] and "class TV" in found["metrics"]
    assert any(name.startswith("Frechet[digits-cnn@") for name in found["metrics"])


def test_likelihood_is_measured_when_asked_for(ring, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("diffode.cli.evaluating.POINTS", 3)
    _, found = evaluate(ring, tmp_path, "--likelihood")
    card = found["likelihood"]
    assert card["points"] == 3 and card["levels"] is None
    assert f"{card['nats']:.4f}" in capsys.readouterr().out
    assert "bits/dim" in (tmp_path / "eval.md").read_text(encoding="utf-8")


def test_samples_that_are_not_finite_are_refused_in_one_line(ring, tmp_path, monkeypatch, capsys):
    def broken(*arguments, **options):
        drawn = sample(*arguments, **options)
        drawn.x[0] = torch.nan
        return drawn

    monkeypatch.setattr(shards, "sample", broken)
    assert run(["eval", str(ring), *FAST, "--seed", "9", "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1].startswith("error: 3 of 60 samples are not finite")
    assert not (tmp_path / "eval.json").exists()


def test_what_cannot_be_evaluated_is_refused_in_one_line(ring, tmp_path, capsys):
    assert "has no checkpoint" in refused(capsys, "eval", tmp_path)
    assert "no feature space named 'vgg'" in refused(capsys, "eval", ring, "--features", "vgg")
    assert "got 5 samples to measure" in refused(capsys, "eval", ring, "--n", "5")
    assert "no classifier of eight-gaussians" in refused(
        capsys, "eval", ring, "--features", "classifier"
    )


def test_a_part_of_a_set_is_drawn_by_its_numbers(ring):
    field = loading.load(ring).field
    whole = sample(field, 10, nfe=3, seed=2).x
    assert torch.allclose(sample(field, 4, nfe=3, seed=2, first=5).x, whole[5:9], atol=1e-6)
    with pytest.raises(ValueError, match="got first=-1, n=4; samples count from 0"):
        sample(field, 4, first=-1)
    with pytest.raises(ValueError, match=r"got first=4294967293, n=4; samples count from 0"):
        sample(field, 4, first=2**32 - 3)
    assert sample(field, 4, nfe=3, first=2**32 - 4).x.isfinite().all()


@pytest.mark.parametrize("content", [b"", b"PK cut short", b"text"])
def test_a_damaged_part_is_named(ring, tmp_path, capsys, content):
    forget(ring)
    evaluate(ring, tmp_path)
    parts(ring)[1].write_bytes(content)
    capsys.readouterr()
    assert run(["eval", str(ring), *FAST, "--out", str(tmp_path)]) == 2
    forget(ring)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and "is damaged; delete it and run the same" in said


def test_a_checkpoint_is_taken_for_its_run(ring, tmp_path):
    latest = max((ring / "checkpoints").glob("*.safetensors"))
    forget(ring)
    same(evaluate(latest, tmp_path / "a"), evaluate(ring, tmp_path / "b"))


def test_data_of_another_shape_are_refused_before_drawing(ring, tmp_path, capsys):
    other = tmp_path / "run"
    shutil.copytree(ring, other)
    config = other / "config.json"
    config.write_text(config.read_text().replace('"eight-gaussians"', '"digits"'))
    shutil.rmtree(other / "eval", ignore_errors=True)
    message = refused(capsys, "eval", other, *FAST)
    assert "not the data that this run was trained on: its shape changed" in message
    assert not (other / "eval").exists()
