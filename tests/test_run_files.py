"""A run directory with two processes, with signals, and after a kill."""

import os
import signal
import subprocess
import sys
import time

import pytest

from diffode.cli.app import run
from diffode.data import load
from diffode.files import replacing, require_writable, write_text
from diffode.runs.building import build
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.training import data_stats
from diffode.training.record import logged
from diffode.training.trainer import train
from tests.runs import refused

X = load("moons").train[:50]
GIVEN = ["--field", "edm", "--data", "digits", "--batch", "16", "--device", "cpu"]
GIVEN += ["--set", "width=8", "--set", "depth=1", "--samples", "20"]
ENDLESS = ["--steps", "1000000", "--set", "log_every=1", "--set", "save_every=1000000"]
POSIX = pytest.mark.skipif(os.name == "nt", reason="sends signals as POSIX does")


def make(**options):
    return build("edm", (2,), None, data_stats(X), width=8, depth=1, **options)


def go(out, **options):
    return train(make(), X, **{"steps": 8, "batch": 8, "device": "cpu", "out": out, **options})


def program(*arguments):
    """The command line as a process of its own."""
    code = "from diffode.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_trained(process, out):
    """Wait until a process has logged a step."""
    while process.poll() is None and not logged(out):
        time.sleep(0.02)


def kept(out):
    return sorted(p.name for p in (out / "checkpoints").iterdir())


# -------------------------------------------------------------------------------------------- lock


def test_one_training_holds_a_directory(tmp_path, capsys):
    first = go(tmp_path)
    next(first)
    with pytest.raises(ValueError, match="in use by another training of this process; wait"):
        next(go(tmp_path))
    first.close()
    assert len(list(go(tmp_path, resume=tmp_path))) == 7
    assert not (tmp_path / ".holder.json").exists()


@pytest.mark.slow
@POSIX
def test_a_second_process_is_told_who_holds_it(tmp_path, capsys):
    out = tmp_path / "run"
    first = program("train", *GIVEN, *ENDLESS, "--out", out)
    until_trained(first, out)
    for given in (["--resume", out], [*GIVEN, "--out", out]):
        assert f"in use by process {first.pid} on " in refused(capsys, "train", *given)
    first.send_signal(signal.SIGTERM)
    message, errors = first.communicate(timeout=120)
    assert first.returncode == 143, errors
    stopped = int(message.split()[3].strip(";"))
    assert message.startswith("stopped at step ") and "diffode train --resume" in message
    assert kept(out) == [f"step-{stopped:08d}.safetensors"]


def test_a_refused_training_leaves_no_lock(tmp_path):
    with pytest.raises(ValueError, match="less than the 17 pieces"):
        execute(Plan.make("edm", "moons", batch=16, accumulate=17, device="cpu"), out=tmp_path)
    assert not list(tmp_path.iterdir())


@POSIX
def test_every_file_has_the_permissions_of_a_new_one(tmp_path):
    """safetensors makes files that nobody else may read."""
    list(go(tmp_path, steps=2))
    (tmp_path / "new").touch()
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert "step-00000002.safetensors" in {p.name for p in written}
    assert len({p.stat().st_mode for p in written}) == 1


# ------------------------------------------------------------------------------------------- kills


@pytest.mark.slow
@POSIX
def test_a_run_killed_before_its_first_checkpoint_goes_on(tmp_path):
    out = tmp_path / "run"
    first = program("train", *GIVEN, *ENDLESS, "--out", out)
    until_trained(first, out)
    first.kill()
    first.communicate(timeout=60)
    assert not (out / "checkpoints").exists()
    assert run(["train", "--resume", str(out), "--steps", "3", "--samples", "20"]) == 0
    assert kept(out) == ["step-00000003.safetensors"]


def dying(target):
    """What a process leaves that dies while it writes a file."""
    code = (
        "import os, sys; from diffode.files import replacing\n"
        "with replacing(sys.argv[1]) as path:\n    path.write_text('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, target], check=False)
    return next(target.parent.glob(".*.tmp"))


@POSIX
def test_what_dead_processes_left_half_written_is_swept(tmp_path):
    target = tmp_path / "checkpoints" / "step-00000001.safetensors"
    dead = dying(target)
    other = dead.with_name(dead.name.replace(dead.name.split(".")[-2].split("-")[0], "0" * 8))
    other.write_text("of another machine")
    with replacing(target.with_name("mine")) as alive:
        alive.write_text("of this process")
        list(go(tmp_path, steps=2))
        assert not dead.exists() and other.exists() and alive.exists()


@POSIX
@pytest.mark.parametrize("begin", [require_writable, lambda folder: write_text(folder / "b", "")])
def test_any_folder_that_is_written_to_is_swept(tmp_path, begin):
    dead = dying(tmp_path / "a.npz")
    begin(tmp_path)
    assert not dead.exists()


@POSIX
def test_a_dead_process_of_our_own_number_is_known_by_what_we_write(tmp_path):
    """In a container each program may have the same number; no clock is asked."""
    with replacing(tmp_path / "a") as mine:
        before = mine.with_name(mine.name.replace(".a.", ".b."))
        for path in (mine, before):
            path.write_text("half")
            os.utime(path, (2**32, 2**32))
        require_writable(tmp_path)
        assert mine.exists() and not before.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
def test_a_program_that_ends_with_an_open_training_saves_it(tmp_path):
    code = (
        "import sys; from tests.test_run_files import go\nfrom pathlib import Path\n"
        "states = go(Path(sys.argv[1])); next(states); next(states)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert kept(tmp_path) == ["step-00000002.safetensors"]
