"""The command line at work: what a run leaves, sampling it, stopping it and going on."""

import base64
import html
import json
import math
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from diffode.cli.app import run
from diffode.training import checkpoint

TINY = ["--device", "cpu", "--batch", "16", "--set", "width=16", "--set", "depth=1"]
TINY += ["--samples", "20"]
STEPS = 7


def png_size(data):
    """Width and height of a PNG."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[-8:-4] == b"IEND"
    return struct.unpack(">II", data[16:24])


def samples(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def figures(path):
    return json.loads(path.read_text(encoding="utf-8"))


def steps_of(path):
    return [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def poisson(tmp_path_factory):
    """A Poisson flow of the digits, trained with their labels."""
    out = tmp_path_factory.mktemp("poisson") / "run"
    given = ["--field", "pfgm", "--labels", "--steps", str(STEPS), "--set", "log_every=1"]
    assert run(["train", *given, *TINY, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def ddim(tmp_path_factory):
    out = tmp_path_factory.mktemp("ddim") / "run"
    assert run(["train", "--field", "ddim", "--steps", "2", *TINY, "--out", str(out)]) == 0
    return out


# ----------------------------------------------------------------------------------- what is left


def test_a_run_leaves_its_files(poisson):
    names = sorted(p.name for p in poisson.iterdir() if not p.name.startswith("."))
    kinds = [
        "SHA256SUMS",
        "checkpoints",
        "config.json",
        "history.jsonl",
        "metrics.jsonl",
        "quality.json",
    ]
    assert names == [*kinds, "report.html", "samples.npz", "samples.png"]
    checkpoints = [p.name for p in (poisson / "checkpoints").iterdir()]
    assert checkpoints == [f"step-{STEPS:08d}.safetensors"]
    width, height = png_size((poisson / "samples.png").read_bytes())
    assert min(width, height) > 8 * 4


def test_a_runs_samples_are_arrays_with_x_first(poisson):
    arrays = samples(poisson / "samples.npz")
    assert list(arrays) == ["x", "y", "q", "status"]
    assert arrays["x"].shape == (20, 1, 8, 8) and arrays["q"].shape == (20,)
    assert np.isfinite(arrays["x"]).all() and (arrays["q"] > 0).all()


def test_samples_without_an_augmented_radius_are_x_alone(ddim):
    assert list(samples(ddim / "samples.npz")) == ["x", "status"]


def test_a_run_states_its_quality_beside_two_references(poisson):
    quality = figures(poisson / "quality.json")
    assert (quality["solver"], quality["nfe"], quality["panel"]["count"]) == ("trig", 35, 20)
    assert quality["headline"].startswith("Frechet[digits-cnn@")
    columns = [quality[column] for column in ("metrics", "floor", "gaussian")]
    assert all(math.isfinite(e["value"]) for found in columns for e in found.values())
    assert quality["metrics"].keys() == quality["floor"].keys() > quality["gaussian"].keys()
    real, drawn = (found[quality["headline"]]["value"] for found in (columns[1], columns[0]))
    assert real < drawn


def test_a_run_states_all_its_settings(poisson):
    config = figures(poisson / "config.json")
    assert (config["field"], config["data"], config["labels"]) == ("poisson", "digits", True)
    assert config["options"]["width"] == 16 and config["options"]["sigma_max"] == 80.0
    assert config["training"]["steps"] == STEPS and config["training"]["lr"] == 2e-3
    assert set(config["versions"]) == {"diffode", "torch", "python"}
    network = {"kind": "MLP", "width": 16, "depth": 1, "parameters": 6577}
    assert config["resolved"] == {"device": "cpu", "network": network}


def test_a_run_logs_its_losses(poisson):
    lines = (poisson / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert all(0 < row["loss"]["field"] < 100 and row["lr"]["field"] > 0 for row in rows)
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_the_report_needs_nothing_else(poisson):
    page = (poisson / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "@import" not in page and "url(" not in page
    sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page)
    pictures = [s.removeprefix("data:image/png;base64,") for s in sources]
    assert len(pictures) == 3 and all(s.startswith("data:image/png;base64,") for s in sources)
    assert all(min(png_size(base64.b64decode(p))) > 8 for p in pictures)
    points = re.search(r'<polyline points="([^"]+)"', page).group(1).split()
    assert len(points) == STEPS
    quality = figures(poisson / "quality.json")
    first_cells = re.findall(r'<tr><td class="text">(.*?)<', page)
    assert set(quality["metrics"]) <= set(first_cells)
    assert first_cells[0] == quality["headline"]
    assert quality["panel"]["reference_hash"] in page and "few points" in page


def test_the_lines_of_code_in_the_report_work(poisson, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (poisson / "report.html").read_text(encoding="utf-8")
    code = html.unescape(re.search(r"<h2>Use it</h2>\s*<pre>(.*?)</pre>", page, re.S).group(1))
    command, _, program = code.partition("\n")
    program_name, *arguments = shlex.split(command)
    assert program_name == "diffode" and run(arguments) == 0
    assert png_size((tmp_path / "more.png").read_bytes())
    names = {}
    exec(program, names)
    assert names["x"].shape == (64, 1, 8, 8)


# ----------------------------------------------------------------------------------------- sample


def drawn(folder, out, *arguments):
    assert run(["sample", str(folder), "--out", str(out), *arguments]) == 0
    return samples(out)


def test_sampling_with_the_runs_seed_gives_the_runs_samples(ddim, poisson, tmp_path):
    """The labelled run's samples were drawn with labels, so there the latents must agree."""
    given = ["--n", "20", "--seed", "0"]
    again, first = drawn(ddim, tmp_path / "a.npz", *given), samples(ddim / "samples.npz")
    np.testing.assert_allclose(again["x"], first["x"], rtol=1e-4, atol=1e-5)
    again, first = drawn(poisson, tmp_path / "b.npz", *given), samples(poisson / "samples.npz")
    np.testing.assert_array_equal(again["q"], first["q"])


