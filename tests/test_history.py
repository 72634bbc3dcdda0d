"""What a run says of how it was made: versions, device, command, commit, and no private name."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from diffode.cli.app import run
from diffode.data import load
from diffode.files import from_home, to_home
from diffode.runs import history
from diffode.runs.plan import Plan
from diffode.runs.run import execute

TINY = {"batch": 8, "width": 8, "depth": 1, "device": "cpu"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory with data in it."""
    folder = tmp_path / "anna"
    folder.mkdir()
    np.save(folder / "points.npy", load("moons").train[:100].numpy())
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


def test_no_line_names_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "annas-laptop")
    monkeypatch.setattr(socket, "gethostname", platform.node)
    history.write(tmp_path, 0, "cpu", False)
    assert "laptop" not in (tmp_path / history.HISTORY).read_text()


def test_a_line_for_each_time_that_a_training_goes_on(tmp_path):
    out = tmp_path / "run"
    plan = Plan.make("edm", "moons", steps=4, **TINY)
    execute(plan, out=out, watch=lambda state: state.step == 2)
    assert [line["step"] for line in history.read(out)] == [0]
    execute(plan, out=out, resume=True)
    execute(plan, out=out, resume=True)  # nothing is left to train
    first, second = history.read(out)
    assert (first["step"], second["step"]) == (0, 2)
    assert set(first) == {*history.KEYS, "system", "deterministic"}
    assert first["device"].startswith("CPU") and first["processes"] == 1
    assert first["versions"]["torch"] == torch.__version__
    assert set(first["versions"]) == {"diffode", "torch", "python", "numpy", "safetensors"}


def test_a_run_that_fails_at_once_leaves_no_history(tmp_path, monkeypatch):
    def forward(self, phase, batch, rng):
        return next(self.parameters()).sum() * float("nan"), {}

    monkeypatch.setattr("diffode.training.denoising.Denoising.forward", forward)
    plan = Plan.make("edm", "moons", steps=4, **TINY)
    with pytest.raises(ValueError, match="not finite"):
        execute(plan, out=tmp_path / "run")
    assert not [p for p in (tmp_path / "run").glob("*.json*") if p.name != "metrics.jsonl"]


def test_cut_and_damaged_lines_are_passed_over(tmp_path):
    history.write(tmp_path, 0, "cpu", False)
    path = tmp_path / history.HISTORY
    whole = path.read_bytes()
    path.write_bytes(whole + b"\xff{}\n[1]\n" + b"[" * 5000 + b"\n" + whole[:40])
    history.write(tmp_path, 7, "cpu", False)
    assert [line["step"] for line in history.read(tmp_path)] == [0, 7]


# ------------------------------------------------------------------------------ what is shared


def test_a_run_names_no_home_and_finds_its_data_below_it(home, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    given = ["train", "edm", str(home / "points.npy"), "--steps", "2", "--samples", "20"]
    given += ["--batch", "8", "--set", "width=8", "--device", "cpu", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(home / "bin" / "diffode"), *given])
    assert run(given) == 0
    stored = json.loads((out / "config.json").read_text())
    assert stored["source"] == stored["data"] == "~/points.npy"
    command = history.read(out)[0]["command"]
    assert command.startswith("diffode train edm ~/points.npy --steps 2")
    for name in ("config.json", history.HISTORY, "metrics.jsonl"):
        text = (out / name).read_text()
        assert str(home) not in text
    assert Plan.read(out).source == str(home / "points.npy")
    assert run(["train", "--resume", str(out), "--samples", "20"]) == 0
    anew = ["train", "--config", str(out / "config.json"), "--out", str(tmp_path / "again")]
    assert run([*anew, "--samples", "20"]) == 0
    one, two = (
        (folder / "checkpoints" / "step-00000002.safetensors").read_bytes()
        for folder in (out, tmp_path / "again")
    )
    assert one == two


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("{}/x.npy", "~/x.npy"),
        ("--data={}/x.npy", "--data=~/x.npy"),
        ("mine:{}/x", "mine:~/x"),
        ("{}", "~"),
        ("{}belle/x", "{}belle/x"),
        ("/mnt{}/x", "/mnt{}/x"),
        ("digits", "digits"),
    ],
)
def test_the_home_directory_is_called_tilde(home, text, short):
    assert from_home(text.format(home)) == short.format(home)
    if text.startswith("{}/"):
        assert to_home(short) == text.format(home)
    assert to_home("a/~/b") == "a/~/b"


# -------------------------------------------------------------------------------------- commits


def git(folder, *words):
    owner = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    own = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}  # as of a hook
    done = subprocess.run(
        ["git", *owner, *words], cwd=folder, env=own, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_is_that_of_git(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    main, inside = tmp_path / "main", tmp_path / "main" / "a" / "b"
    inside.mkdir(parents=True)
    git(main, "init", "-q")
    assert history.commit(inside) is None, "nothing is committed yet"
    git(main, "commit", "-q", "--allow-empty", "-m", "one")
    assert history.commit(inside) == git(main, "rev-parse", "HEAD")
    git(main, "pack-refs", "--all")
    git(main, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "two")
    two = git(tmp_path / "tree", "rev-parse", "HEAD")
    assert history.commit(tmp_path / "tree") == two != history.commit(inside)
    assert history.commit(main) == git(main, "rev-parse", "HEAD")
    git(main, "checkout", "-q", "--detach", two)
    assert history.commit(main) == two
    git(main, "checkout", "-q", "--orphan", "new")
    assert history.commit(main) is None, "nothing is committed on this branch"


@pytest.mark.parametrize("head", ["ref: ../../secret", "ref: refs/../../x", "hello", "\xff", ""])
def test_what_is_no_commit_is_left_out(tmp_path, head):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(head.encode("latin-1"))
    (tmp_path / "secret").write_text("a" * 40)
    assert history.commit(tmp_path) is None
