"""What is told: points in other units than a run's data, draws that miss, few particles."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from diffode.cli.app import run
from diffode.cli.units import unlike
from diffode.data import load
from diffode.fields import Karras, Mixture
from diffode.sampling import twisted
from diffode.warned import warn

MINE = """
import torch

from diffode.data import load
from diffode.data.scaling import Scaling
from diffode.fields import Empirical, Karras, MonoFlow
from diffode.nn import critic_network

x = load("digits").train[:40]


def on(x, scaling=None):
    field = Empirical(x, Karras(0.05, 20.0), bandwidth=0.1)
    field.scaling = scaling
    return field


floats, of_bytes = on(x), on(x, Scaling.pixels())
widths = torch.tensor([3.0, 200.0])
columns = on(load("moons").train[:60], Scaling("standard", torch.tensor([0.0, 1000.0]), widths))
points = on(load("moons").train[:60])
flow = MonoFlow(critic_network((1, 8, 8)))
flow.scaling = Scaling.pixels()
unscaled = MonoFlow(critic_network((1, 8, 8)))
"""
IMAGES = load("digits").test[:3].numpy()
MOONS = load("moons").test[:3].numpy()
OWN = {
    "floats": IMAGES,
    "of_bytes": (IMAGES + 1) * 127.5,
    "points": MOONS,
    "columns": MOONS * [3, 200] + [0, 1000],
}  # points in the units of the fields
QUICK = ["--noise", "0.05", "--draws", "1", "--nfe", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine_in_units.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def warned(capsys, *given):
    """The warning of a command that speaks of the size of points, or nothing."""
    capsys.readouterr()
    assert run([str(word) for word in given]) == 0
    return "".join(
        line for line in capsys.readouterr().err.splitlines() if "times as large as this" in line
    )


@pytest.mark.parametrize("times", [1 / 255, 1, 100, 255])
@pytest.mark.parametrize("name", OWN)
def test_observations_too_large_and_too_small_are_told(name, times, mine, tmp_path, capsys):
    np.save(tmp_path / "x.npy", times * OWN[name])
    target = ["inpaint", f"{mine}:{name}", tmp_path / "x.npy", "--out", tmp_path / "x.npz"]
    said = warned(capsys, *target, "--mask", "random:0.5", *QUICK)
    assert bool(said) == (times != 1)
    if said:
        size = float(re.search(r"are (\S+) times", said)[1])
        assert times / 4 < size < 4 * times
        assert f"the points in {tmp_path}/x.npy lie between" in said


@pytest.mark.parametrize("operator", ["downsample:4", "blur:2", "mask:half:left"])
@pytest.mark.parametrize("degrade", [False, True])
def test_every_operator_that_keeps_the_units_is_looked_at(
    operator, degrade, mine, tmp_path, capsys
):
    x = IMAGES if degrade or "downsample" not in operator else IMAGES[..., ::4, ::4]
    for times in (1, 255):
        np.save(tmp_path / "x.npy", times * x)
        given = ["restore", f"{mine}:floats", tmp_path / "x.npy", "--operator", operator]
        given += ["--degrade"] * degrade
        assert bool(warned(capsys, *given, "--out", tmp_path / "x.npz", *QUICK)) == (times > 1)


def test_points_to_encode_and_to_edit_are_looked_at(mine, tmp_path, capsys):
    np.save(tmp_path / "x.npy", IMAGES)
    for name, said in (("of_bytes", True), ("floats", False), ("flow", True), ("unscaled", False)):
        given = [f"{mine}:{name}", tmp_path / "x.npy", "--nfe", "4", "--out", tmp_path / "y.npz"]
        assert bool(warned(capsys, "encode", *given)) == said, name
    np.save(tmp_path / "x.npy", 255 * IMAGES)
    given = [f"{mine}:floats", tmp_path / "x.npy", "--nfe", "4", "--out", tmp_path / "y.npz"]
    said = warned(capsys, "edit", *given)
    assert "in the units of its data, about -0." in said


def test_a_pixel_that_is_black_is_no_other_unit(mine, tmp_path, capsys):
    """Of one number that is seen nothing is said, though all that is seen are equal."""
    seen = torch.zeros(8, 8)
    seen[0, 0] = 1
    np.save(tmp_path / "seen.npy", seen.numpy())
    np.save(tmp_path / "x.npy", np.full((1, 1, 8, 8), -1.0))
    given = ["inpaint", f"{mine}:floats", tmp_path / "x.npy", "--mask", tmp_path / "seen.npy"]
    assert not warned(capsys, *given, "--out", tmp_path / "x.npz", *QUICK)


UNITS = "see that the observations are in the units of the data, and "


@pytest.mark.parametrize(
    ("how", "advice"),
    [
        ("", f"{UNITS}give more --nfe, or"),
        ("--solver dpm++", f"{UNITS}give more --nfe, or"),
        ("--solver heun", f"{UNITS}give more --nfe, --solver dpm++, or"),
        ("--method smc", f"{UNITS}give more --nfe, more --particles, or"),
        ("--degrade", "give more --nfe, or"),
    ],
)
def test_draws_that_miss_the_observations_are_told(how, advice, mine, tmp_path, capsys):
    """The same observations with noise that is smaller than what the points of the data miss."""
    np.save(tmp_path / "x.npy", IMAGES)
    given = ["inpaint", f"{mine}:floats", tmp_path / "x.npy", "--out", tmp_path / "x.npz"]
    given += ["--mask", "half:left", "--nfe", "6", "--device", "cpu", *how.split()]
    for noise, missed in ((3, False), (0.02, True)):
        assert run([str(word) for word in [*given, "--noise", noise]]) == 0
        said = re.search(r"off the observations by (\S+) times .*", capsys.readouterr().err)
        assert bool(said) == missed
    assert float(said[1]) > 5 and said[0].endswith(f"by 1; {advice} a larger --noise")


def test_few_particles_are_told_once_and_other_warnings_too(mine, tmp_path, capsys, monkeypatch):
    """Fewer than 8 and than a quarter of them: of two there is never less."""

    def talking(*given, **named):
        warn("something else")
        return twisted(*given, **named)

    monkeypatch.setattr("diffode.cli.restoring.twisted", talking)
    np.save(tmp_path / "x.npy", IMAGES)
    given = ["restore", f"{mine}:floats", tmp_path / "x.npy", "--out", tmp_path / "x.npz"]
    given += ["--degrade", "--operator", "downsample:2", "--method", "smc", *QUICK]
    for particles, few in ((40, True), (2, False)):
        assert run([str(word) for word in [*given, "--particles", particles]]) == 0
        told = capsys.readouterr().err
        said = re.findall(r"the 40 particles of an observation count for \d\.\d in the end", told)
        assert len(said) == few and " particles of a run" not in told
        assert ("give a larger --noise than 0.05, more --nfe, or more --part" in told) == few
        assert "something else" in told


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 20, 1000])
def test_normal_points_are_hardly_ever_too_small(count):
    """The size from where on they are told is one that chi squared has once in a thousand."""
    field = Mixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1), Karras())
    low, high = 1e-6, 1.0
    for _ in range(40):
        size = math.sqrt(low * high)
        small = unlike(Path("x.npy"), torch.full((count, 1), size), field)
        low, high = (size, high) if small else (low, size)
    assert chi2.cdf(count * low**2, count) <= 1.001e-3
    assert chi2.cdf(count * (1.001 * low) ** 2, count) > 1e-3 or low == pytest.approx(0.1)


def test_a_point_near_the_mean_is_no_other_unit():
    field = Mixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1), Karras())
    point = torch.tensor([[0.05, 0.02]])
    assert not unlike(Path("x.npy"), point, field)
    assert "0.0015 times as large" in unlike(Path("x.npy"), point / 25, field)
    assert "0.038 times as large" in unlike(Path("x.npy"), point.repeat(2, 1), field)
