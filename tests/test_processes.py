"""Several processes give what one gives, whatever the shares; one that dies ends the job."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffode import build, train
from diffode.cli.app import run
from diffode.runs.loading import load
from diffode.training import checkpoint
from diffode.training.sharded import ShardedLearner
from tests.processes import errors, launched
from tests.runs import arrays, made

TINY = ["--set", "width=8", "--set", "depth=1", "--set", "log_every=1", "--device", "cpu"]


LONG = ("encode", "decode", "distil", "reflow", "bench")  # which take more than seconds


def commands(runs, out, long=False):
    """What is typed; rows and batches that two processes cannot share evenly."""
    edm, few = str(runs / "run"), ["--samples", "20"]
    loose = ["--set", "rtol=.1", "--set", "atol=.1", "--device", "cpu"]
    name = {k: str(out / k) for k in ("x.npz", "few.npz", "stiff.npz", "card.json", "nats.npz")}
    name |= {
        k: str(out / k) for k in ("z.npz", "back.npz", "run", "map", "reflow", "bench", "parts")
    }
    typed = {
        "sample": ["sample", edm, "--samples", "37", "--batch", "8", "--nfe", "5",
                   "--device", "cpu", "--out", name["x.npz"]],
        "one row": ["sample", edm, "--samples", "1", "--nfe", "3", "--device", "cpu",
                    "--out", name["few.npz"]],
        "adaptive": ["sample", edm, "--samples", "11", "--batch", "2", "--solver", "dopri5-rows",
                     "--device", "cpu", "--out", name["stiff.npz"]],
        "likelihood": ["likelihood", edm, "--points", "21", *loose, "--out", name["card.json"],
                       "--values", name["nats.npz"]],
        "encode": ["encode", edm, name["x.npz"], *loose, "--out", name["z.npz"]],
        "decode": ["decode", edm, name["z.npz"], *loose, "--out", name["back.npz"]],
        "train": ["train", "monoflow", "moons", "--steps", "3", "--batch", "17", *TINY, *few,
                  "--set", "accumulate=2", "--out", name["run"]],
        "in parts": ["train", "edm", "digits", "--steps", "2", "--batch", "15", *TINY, *few,
                     "--set", "accumulate=2", "--set", "shard=true", "--out", name["parts"]],
        "on in parts": ["train", "--resume", name["parts"], "--steps", "4", *few],
        "distil": ["distil", edm, "--pairs", "1001", "--pairs-nfe", "4", "--steps", "2", *few,
                   "--set", "batch=15", "--set", "log_every=1", "--device", "cpu",
                   "--out", name["map"]],
        "reflow": ["reflow", edm, "--pairs", "300", "--nfe", "3", "--steps", "2", "--batch", "15",
                   *few, "--set", "log_every=1", "--device", "cpu", "--out", name["reflow"]],
        "bench": ["bench", "--field", "edm", "--field", "vp", "--data", "moons", "--steps", "2",
                  "--nfe", "4", "--solver", "heun", "--solver", "trig", "--samples", "60", *TINY,
                  "--set", "batch=16", "--out", name["bench"]],
    }  # fmt: skip
    return {k: words for k, words in typed.items() if (k in LONG) == long or k == "sample"}


SCRIPT = """
import json, sys
from pathlib import Path
from diffode.cli.app import run
from diffode.sharing import all_of
from tests.test_processes import commands
runs, out, long = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "True"
for name, command in commands(runs, out, long).items():
    assert run(command) == 0, name
    all_of(None)  # the next command reads what process 0 has written
