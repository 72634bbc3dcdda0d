"""A few of the faults of ``python -m tests.faults``, which tries all of them many times."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.faults.traces import differences, left

POSIX = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="forks, and reads /proc")
MORE = [
    *(f"SIGKILL: {name}" for name in ("train poisson", "train monoflow", "distil", "reflow")),
    *(
        "SIGKILL: bench",
        "SIGKILL: eval",
        "SIGKILL: sample",
        "SIGTERM: train edm",
        "SIGTERM: distil",
    ),
    *("full disk", "read-only", "file replaced by a pipe", "file replaced by a link: train"),
    *("folder deleted: train", "two at once: train", "clock set back: train edm"),
    *("an image vanishes", "an image changes", "a worker dies"),
]


def tried(only, kills):
    words = [word for name in only for word in ("--only", name)]
    command = [sys.executable, "-m", "tests.faults", "--kills", str(kills), *words]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_left_is_compared_to_the_bit(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    np.savez(out / "samples.npz", x=np.zeros(2))
    (out / "quality.json").write_text('{"W2": 1.0, "seconds": 3}')
    whole = left(out)
    (out / "quality.json").write_text('{"seconds": 4, "W2": 1.0}')
    assert left(out) == whole
    np.savez(out / "samples.npz", x=np.array([0.0, -0.0]))
    (out / "more.txt").write_text("")
    assert differences(whole, left(out)) == ["run/more.txt", "run/samples.npz"]


@POSIX
def test_a_few_kills_lose_nothing():
    said = tried(["SIGKILL: train edm"], 2)
    assert "| SIGKILL | train edm | the same command leaves the same bits | 2 | 2 |" in said
    assert said.endswith("\n2 of 2 held\n")


@POSIX
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", MORE)
def test_other_faults_lose_nothing(row):
    tried([row], 3)
