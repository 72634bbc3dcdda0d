"""``diffode convert``, and checkpoints of EDM and PFGM++ as TARGETs."""

import os

import numpy as np
import pytest

from diffode.cli.app import run
from diffode.interop import from_edm
from diffode.runs.targets import resolve
from diffode.testing import diagnose
from tests.edm_pickles import Calling, dumped, write, write_archive


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.pkl")
    levels = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), np.uint8)
    np.savez("images.npz", x=levels)
    return tmp_path


def test_converts_into_a_folder_named_like_the_file(desk, capsys):
    assert run(["convert", "net.pkl"]) == 0
    assert "wrote net\n" in capsys.readouterr().out
    assert {p.name for p in (desk / "net").iterdir()} == {"edm.json", "model.safetensors"}
    assert run(["convert", "net.pkl", "--out", "other"]) == 0
    assert (desk / "other" / "edm.json").exists()


def test_refusals_are_one_line(desk, capsys):
    (desk / "bad.pkl").write_bytes(dumped(Calling(os.system, "touch mark")))
    for command in ("convert", "sample", "likelihood", "check", "fit-grid"):
        assert run([command, "bad.pkl"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: bad.pkl is refused: it asks for") and said.count("\n") == 1
    assert not (desk / "mark").exists()
    assert run(["convert", "net.pkl", "--out", "."]) == 2
    assert "has something else in it" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["net.pkl", "state.pt", "folder"])
def test_samples_of_any_form(desk, capsys, target):
    write_archive(desk / "state.pt")
    if target == "folder":
        run(["convert", "net.pkl", "--out", "folder"])
    done = run(["sample", target, "--samples", "3", "--nfe", "3", "--out", "x.npz"])
    assert done == 0, capsys.readouterr().err
    x = np.load("x.npz")["x"]
    assert x.shape == (3, 1, 8, 8) and float(np.abs(x).max()) > 10  # gray levels, not -1 to 1


def test_has_no_data_of_its_own(desk, capsys):
    for command in ("likelihood", "eval"):
        assert run([command, "net.pkl"]) == 2
        assert "give --data" in capsys.readouterr().err
    given = ["--data", "images.npz", "--points", "2", "--solver", "euler", "--steps", "2"]
    assert run(["likelihood", "net.pkl", *given, "--trace", "hutchinson", "--probes", "1"]) == 0
    assert "bits per dimension" in capsys.readouterr().out


def test_classes_are_those_of_the_file(desk, capsys):
    write(desk / "adm.pkl", "adm")
    assert resolve("adm.pkl").classes == 4
    assert run(["sample", "adm.pkl", "--samples", "2", "--nfe", "2"]) == 2
    assert "draws nothing without a label" in capsys.readouterr().err
    assert run(["sample", "adm.pkl", "--samples", "2", "--nfe", "2", "--label", "3"]) == 0


def test_is_compared_with_images_in_a_file(desk):
    report = diagnose(from_edm("net.pkl"), resolve("net.pkl").dataset("images.npz"))
    assert any(f.check == "velocity" for f in report.findings)
