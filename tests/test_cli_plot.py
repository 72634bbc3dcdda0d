"""The command that draws: what it takes, what it writes, and what it refuses."""

import os

import pytest
from PIL import Image

from diffode.cli.app import run
from tests.runs import made, refused

CODE = """
import torch
from diffode.fields import Empirical, VP
field = Empirical(torch.rand(30, 3), VP())
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return made(
        tmp_path_factory.mktemp("runs"), "edm", "digits", "--labels", "--set", "log_every=1"
    )


def drawn(*given):
    assert run(["plot", *map(str, given)]) == 0
    with Image.open("plot.png") as picture:
        return picture.size


def test_the_exact_field_of_a_data_set(here, capsys):
    size = drawn("pfgm", "--data", "blobs", "--kind", "paths", "--n", "8", "--steps", "9")
    assert capsys.readouterr().out == "wrote plot.png\n"
    assert os.listdir(here) == ["plot.png"] and size == (1600, 1000)


def test_code_with_coordinates_and_times(here):
    (here / "mine.py").write_text(CODE)
    size = drawn("mine.py:field", "--kind", "section", "--axes", "0,2", "--times", "0.9,0.1")
    assert size[0] == 1600


@pytest.mark.parametrize("kind", ["samples", "strip", "interpolation", "section", "loss"])
def test_a_run_of_images(kind, here, labelled):
    assert drawn(labelled, "--kind", kind, "--steps", "3")[0] == 1600


def test_classes_have_rows(here, labelled):
    one = drawn(labelled, "--label", "3", "--per-class", "5", "--steps", "3")
    assert drawn(labelled, "--label", "all", "--per-class", "5", "--steps", "3")[1] > one[1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("RUN --kind paths", "makes images; --kind strip"),
        ("RUN --kind density", "makes images; --kind section"),
        ("RUN --kind section --label 0,1", "got 2 classes"),
        ("RUN --kind pathes", "did you mean 'paths'?"),
        ("RUN --out a.gif", "ends in .png, .svg or .pdf"),
        ("poisson --kind loss", "has no losses"),
        ("poisson --label 3", "give a run that was trained with --labels"),
        ("poisson --times 1,2", "wanted some from 80"),
        ("poisson --kind paths --axes 0,x", "wanted whole numbers"),
        ("poisson --kind paths --axes 0,2", "coordinates 0 to 1"),
        ("poisson --weights raw", "which is no run"),
        ("monoflow", "has no exact field"),
        ("poison", "did you mean 'poisson'?"),
        ("moons", "wanted a field, and the data beside it, as vp --data moons"),
        ("poisson --samples 999999", "less than or equal to 200000"),
    ],
)
def test_what_is_refused(given, words, here, labelled, capsys):
    given = given.replace("RUN", str(labelled)).split()
    if "--times" in given:
        given += ["--kind", "strip"]
    assert words in refused(capsys, "plot", *given)
    assert os.listdir(here) == []


def test_data_of_another_shape(here, labelled, capsys):
    assert run(["plot", str(labelled), "--data", "moons"]) == 2
    assert "makes samples of shape (1, 8, 8), moons has (2,)" in capsys.readouterr().err
    assert os.listdir(here) == []


def test_tokens_are_refused_but_for_their_loss(here, tmp_path_factory, capsys):
    tokens = made(tmp_path_factory.mktemp("runs"), "masked", "dna", "--set", "log_every=1")
    assert "makes tokens" in refused(capsys, "plot", tokens)
    assert "makes tokens" in refused(capsys, "plot", tokens, "--kind", "section")
    assert drawn(tokens, "--kind", "loss")[0] == 1600


def test_a_path_that_is_called_as_a_field(here, capsys):
    os.mkdir("vp")
    assert "give ./vp for the path" in refused(capsys, "plot", "vp")


def test_matplotlib_is_asked_for(here, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert "pip install 'diffode[plot]'" in refused(capsys, "plot", "poisson")


def test_a_tour_of_chosen_fields(here, capsys):
    assert run(["tour", "--data", "blobs", "--field", "vp", "--field", "edm"]) == 0
    with Image.open("tour.png") as picture:
        assert picture.size[0] == 1600
    os.remove("tour.png")
    assert "give data of points" in refused(capsys, "tour", "--data", "digits")
    five = [word for name in ("vp", "ve", "edm", "subvp", "ddpm") for word in ("--field", name)]
    assert "got 5 fields; wanted 1 to 4" in refused(capsys, "tour", *five)
    assert os.listdir(here) == []