def test_sample_options_matter(poisson, tmp_path):
    few = ["--n", "3", "--steps", "2"]
    variants = {
        "seed 1": [*few, "--seed", "1"],
        "seed 2": [*few, "--seed", "2"],
        "raw": [*few, "--seed", "1", "--weights", "raw"],
        "label 3": [*few, "--seed", "1", "--label", "3"],
        "label 4": [*few, "--seed", "1", "--label", "4"],
        "euler": [*few, "--seed", "1", "--solver", "euler"],
        "native": [*few, "--seed", "1", "--grid", "native"],
        "rtol": ["--n", "3", "--solver", "bosh3", "--set", "rtol=0.1", "--set", "atol=0.1"],
    }
    x = {k: drawn(poisson, tmp_path / "x.npz", *v)["x"] for k, v in variants.items()}
    assert all(v.shape == (3, 1, 8, 8) for v in x.values())
    equal = [(a, b) for a in x for b in x if a < b and np.array_equal(x[a], x[b])]
    assert not equal


def test_sample_to_a_picture(poisson, tmp_path, capsys):
    out = tmp_path / "new" / "nine.png"
    assert run(["sample", str(poisson), "--n", "9", "--nfe", "6", "--out", str(out)]) == 0
    width, height = png_size(out.read_bytes())
    assert width >= 800 and height > width  # three rows of three under a title
    printed = capsys.readouterr()
    assert printed.out == f"wrote {out} (9 samples, 6 evaluations each)\n"
    assert "9/9" in printed.err, "no progress"


def test_a_checkpoint_file_can_be_sampled(poisson, tmp_path):
    file = next((poisson / "checkpoints").iterdir())
    one, two = (drawn(f, tmp_path / "x.npz", "--n", "2", "--nfe", "3") for f in (file, poisson))
    np.testing.assert_array_equal(one["x"], two["x"])


