"""The page's file for SLURM and its line for several machines are carried out."""

import os
import re
import subprocess
import sys

import pytest

from tests.pages import ROOT, steps
from tests.processes import PATIENCE

LINE, FILE = (step.text for step in steps("docs/clusters.md") if step.kind == "bash")
SMALL = "--batch 5 --set width=8 --set depth=1 --set save_every=2 --samples 20 --device cpu"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A machine that is called as those of the page, with the commands of SLURM."""
    programs = {
        "srun": '"$@"',
        "scontrol": "echo localhost",
        "torchrun": f'"{sys.executable}" -m torch.distributed.run "$@"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    named = {"NNODES": "1", "JOB_ID": "7", "JOB_NODELIST": "node", "CPUS_PER_TASK": "4"}
    for name, value in named.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def carried_out(text, steps):
    """Run the text with two processes of one machine in place of eight, and little to train."""
    text = text.replace("photos", "moons").replace("gpu-1", "localhost")
    text = re.sub("--nnodes 2", "--nnodes 1", text)
    text = re.sub("--nproc-per-node 4", "--nproc-per-node 2", text)
    text = re.sub(r":29400", ":0", text)  # a free port
    text = re.sub(r"--batch 512", SMALL, text)
    text = re.sub(r"--steps 200000", f"--steps {steps}", text)
    done = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("text", [LINE, FILE])
def test_what_the_page_prints_is_sound_for_bash(text):
    subprocess.run(["bash", "-n", "-c", text], check=True)
    assert max(map(len, text.splitlines())) <= 84


@pytest.mark.slow
def test_the_file_for_slurm_begins_a_run_and_goes_on_with_it(cluster):
    assert carried_out(FILE, 3).count("wrote runs/moons/report.html") == 1
    for last in (cluster / "runs/moons/checkpoints").glob("*3.safetensors"):
        last.unlink()
    assert "already" not in carried_out(FILE, 3)  # goes on from step 2
    kept = sorted(path.name for path in (cluster / "runs/moons/checkpoints").iterdir())
    assert kept == ["step-00000002.safetensors", "step-00000003.safetensors"]


@pytest.mark.slow
def test_the_line_for_several_machines_trains(cluster):
    text = LINE.rstrip() + " --steps 2\n"
    assert carried_out(text, 2).count("wrote runs/moons/report.html") == 1
