"""What `diffode restore` and `diffode inpaint` refuse, in one line, with nothing written."""

import numpy as np
import pytest

from diffode.data import load
from tests.runs import refused

MINE = """
import torch

from diffode.data import load
from diffode.fields import Empirical, Field, Karras
from diffode.fields.operators import operator
from diffode.priors import Normal, StudentT

digits = load("digits")
x, y = digits.train[:40], digits.train_labels[:40]
exact = Empirical(x, Karras(0.05, 20.0))
labelled = Empirical(x, Karras(0.05, 20.0), labels=y)
told = Empirical(x, Karras(0.05, 20.0), labels=y)
told.needs_labels = True
poisson = Empirical(x, Karras(0.05, 20.0), StudentT(1))
points = Empirical(load("moons").train[:60], Karras(0.05, 20.0))
number = 3


def nothing():
    return None


wide = range


def odd(event_shape):
    height, width = event_shape


def squares(event_shape):
    return operator(torch.square, event_shape)


class Rest(Field):
    prior, span, event_shape = Normal(), (0.0, 1.0), (1, 8, 8)

    def velocity(self, x, t, y=None):
        return 0 * x
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine_not_to_restore.py"
    path.write_text(MINE, encoding="utf-8")
    return path


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", load("digits").test[:3].numpy())
    return tmp_path / "images.npy"


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("restore", "", "got no --operator; wanted downsample:FACTOR, blur:PIXELS"),
        ("restore", "--operator downsample:2", "got no --noise; state the standard deviation"),
        (
            "restore",
            "--operator blurr:2 --noise .1",
            "no operator 'blurr:2'; did you mean 'blur'? wanted",
        ),
        ("restore", "--operator blur:x --noise .1", "got blur:x; wanted a number above 0"),
        (
            "restore",
            "--operator downsample:1.5 --noise .1",
            "wanted a whole number, as downsample:2",
        ),
        ("restore", "--operator downsample:3 --noise .1", "wanted one that divides 8 and 8"),
        ("restore", "--operator matrix:8 --noise .1", "got matrix:8; wanted a .npy file"),
        ("restore", "--operator matrix:none.npy --noise .1", "none.npy: no such file"),
        ("restore", "--operator matrix:wide.npy --noise .1", "got a matrix of shape (2, 5)"),
        (
            "restore",
            "--operator mask:pickled.npy --noise .1",
            "pickled.npy: numpy cannot read this (it holds objects)",
        ),
        (
            "restore",
            "--operator MINE:number --noise .1",
            "is an object of type int; wanted a LinearOp",
        ),
        (
            "restore",
            "--operator MINE:nothing --noise .1",
            ":nothing takes the arguments (); wanted a LinearOperator, or a function of the shape",
        ),
        (
            "restore",
            "--operator MINE:wide --noise .1",
            ":wide failed for the shape (1, 8, 8) (TypeError: 'tuple' object cannot be",
        ),
        (
            "restore",
            "--operator MINE:odd --noise .1",
            ":odd failed for the shape (1, 8, 8) (ValueError: too many values to unpack",
        ),
        ("restore", "--operator MINE:squares --noise .1", "got a function that is not linear"),
        ("restore", "--operator blur:1 --noise 0", "got --noise 0; wanted a number abov"),
        ("restore", "--operator blur:1 --noise nan", "got --noise nan; wanted a number"),
        ("restore", "--operator downsample:2 --noise 0.1", "observes numbers of shape (row"),
        ("inpaint", "", "got no --mask; wanted box:TOP,LEFT,HEIGHT,WIDTH, half:SIDE"),
        ("inpaint", "--mask circle", "got mask:circle; wanted box:TOP,LEFT"),
        ("inpaint", "--mask half:middle", "got half:middle; wanted half:left, right, top or"),
        ("inpaint", "--mask box:1,2,3", "got box:1,2,3; wanted whole numbers"),
        ("inpaint", "--mask box:6,0,4,4", "which is not inside an image of 8 x 8"),
        ("inpaint", "--mask random:1.0", "got random:1.0; wanted the fraction that is hidden"),
        ("inpaint", "--mask random:0.999", "mask:random:0.999: got a mask in which nothing is"),
        ("inpaint", "--mask bytes.npy", "mask:bytes.npy: got a mask with numbers but 0 and 1"),
        ("inpaint", "--mask random:0.001", "mask:random:0.001 hides nothing"),
        ("inpaint", "--mask ones.npy", "mask:ones.npy hides nothing"),
        ("inpaint", "--mask wide.npy", "got a mask of shape (2, 5) for points of shape (1, 8,"),
        ("inpaint", "--mask half:left --method dps", "got --method dps; wanted pigdm, tmpd, smc"),
        ("inpaint", "--mask half:left --particles 9", "got --particles and --method pigdm; they"),
        (
            "inpaint",
            "--mask half:left --method smc --particles 3",
            "got --draws 4 and --particles 3",
        ),
        ("inpaint", "--mask half:left --method smc --solver heun", "got --method smc and a solv"),
        ("inpaint", "--mask half:left --out x.gif", "ends in .png or .npz"),
        ("inpaint", "--mask half:left --label 1", "knows no labels, as"),
        ("inpaint", "--mask half:left --solver none", "no solver named 'none'"),
    ],
)
def test_what_cannot_be_restored_is_refused(
    command, given, message, mine, images, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    np.save("wide.npy", np.ones((2, 5)) * np.array([1, 1, 0, 0, 0]))
    np.save("ones.npy", np.ones((8, 8)))
    np.save("bytes.npy", np.tile([0, 255], (8, 4)).astype("uint8"))
    np.save("pickled.npy", np.array([print, {}], dtype=object))
    before = set(tmp_path.iterdir())
    given = given.replace("MINE", str(mine)).split()
    assert message in refused(capsys, command, f"{mine}:exact", images, *given)
    assert set(tmp_path.iterdir()) == before


def test_targets_and_files_that_do_not_fit_are_refused(mine, images, tmp_path, capsys):
    half = ["--mask", "half:left"]
    line = refused(capsys, "inpaint", f"{mine}:exact", "test", *half)
    assert "is no run, so it has no test data; give a file, and --degrade" in line
    line = refused(capsys, "inpaint", f"{mine}:Rest", images, *half)
    assert "is of type Rest; an observation changes E[x_0 | x], which affine fields have" in line
    line = refused(capsys, "inpaint", f"{mine}:poisson", images, *half, "--method", "smc")
    assert "got --method smc for a field of StudentT(dof=1) noise" in line
    line = refused(capsys, "inpaint", f"{mine}:points", images, *half)
    assert "got a mask half, which is of images, for points of shape (2,)" in line
    line = refused(capsys, "inpaint", f"{mine}:told", images, *half)
    assert line.strip().endswith("draws nothing without a label; give --label")
    holes = np.load(images)
    holes[0, 0, 0, 6] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    line = refused(capsys, "inpaint", f"{mine}:exact", tmp_path / "holes.npy", *half)
    assert "got values that are NaN or infinite where the mask hides none" in line
    np.save(tmp_path / "small.npy", np.zeros((3, 4, 4)))
    line = refused(capsys, "inpaint", f"{mine}:exact", tmp_path / "small.npy", *half)
    assert "is of points of shape (rows, 1, 8, 8)" in line
    given = ["--operator", "blur:1", "--noise", "0.1"]
    line = refused(capsys, "restore", f"{mine}:exact", tmp_path / "none.npy", *given)
    assert "none.npy: no such file" in line
    line = refused(capsys, "inpaint", f"{mine}:labelled", images, *half, "--label", "0,1")
    assert "got --label 0,1; wanted one class" in line