def test_ddim_trains_ddpm_and_samples_with_ddim(ddim, tmp_path, capsys):
    config = figures(ddim / "config.json")
    assert (config["field"], config["solver"]) == ("ddpm", "ddim")
    assert figures(ddim / "quality.json")["solver"] == "ddim(eta=0)"
    default, same, other = (
        drawn(ddim, tmp_path / "x.npz", "--n", "2", "--nfe", "5", *solver)["x"]
        for solver in ([], ["--solver", "ddim"], ["--solver", "heun"])
    )
    np.testing.assert_array_equal(default, same)
    assert not np.array_equal(default, other)
    capsys.readouterr()
    again = shutil.copytree(ddim, tmp_path / "again")
    assert run(["train", "--resume", str(again), "--steps", "3", *TINY[-2:]]) == 0
    assert capsys.readouterr().out.startswith("ddpm is sampled with ddim\n")


def test_training_on_ones_own_images(tmp_path):
    """Gray images of odd, unequal sides, from a file with labels."""
    pixels = np.random.default_rng(0).normal(size=(120, 5, 7))
    np.savez(tmp_path / "own.npz", x=pixels, y=np.arange(120) % 3)
    own, out = str(tmp_path / "own.npz"), tmp_path / "run"
    given = ["--field", "flow", "--labels", "--data", own, "--layout", "images", "--steps", "2"]
    assert run(["train", *given, *TINY, "--out", str(out)]) == 0
    x = drawn(out, tmp_path / "x.npz", "--n", "2", "--steps", "2", "--label", "2")["x"]
    assert x.shape == (2, 1, 5, 7)


# ------------------------------------------------------------------------------- stop and go on


@pytest.mark.skipif(sys.platform == "win32", reason="sends an interrupt as POSIX does")
def test_a_finished_run_can_be_measured_again(ddim, tmp_path, capsys):
    """As after an interrupt while sampling: no step is taken, the pictures are made."""
    folder = tmp_path / "run"
    shutil.copytree(ddim, folder)
    before = (folder / "metrics.jsonl").read_bytes()
    for name in ("samples.png", "report.html", "quality.json"):
        (folder / name).unlink()
    assert run(["train", "--resume", str(folder), "--samples", "20"]) == 0
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert figures(folder / "quality.json") == figures(ddim / "quality.json")
    assert (folder / "report.html").exists() and (folder / "samples.png").exists()
    assert "already at step 2 of 2" in capsys.readouterr().out


def test_processes_must_be_told_where_to_write(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(["train", "--field", "edm", *TINY]) == 2
    assert "give --out" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupt_leaves_a_run_that_can_go_on(tmp_path):
    total, out, metrics = 1500, tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    script = shutil.which("diffode", path=Path(sys.executable).parent)
    given = ["--field", "edm", "--steps", str(total), "--set", "log_every=1", *TINY]
    process = subprocess.Popen(
        [script, "train", *given, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (
        metrics.exists() and metrics.read_bytes().count(b"\n") > 2
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 130, stderr
    assert "stopping after this step" in stderr and "Traceback" not in stderr
    assert re.search(r"train edm on digits .*\d+/1,?500 loss \d.* steps/s", stderr), "no progress"
    message, command = stdout.splitlines()
    stopped = int(re.fullmatch(r"stopped at step (\d+); go on with", message).group(1))
    assert 3 <= stopped < total
    assert int(checkpoint.file_at(out).stem.removeprefix("step-")) == stopped
    assert steps_of(metrics) == list(range(1, stopped + 1))
    assert not (out / "samples.npz").exists()

    program, *arguments = shlex.split(command)
    assert program == "diffode"
    assert run([*arguments, *TINY[-2:]]) == 0
    assert steps_of(metrics) == list(range(1, total + 1))
    assert checkpoint.read(checkpoint.file_at(out))[0]["step"] == total
    assert samples(out / "samples.npz")["x"].shape == (20, 1, 8, 8)