assert run(["sample", sys.argv[1] + "/run", "--solver", "nonsense"]) == 2
assert run(["plot", sys.argv[1] + "/run"]) == 2
"""


def both(place, long=False):
    """The folders of one process and of two, and what the two printed."""
    made(place, "--field", "edm", "--data", "moons")
    script = place / "script.py"
    script.write_text(SCRIPT)
    for count in "12":
        (place / count).mkdir()
    code, out, err = launched(script, place, place / "2", long)
    assert code == 0, err
    for name, command in commands(place, place / "1", long).items():
        assert run(command) == 0, name
    return place / "1", place / "2", out, err


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return both(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return both(tmp_path_factory.mktemp("long"), long=True)


def same(places, file):
    one, two = (arrays(folder / file) for folder in places)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def alike(places, folder):
    """The same losses, gradients and weights but for rounding."""
    logged = [
        [json.loads(line) for line in (place / folder / "metrics.jsonl").read_text().splitlines()]
        for place in places
    ]
    assert len(logged[0]) == len(logged[1]) >= 2
    for one, two in zip(*logged, strict=True):
        for phase, loss in one["loss"].items():
            assert two["loss"][phase] == pytest.approx(loss, rel=1e-5)
            assert two["grad_norm"][phase] == pytest.approx(one["grad_norm"][phase], rel=1e-4)
    one, two = (load(place / folder).state_dict() for place in places)
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("file", ["x.npz", "few.npz", "stiff.npz", "nats.npz"])
def test_rows_are_those_of_one_process_to_the_bit(outcomes, file):
    same(outcomes[:2], file)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["z.npz", "back.npz", "reflow/pairs.npz"])
def test_carried_rows_are_those_of_one_process_to_the_bit(long, file):
    same(long[:2], file)


def test_a_likelihood_card_is_that_of_one_process(outcomes):
    one, two = (json.loads((folder / "card.json").read_text()) for folder in outcomes[:2])
    assert one == two


@pytest.mark.slow
def test_a_comparison_is_that_of_one_process(long):
    one, two = (json.loads((f / "bench/results.json").read_text()) for f in long[:2])
    assert len(one["cells"]) == 4
    for a, b in zip(one["cells"], two["cells"], strict=True):
        assert {**a, "seconds": 0, "peak_memory": 0} == {**b, "seconds": 0, "peak_memory": 0}


@pytest.mark.parametrize("folder", ["run", "parts"])
def test_losses_and_weights_are_those_of_one_process_but_for_rounding(outcomes, folder):
    alike(outcomes[:2], folder)


def test_a_checkpoint_of_a_network_in_parts_is_that_of_a_whole_one(outcomes):
    (one, whole), (two, parted) = (
        checkpoint.read(checkpoint.file_at(folder / "parts")) for folder in outcomes[:2]
    )
    assert {**one, "digest": ""} == {**two, "digest": ""} and one["step"] == 4
    kinds = {name.partition("/")[0] for name in parted}
    assert {"model", "ema", "opt"} <= kinds
    torch.testing.assert_close(parted, whole, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_shared_out_says_so():
    several = SimpleNamespace(phases=["critic", "generator"])
    with pytest.raises(ValueError, match="shard for an objective of several phases"):
        ShardedLearner(several, None)
    states = train(build("edm", (2,)), torch.zeros(9, 2), keep_best=True, shard=True)
    with pytest.raises(ValueError, match="got keep_best and shard"):
        next(states)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["map", "reflow"])
def test_a_student_of_several_processes_is_that_of_one(long, folder):
    alike(long[:2], folder)


def test_one_process_prints_and_writes(outcomes):
    _, two, out, err = outcomes
    for name in ("x.npz", "few.npz", "stiff.npz", "nats.npz", "card.json", "run/report.html"):
        assert out.count(f"wrote {two / name}") == 1
    assert "samples are one batch" not in err  # of one sample, which no batch shares out
    said = errors(err)
    assert len(said) == 1 and "no solver named 'nonsense'" in said[0]
    assert not list(two.rglob("*.tmp"))


# ----------------------------------------------------------------------------- a process that dies

DYING = """
import os, signal, sys
from diffode.cli.app import run
from diffode.training.hardware import Hardware
step, calls = Hardware.step, []
def dying(self, optimiser):
    calls.append(0)
    if os.environ["RANK"] == sys.argv[1] and len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, optimiser)
Hardware.step = dying
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_with_one_line_and_a_checkpoint(tmp_path):
    out, script = tmp_path / "run", tmp_path / "script.py"
    script.write_text(DYING)
    given = ["train", "edm", "moons", "--batch", "16", *TINY, "--samples", "20"]
    given += ["--steps", "9", "--set", "save_every=2", "--out"]
    code, _, err = launched(script, 1, *given, out)
    assert code != 0
    (said,) = errors(err)
    assert "another process of this job has ended" in said and "--resume" in said
    assert len(list((out / "checkpoints").iterdir())) == 2
    assert run(["train", "--resume", str(out), "--samples", "20"]) == 0
    assert run([*given, str(tmp_path / "whole")]) == 0
    one, two = (load(place).state_dict() for place in (tmp_path / "whole", out))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
