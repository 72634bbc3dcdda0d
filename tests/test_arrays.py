"""Your own arrays: shapes that are taken, files that are refused in one line."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from diffode import data
from diffode.data import arrays
from diffode.data.scaling import data_units

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.normal(size=(50, 3))
PIXELS = RANDOM.integers(0, 256, (50, 3, 5, 4), dtype=np.uint8)


def stored(path, array, **others):
    """The path of a new file that holds the array."""
    path = path / ("data.npz" if others else "data.npy")
    np.savez(path, x=array, **others) if others else np.save(path, array)
    return path


def both(d):
    """All rows of a data set in the units that were given, train first."""
    x = torch.cat((d.train[:], d.test[:]))
    return data_units(x, d.scaling)


def test_points_are_split_nine_to_one_and_left_as_they_are(tmp_path):
    path = stored(tmp_path, POINTS)
    d, same, other = data.load(path, seed=2), data.load(str(path), seed=2), data.load(path, seed=3)
    assert (d.name, len(d.train), len(d.test), d.event_shape) == ("data.npy", 45, 5, (3,))
    assert torch.equal(both(d).sort(0).values, torch.from_numpy(POINTS).float().sort(0).values)
    assert torch.equal(d.test, same.test) and not torch.equal(d.test, other.test)
    assert d.train_labels is None and d.log_density is None
    assert len(data.load(stored(tmp_path, POINTS[:10])).test) == 2


def test_labels_follow_their_rows(tmp_path):
    y = np.arange(50) % 4
    for x in (np.stack((y, np.arange(50.0)), axis=1), y[:, None] * 10):
        d = data.load(stored(tmp_path, x, y=y.astype(np.uint8)))
        factor = 1 if x.shape[1] == 2 else 10
        labels = torch.cat((d.train_labels, d.test_labels))
        assert torch.equal(both(d)[:, 0].round(), factor * labels.float())
        assert d.classes == 4


@pytest.mark.parametrize(
    ("array", "event"),
    [
        (PIXELS, (3, 5, 4)),
        (PIXELS.transpose(0, 2, 3, 1), (3, 5, 4)),
        (PIXELS[:, :1], (1, 5, 4)),
        (PIXELS[:, 0], (1, 5, 4)),
        (PIXELS[:, 0, :, :, None], (1, 5, 4)),
    ],
    ids=["NCHW", "NHWC", "N1HW", "NHW", "NHW1"],
)
def test_bytes_become_images_in_minus_one_to_one(tmp_path, array, event):
    d = data.load(stored(tmp_path, array))
    assert d.event_shape == event
    pixels = both(d).round().long()
    rows = {tuple(row.flatten().tolist()) for row in pixels}
    assert rows == {tuple(row.flatten().tolist()) for row in PIXELS[:, : event[0]]}
    learned = torch.cat((d.train[:], d.test[:]))
    assert learned.min() == -1 and learned.max() == 1


def test_the_only_array_of_an_archive_is_the_data(tmp_path):
    np.savez(tmp_path / "a.npz", samples=POINTS, y=np.zeros(50, int))
    d = data.load(tmp_path / "a.npz")
    assert d.event_shape == (3,) and d.classes == 1
    np.savez(tmp_path / "b.npz", x=POINTS, note=np.array([{}], dtype=object))
    assert data.load(tmp_path / "b.npz").event_shape == (3,)  # what is not needed is not opened
    np.savez(tmp_path / "c.npz", a=POINTS, b=POINTS)
    with pytest.raises(ValueError, match=r"c\.npz: got arrays named \['a', 'b'\]; wanted .* 'x'"):
        data.load(tmp_path / "c.npz")


def holed(value, *rows):
    """The points with a value put into some rows."""
    x = POINTS.copy()
    x[list(rows), 1] = value
    return x


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (holed(np.nan, 7, 9), r"got 2 values that are NaN or infinite .* the first in row 7;"),
        (holed(-np.inf, 49), r"got 1 values .* the first in row 49; wanted finite numbers"),
        (holed(1e300, 4), r"infinite in float32, the first in row 4;"),
        (np.zeros((10, 1, 1, 2, 2)), r"got an array of shape \(10, 1, 1, 2, 2\)"),
        (np.array(1.0), r"got an array of shape \(\)"),
        (POINTS[:9], r"got 9 rows in an array of shape \(9, 3\); wanted at least 10"),
        (POINTS[:0], r"got 0 rows"),
        (POINTS[:, :0], r"got 50 rows in an array of shape \(50, 0\); .* none empty"),
        (np.ones((50, 2)), r"rows that are all equal \(std 0\)"),
        (POINTS[:1].repeat(20, axis=0), r"rows that are all equal"),
        (POINTS.astype(complex), r"values of type complex128; wanted real numbers"),
        (POINTS.astype(str), r"values of type <U\d+; wanted real numbers"),
        (POINTS > 0, r"values of type bool; wanted real numbers"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused(tmp_path, array, message):
    with pytest.raises(ValueError, match=r"data\.npy: .*" + message) as caught:
        data.load(stored(tmp_path, array))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(49, int), r"labels y of shape \(49,\) for 50 rows; wanted shape \(50,\)"),
        (np.zeros((50, 1), int), r"labels y of shape \(50, 1\)"),
        (np.zeros(50), r"labels y of type float64; wanted integers"),
        (np.array(["cat"] * 49), r"labels y of shape \(49,\) for 50 rows"),
        (np.arange(50) - 1, r"negative label -1 in row 0; wanted integers"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, y, message):
    with pytest.raises(ValueError, match=r"data\.npz: got .*" + message) as caught:
        data.load(stored(tmp_path, POINTS, y=y))
    assert "\n" not in str(caught.value)


class Trap:
    """An object that leaves a trace when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["array.npy", "archive.npz", "labels.npz", "pickle.npy"])
