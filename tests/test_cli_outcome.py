"""What commands do with rows that did not finish or are not finite: said, marked, refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffode import sample
from diffode.cli import encoding, sampling
from diffode.cli.app import run
from diffode.cli.outcome import deliver
from diffode.runs import shards
from diffode.runs.loading import load
from diffode.solvers.base import Solution
from diffode.training import checkpoint
from tests.runs import arrays, figures, made, refused

BROKE = ["--solver", "dopri5-rows", "--set", "max_nfe=8", "--device", "cpu"]
DONE, SPENT, LOST = 0, 1, 2


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    return made(tmp_path_factory.mktemp("moons"), "--field", "vp", "--data", "moons")


@pytest.fixture(scope="module")
def sick(moons, tmp_path_factory):
    """A checkpoint whose network answers NaN."""
    objective = load(moons)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.fill_(math.nan)
    return checkpoint.save(objective, tmp_path_factory.mktemp("sick") / "x.safetensors", step=2)


@pytest.fixture
def points(tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(6, 2)))
    return tmp_path / "points.npy"


def solution(status, nfe=14):
    status = torch.tensor(status)
    return Solution(
        x=torch.where(status == LOST, math.nan, 1.0)[:, None].expand(-1, 2),
        times=torch.tensor([1.0, 0.0]),
        nfe=nfe,
        nfe_per_row=torch.full_like(status, nfe),
        status=status,
        path=None,
        t_end=0.0,
    )


# ------------------------------------------------------------------------------- the one mechanism


def test_some_unfinished_rows_are_written_marked_and_counted(tmp_path, capsys):
    made_, out = solution([DONE, SPENT, DONE]), tmp_path / "x.npz"
    deliver(out, "samples", made_.status, made_.nfe_per_row, x=made_.x)
    assert arrays(out)["status"].tolist() == [0, 1, 0]
    said = capsys.readouterr().err
    assert said.startswith("warning: 1 of 3 samples did not finish (budget of 14 evaluations sp")


def test_finished_rows_are_written_without_a_word(tmp_path, capsys):
    made_, out = solution([DONE, DONE]), tmp_path / "x.npz"
    deliver(out, "samples", made_.status, made_.nfe_per_row, x=made_.x)
    assert list(arrays(out)) == ["x", "status"] and capsys.readouterr().err == ""


@pytest.mark.parametrize("status", [[SPENT, SPENT], [DONE, LOST], [LOST, SPENT, DONE]])
def test_rows_that_are_no_result_are_kept_aside(tmp_path, status):
    made_, out = solution(status), tmp_path / "x.png"
    out.write_bytes(b"an older picture")
    with pytest.raises(ValueError, match=rf"of {len(status)} rows .*x.png was not written, the "):
        deliver(out, "rows", made_.status, made_.nfe_per_row, pytest.fail, x=made_.x)
    assert out.read_bytes() == b"an older picture"
    assert arrays(tmp_path / "x.refused.npz")["status"].tolist() == status


# -------------------------------------------------------------------------------------- commands


def test_no_command_hands_over_what_did_not_finish(moons, points, tmp_path, capsys):
    out = tmp_path / "out.npz"
    for arguments in (
        ["sample", moons, "--n", "5", *BROKE, "--out", out],
        ["encode", moons, points, *BROKE, "--out", out],
        ["decode", moons, points, *BROKE, "--out", out],
        ["likelihood", moons, "--n", "5", *BROKE, "--values", out],
        ["eval", moons, "--n", "60", *BROKE],
    ):
        assert run([str(a) for a in arguments]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "did not finish (budget of 8 evaluations spent; raise max_nfe" in said, arguments
        assert not out.exists()


def test_no_command_hands_over_what_is_not_finite(moons, sick, points, tmp_path, capsys):
    out, grid = tmp_path / "out.npz", tmp_path / "grid.json"
    steps = ["--solver", "heun", "--steps", "3", "--device", "cpu", "--out", out]
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder.parent / "config.json").write_bytes((moons / "config.json").read_bytes())
    inside = folder / checkpoint.file_at(moons).name
    inside.write_bytes(sick.read_bytes())
    card = ["--solver", "heun", "--steps", "3", "--device", "cpu"]
    for arguments in (
        ["sample", sick, "--n", "5", *steps],
        ["encode", sick, points, *steps],
        ["decode", sick, points, *steps],
        ["likelihood", folder.parent, "--n", "5", *card],
        ["eval", folder.parent, "--n", "60", "--nfe", "4", "--device", "cpu"],
        ["fit-grid", sick, "--steps", "3", "--pilot", "16", "--device", "cpu", "--out", grid],
    ):
        assert run([str(a) for a in arguments]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "are not finite" in said, arguments
        assert not out.exists() and not grid.exists()


def test_a_wild_option_is_refused_too(moons, tmp_path, capsys):
    out = tmp_path / "wild.png"
    wild = ["--solver", "churn", "--set", "s_noise=1e30", "--nfe", "8", "--device", "cpu"]
    assert run(["sample", str(moons), "--n", "5", *wild, "--out", str(out)]) == 2
    assert "5 of 5 samples are not finite" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists() and len(arrays(tmp_path / "wild.refused.npz")["x"]) == 5


def test_a_sample_that_did_not_finish_is_marked_in_its_file(moons, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sampling, "sample", lambda *a, **k: solution([DONE, SPENT, DONE]))
    assert run(["sample", str(moons), "--n", "3", "--out", str(tmp_path / "s.npz")]) == 0
    assert arrays(tmp_path / "s.npz")["status"].tolist() == [0, 1, 0]
    assert "1 of 3 samples did not finish" in capsys.readouterr().err


def test_a_round_trip_counts_what_finished_both_ways(moons, points, tmp_path, monkeypatch, capsys):
    there = [DONE, SPENT, DONE, DONE, DONE, DONE]
    back = [DONE, DONE, SPENT, DONE, DONE, DONE]
    monkeypatch.setattr(encoding, "encode", lambda *a, **k: solution(there))
    monkeypatch.setattr(encoding, "decode", lambda *a, **k: solution(back))
    out = tmp_path / "z.npz"
    assert run(["encode", str(moons), str(points), "--out", str(out)]) == 0
    printed, kept = capsys.readouterr(), arrays(out)
    assert "round trip of 4 of 6 points: rms error" in printed.out
    assert "1 of 6 points did not finish" in printed.err
    assert "1 of 6 ways back did not finish" in printed.err
    assert kept["status"].tolist() == there
    assert np.isnan(kept["error"]).tolist() == [False, True, True, False, False, False]
    assert run(["decode", str(moons), str(out), "--out", str(tmp_path / "x.npz")]) == 0
    assert "1 of 6 latents in" in capsys.readouterr().err
    assert arrays(tmp_path / "x.npz")["status"].tolist() == [0, 1, 1, 0, 0, 0]


def test_latents_none_of_which_finished_are_refused(moons, tmp_path, capsys):
    np.savez(tmp_path / "z.npz", x=np.zeros((3, 2)), status=np.ones(3, int))
    assert "none of the 3 latents was finished" in refused(
        capsys, "decode", moons, tmp_path / "z.npz"
    )
    np.savez(tmp_path / "z.npz", x=np.zeros((3, 2)), status=np.ones(2, int))
    assert "a status of shape (2,)" in refused(capsys, "decode", moons, tmp_path / "z.npz")


def test_an_evaluation_says_how_many_samples_did_not_finish(moons, tmp_path, monkeypatch, capsys):
    def late(*arguments, **options):
        drawn = sample(*arguments, **options)
        return replace(drawn, status=drawn.status.index_fill(0, torch.arange(7), SPENT))

    monkeypatch.setattr(shards, "sample", late)
    given = ["--n", "60", "--nfe", "4", "--device", "cpu", "--seed", "3", "--out", str(tmp_path)]
    assert run(["eval", str(moons), *given]) == 0
    printed = capsys.readouterr().out
    assert "7 of 60 samples did not finish" in printed and "where they stopped" in printed
    kept = figures(tmp_path / "eval.json")
    assert kept["unfinished"] == 7 and kept["shortfall"] in printed
    assert arrays(tmp_path / "samples.npz")["status"].tolist() == [1] * 7 + [0] * 53
