"""``diffode verify``: what was written is told from what has changed, and what cannot be told."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from diffode.cli.app import run
from diffode.data import load
from diffode.runs.plan import Plan
from diffode.runs.results import RESULTS, SUMS, write_sums
from diffode.runs.run import execute
from tests.edm_pickles import write
from tests.exports import PLAIN, stirred
from tests.runs import TINY, edited, refused

STEP = "checkpoints/step-00000002.safetensors"
FORMAT1 = Path(__file__).parent / "fixtures" / "format1" / "edm-moons"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run whose data are a file."""
    folder = tmp_path_factory.mktemp("verify")
    np.save(folder / "points.npy", load("moons").train[:200].numpy())
    given = ["train", "edm", str(folder / "points.npy"), *TINY]
    assert run([*given, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def made(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run"))


def verified(capsys, folder, *more, code=0):
    """The last line, and the others by what they are about."""
    capsys.readouterr()
    assert run(["verify", str(folder), *more]) == code
    *lines, last = capsys.readouterr().out.splitlines()
    found = {line[9:].partition(": ")[0]: (line[:9].strip(), line) for line in lines}
    return last, found


def test_a_whole_run_is_well(whole, capsys):
    last, found = verified(capsys, whole)
    assert last == "all is well"
    assert {word for word, _ in found.values()} == {"ok"}
    names = ["config.json", "history.jsonl", "data", Path(STEP).name, "metrics.jsonl", *RESULTS]
    assert list(found) == [*names, "16 of samples.npz drawn again"]
    assert "they are the same to " in found["16 of samples.npz drawn again"][1]  # not all 20
    assert "versions as now" in found["history.jsonl"][1]


def test_the_sums_are_those_of_sha256sum(whole):
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    subprocess.run(["sha256sum", "-c", "--quiet", SUMS], cwd=whole, check=True)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def nan(folder):
    def alter(header, tensors):
        tensors["ema/mean"] *= torch.nan

    edited(folder / STEP, folder / STEP, alter)


def other_samples(folder):
    """Samples that were not drawn from this run, under a list that fits them."""
    np.savez(folder / "samples.npz", x=np.zeros((20, 2), np.float32), status=np.zeros(20, int))
    write_sums(folder)


DAMAGE = {
    "a checkpoint": (lambda f: flip(f / STEP, -1), Path(STEP).name, "is damaged"),
    "its end": (lambda f: (f / STEP).write_bytes(b"{}"), Path(STEP).name, "is damaged"),
    "weights": (nan, Path(STEP).name, "not finite .*; go on from an older one"),
    "options": (
        lambda f: replaced(f / "config.json", '"lr": 0.002', '"lr": 0.003'),
        Path(STEP).name,
        "it is of another run: lr 0.002, in config.json 0.003",
    ),
    "a field": (
        lambda f: replaced(f / "config.json", '"field": "edm"', '"field": "pfgmpp"'),
        Path(STEP).name,
        "it is of another run: field edm, in config.json pfgmpp",
    ),
    "the plan": (lambda f: (f / "config.json").write_text("{"), "config.json", "put a copy"),
    "a picture": (lambda f: flip(f / "samples.png", 40), "samples.png", "resume .*/run to make"),
    "a page": (lambda f: flip(f / "report.html", 90), "report.html", "has changed since; delete"),
    "gone": (lambda f: (f / "quality.json").unlink(), "quality.json", "delete it and give"),
    "the list": (lambda f: (f / SUMS).write_text("x"), SUMS, "not the list that was written"),
    "samples": (other_samples, "16 of samples.npz drawn again", "0 of 16 are the same"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_has_changed_is_named_with_what_to_do(made, kind, capsys):
    damage, what, said = DAMAGE[kind]
    damage(made)
    last, found = verified(capsys, made, code=1)
    wrong = [name for name, (word, _) in found.items() if word == "wrong"]
    assert wrong == [what] + ["16 of samples.npz drawn again"] * (kind == "weights")
    assert re.search(said, found[what][1])
    assert last == f"{len(wrong)} of {len(found)} lines wrong"


def test_data_that_changed_that_moved_and_that_are_gone(made, whole, tmp_path, capsys):
    here, there = whole.parent / "points.npy", tmp_path / "moved.npy"
    shutil.move(here, there)
    try:
        last, found = verified(capsys, made)
        assert found["data"][0] == "unknown" and "--data" in found["data"][1]
        assert last == "nothing is wrong (1 line cannot tell)"
        _, found = verified(capsys, made, "--data", str(there))
        assert found["data"][0] == "ok"
        x = np.load(there)
        np.save(here, x)
        x[7] += 0.1
        np.save(there, x)
        _, found = verified(capsys, made, "--data", str(there), code=1)
        assert found["data"][0] == "wrong" and "values changed" in found["data"][1]
    finally:
        if not here.exists():
            shutil.move(there, here)


def test_a_run_that_has_not_ended(tmp_path, capsys):
    plan = Plan.make("edm", "moons", steps=9, batch=8, width=8, device="cpu", log_every=1)
    execute(plan, out=tmp_path / "run", watch=lambda state: state.step == 3)
    last, found = verified(capsys, tmp_path / "run")
    assert found[SUMS] == (
        "unknown",
        f"unknown  {SUMS}: is not there: the training has not ended",
    )
    assert last == "nothing is wrong (1 line cannot tell)"


def test_a_run_of_format_1_cannot_tell(capsys):
    last, found = verified(capsys, FORMAT1)
    words = {name: word for name, (word, _) in found.items()}
    assert words.pop("config.json") == "ok" and set(words.values()) == {"unknown", "ok"}
    (step,) = (line for name, (_, line) in found.items() if name.startswith("step-"))
    assert step.startswith("unknown") and "format 1 has no checksum" in step
    assert "cannot tell" in last


def test_samples_of_a_checkpoint_that_is_gone_are_not_drawn(made, capsys):
    replaced(made / "quality.json", "step-00000002", "step-00000001")
    write_sums(made)
    _, found = verified(capsys, made, "--samples", "5")
    assert "whose checkpoint is there no more" in found["5 of samples.npz drawn again"][1]
    replaced(made / "quality.json", "step-00000001", "../../../x")
    write_sums(made)
    _, found = verified(capsys, made)
    assert "does not say how they were drawn" in found["16 of samples.npz drawn again"][1]
    _, found = verified(capsys, made, "--samples", "0")
    assert not any("drawn" in name for name in found)


def test_a_checkpoint_under_another_step_and_a_best_one_that_is_gone(made, capsys):
    def alter(header, tensors):
        header["training"]["held_out"] = 0.5

    edited(made / STEP, made / STEP, alter)
    _, found = verified(capsys, made, "--samples", "0", code=1)
    assert "best.safetensors: is not there" in found["best.safetensors"][1]
    shutil.copy(made / STEP, made / "checkpoints" / "best.safetensors")
    assert verified(capsys, made, "--samples", "0")[0] == "all is well"
    shutil.copy(made / STEP, made / "checkpoints" / "step-00000009.safetensors")
    _, found = verified(capsys, made, "--samples", "0", code=1)
    assert "step 2" in found["step-00000009.safetensors"][1]
    assert "its name has another step" in found["step-00000009.safetensors"][1]


def test_as_many_as_there_are_are_said_to_be_drawn_again(made, capsys):
    n = len(np.load(made / "samples.npz")["x"])
    assert f"{n} of samples.npz drawn again" in verified(capsys, made, "--samples", str(n + 1))[1]


def test_a_history_that_cannot_be_read_is_not_called_absent(made, capsys):
    (made / "history.jsonl").write_text("{")
    _, found = verified(capsys, made, "--samples", "0")
    assert "has no line that can be read" in found["history.jsonl"][1]


@pytest.mark.parametrize(
    ("option", "said"), [("--device=tpu", "got device 'tpu'"), ("--data=rings", "no data set")]
)
def test_an_option_that_is_wrong_is_refused(made, option, said, capsys):
    assert run(["verify", str(made), option]) == 2
    assert said in capsys.readouterr().err


def test_what_stands_in_a_file_is_shown_as_text(made, capsys):
    content = json.loads((made / "config.json").read_text())
    content["data"] = "\x1b[2Jdigits\nok       all"
    (made / "config.json").write_text(json.dumps(content))
    capsys.readouterr()
    run(["verify", str(made)])
    out = capsys.readouterr().out
    assert "\x1b" not in out and "[2Jdigits ok all, 2 steps" in out


# ------------------------------------------------------------------------------- other targets


def test_a_checkpoint_alone(made, tmp_path, capsys):
    _, found = verified(capsys, made / STEP)
    assert found[Path(STEP).name][0] == "ok" and f"give {made}" in found["the rest"][1]
    loose = shutil.copy(made / STEP, tmp_path / "loose.safetensors")
    _, found = verified(capsys, loose)
    assert found["loose.safetensors"][0] == "ok" and "no run is around it" in found["the rest"][1]
    flip(Path(loose), 100)
    assert verified(capsys, loose, code=1)[1]["loose.safetensors"][0] == "wrong"


def test_a_folder_that_train_wrote_without_a_plan(made, capsys):
    for path in made.iterdir():
        if path.is_file():
            path.unlink()
    _, found = verified(capsys, made)
    assert found["config.json"][0] == "unknown" and found[Path(STEP).name][0] == "ok"


def test_a_pipeline_says_what_it_cannot_tell(tmp_path, capsys):
    pytest.importorskip("diffusers")
    path, _ = stirred(tmp_path, "ddpm", **PLAIN)
    assert run(["export", str(path), str(tmp_path / "folder")]) == 0
    _, found = verified(capsys, tmp_path / "folder")
    (name,) = (name for name in found if name.endswith(".safetensors"))
    assert name.startswith("unet/") and found[name][0] == "unknown"
    assert len(found[name][1].partition("SHA-256 ")[2].partition(";")[0]) == 64
    assert found["opens"][0] == "ok" and found["the rest"][0] == "unknown"
    (tmp_path / "folder" / name).write_bytes(b"no")
    assert verified(capsys, tmp_path / "folder", code=1)[1]["opens"][0] == "wrong"


def test_a_pickle_of_edm_is_hashed_and_opened_as_data(tmp_path, capsys):
    path = tmp_path / "net.pkl"
    write(path)
    _, found = verified(capsys, path)
    assert found["net.pkl"][0] == "unknown" and found["opens"][0] == "ok"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "does not exist; give a run directory"),
        ("mine.py:field", "holds no run, no checkpoint and no pipeline"),
        ("hf:owner/name", "holds no run, no checkpoint and no pipeline"),
        (".", "holds no run, no checkpoint and no pipeline"),
    ],
)
def test_what_is_nothing_of_the_kind_is_refused(name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "verify", name)