def test_pickled_objects_are_never_opened(tmp_path, kind):
    path, trace = tmp_path / kind, tmp_path / "trace"
    objects = np.array([Trap(trace)], dtype=object)
    if kind == "array.npy":
        np.save(path, objects)
    elif kind == "archive.npz":
        np.savez(path, x=objects)
    elif kind == "labels.npz":
        np.savez(path, x=POINTS, y=objects)
    else:
        path.write_bytes(pickle.dumps(objects))
    with pytest.raises(ValueError, match=f"{kind}: numpy cannot read this .* are not opened"):
        data.load(path)
    assert not trace.exists()


def test_files_that_are_no_arrays_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npy: no such file; give the path"):
        data.load(tmp_path / "none.npy")
    whole = stored(tmp_path, POINTS, y=np.zeros(50, int)).read_bytes()
    open_bracket = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': (".ljust(118)
    contents = (b"", b"a,b\n1,2\n", whole[:400], b"PK\x03\x04" + bytes(40), open_bracket)
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{number}.npz: numpy cannot read this") as caught:
            data.load(path)
        assert "\n" not in str(caught.value)


def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path):
    path = stored(tmp_path, POINTS)
    assert torch.equal(
        data.load(path.rename(tmp_path / "p.npz")).test, arrays.dataset(tmp_path / "p.npz").test
    )


def test_bytes_of_images_stay_bytes_until_they_are_asked_for(tmp_path):
    d = data.load(stored(tmp_path, PIXELS))
    for split in (d.train, d.test):
        assert split.rows.dtype == np.uint8 and split.scaling is d.scaling
        assert torch.equal(split[:], torch.from_numpy(PIXELS[split.index]) / 127.5 - 1)
    assert str(d.scaling) == "pixels: 0 ... 255 as -1 ... 1"
    assert np.array_equal(d.scaling.to_data(d.test[:]).round().byte(), PIXELS[d.test.index])


@pytest.mark.parametrize(("x", "test"), [("f8", "f4"), ("f4", "f8"), ("f4", "f2"), ("i4", "i8")])
def test_rows_held_out_may_be_of_another_precision(tmp_path, x, test):
    rows = (50 * POINTS).round()
    found = data.load(stored(tmp_path, rows.astype(x), x_test=rows[:9].astype(test)))
    assert len(found.train) == 50 and len(found.test) == 9
    torch.testing.assert_close(found.test[:], found.train[:9])


@pytest.mark.parametrize("kind", ["f2", "f4", "u2", "i4"])
def test_the_order_of_bytes_is_no_matter(tmp_path, kind):
    images = RANDOM.integers(0, 256, (40, 3, 9, 9)) / 255
    images = (images * {"f": 1, "u": 65535, "i": 255}[kind[0]]).astype(kind)
    little = data.load(stored(tmp_path, images.astype(f"<{kind}")))
    big = data.load(stored(tmp_path, images.astype(f">{kind}")))
    assert little.scaling.kind == big.scaling.kind == "pixels"
    assert torch.equal(little.train[:], big.train[:])


def test_numbers_too_small_for_their_standard_deviation_are_refused():
    with pytest.raises(ValueError, match="a column whose standard deviation rounds to 0"):
        data.as_dataset(POINTS * 1e-200)
