"""Units of data: chosen by a stated rule, said in a line, undone, or refused."""

import numpy as np
import pytest
import torch

from diffode.data import as_dataset, load
from diffode.data.scaling import data_units, in_units

RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (60, 1, 8, 8))
POINTS = RANDOM.normal(size=(60, 3))


def whole(d):
    """All rows in model units, train first."""
    return torch.cat((d.train[:], d.test[:]))


AUTO = {
    "bytes": (GRAY.astype(np.uint8), "pixels: 0 ... 255 as -1 ... 1"),
    "bytes of points": (GRAY.astype(np.uint8).reshape(60, 64), "pixels: 0 ... 255 as -1 ... 1"),
    "masks": ((GRAY > 99).astype(np.uint8), "pixels: 0 ... 1 as -1 ... 1"),
    "floats to 1": (GRAY / 255, "pixels: 0 ... 1 as -1 ... 1"),
    "whole floats": (GRAY.astype(np.float32), "pixels: 0 ... 255 as -1 ... 1"),
    "integers": (GRAY.astype(np.int64), "pixels: 0 ... 255 as -1 ... 1"),
    "uint16": ((GRAY * 257).astype(np.uint16), "pixels: 0 ... 65535 as -1 ... 1"),
    "gray in -1 to 1": (GRAY / 127.5 - 1, None),
    "latents": (RANDOM.normal(size=(60, 4, 8, 8)), None),
    "far images": (
        RANDOM.normal(size=(60, 2, 8, 8)) * 500 + 9,
        r"standard: 2 channels, each as (x - mean) / std, std ",
    ),
    "points of order 1": (POINTS, None),
    "points in 0 to 1": (RANDOM.uniform(size=(60, 3)), None),
    "wide points": (POINTS * 50, "standard: 3 columns, each as (x - mean) / std, std "),
    "unequal columns": (POINTS * [1, 12, 0.5], "standard: 3 columns, each as"),
    "a narrow column": (POINTS * [0.01, 0.05, 0.05], "standard: 3 columns, each as"),
    "a far column": (POINTS + np.array([0, 1e6, 0]), "standard: 3 columns, each as"),
    "a constant column": (POINTS * [50, 0, 50] + 7, "; 1 column constant, learned as 0"),
    "a large constant column": (POINTS * [1, 0, 1] + [0, 500, 0], "; 1 column constant, learned"),
    "a constant column that fits": (POINTS * [1, 0, 1] + 7, None),
    "signals": (RANDOM.normal(size=(60, 2, 5)) * 99, "standard: 2 channels, each as"),
}


@pytest.mark.parametrize("kind", AUTO)
def test_units_are_chosen_by_the_stated_rule_and_said(kind):
    x, said = AUTO[kind]
    d = as_dataset(x)
    assert said in str(d.scaling) if said else d.scaling is None
    rows = {row.tobytes() for row in np.asarray(x, np.float32).reshape(60, -1)}
    if d.scaling is None:
        assert {row.numpy().tobytes() for row in whole(d).flatten(1)} == rows
        return
    u, back = whole(d), data_units(whole(d), d.scaling).flatten(1)
    order = np.lexsort(back.numpy().T), np.lexsort(x.reshape(60, -1).astype(np.float32).T)
    gap = np.abs(back.numpy()[order[0]] - x.reshape(60, -1)[order[1]]).max()
    assert gap <= 1e-5 * np.abs(x).max()
    assert u.abs().max() < 20
    if d.scaling.kind == "pixels":
        assert -1 <= u.min() < -0.9 and 0.9 < u.max() <= 1


def test_a_standard_scale_is_that_of_the_training_rows():
    x = POINTS * [1, 100, 3] + [5, 0, -2]
    d = as_dataset(x, scale="standard")
    assert torch.allclose(d.train.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(d.train.std(0, correction=0), torch.ones(3), atol=1e-6)
    images = as_dataset(GRAY.repeat(3, 1) * np.array([1, 9, 3]).reshape(3, 1, 1), scale="standard")
    assert images.scaling.width.shape == (3, 1, 1)
    assert torch.allclose(images.train.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-6)
    several = as_dataset(GRAY.astype(np.uint8), scale="standard").train
    assert float(several[:].mean()) == pytest.approx(0, abs=1e-5)


def test_a_standard_scale_does_not_depend_on_the_pieces(monkeypatch):
    x = np.sort(RANDOM.normal(size=(60, 3)), axis=0) * 1e-3 + 1e3
    one = as_dataset(x)
    monkeypatch.setattr("diffode.data.units.CHUNK", 21)
    two = as_dataset(x)
    assert torch.allclose(one.scaling.width, two.scaling.width, rtol=1e-9)
    assert torch.allclose(one.scaling.shift, two.scaling.shift, rtol=1e-12)


def test_numbers_stay_as_they_are_where_that_is_asked_for():
    for x in (GRAY.astype(np.uint8), GRAY / 255, POINTS * 50):
        d = as_dataset(x, scale="none")
        assert d.scaling is None and float(whole(d).max()) == pytest.approx(x.max())
    half = as_dataset(GRAY / 600, scale="pixels")
    assert str(half.scaling) == "pixels: 0 ... 1 as -1 ... 1"


@pytest.mark.parametrize("x", [POINTS, GRAY - 7.0, GRAY * 2.5, GRAY / 127.5 - 1])
def test_pixels_without_a_range_are_refused(x):
    with pytest.raises(ValueError, match=r"got scale='pixels' for values from \S+ to \S+; wanted"):
        as_dataset(x, scale="pixels")


def test_sets_whose_law_is_known_keep_their_units():
    for name in ("moons", "digits"):
        with pytest.raises(ValueError, match=f"got scale='standard' for {name}; it has none"):
            load(name, scale="standard")
    with pytest.raises(ValueError, match="scale"):
        as_dataset(POINTS, scale="unit")


def test_a_mean_far_away_loses_no_digits():
    x = RANDOM.normal(size=(60, 1)) + 1e9
    d = as_dataset(x)
    kept = torch.sort(whole(d).double() * d.scaling.width + d.scaling.shift, 0).values
    assert np.abs(kept.numpy() - np.sort(x, 0)).max() < 1e-6


def test_samples_far_from_zero_come_back_without_rounding():
    times = 1.7e9 + RANDOM.normal(size=(60, 2))
    d = as_dataset(times)
    x = data_units(whole(d), d.scaling)
    assert x.dtype == torch.float64
    assert np.allclose(np.sort(x.numpy(), 0), np.sort(times, 0), rtol=0, atol=1e-5)
    assert in_units(whole(d), d.scaling, d.scaling).dtype == torch.float32
    assert in_units(whole(d), d.scaling, None).dtype == torch.float32
