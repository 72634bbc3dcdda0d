"""Images in IDX files: read as they were written, found where they are, refused when damaged."""

import gzip
import struct

import numpy as np
import pytest
import torch

from diffode import data
from diffode.data import idx
from diffode.rng import Rng


def encoded(array):
    """The bytes of an IDX file of unsigned bytes."""
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes((0, 0, 8, array.ndim)) + shape + array.tobytes()


def arrays(rows):
    pixels = (Rng(rows).uniform("pixels", (rows, 3, 5)) * 256).to(torch.uint8).numpy()
    return pixels, np.arange(rows, dtype=np.uint8) % 4


@pytest.fixture
def folder(tmp_path):
    """A set of 12 training and 4 test images, half of its files gzipped."""
    place = tmp_path / "sets" / "fashion-mnist"
    place.mkdir(parents=True)
    for part, rows in (("train", 12), ("t10k", 4)):
        pixels, labels = arrays(rows)
        (place / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(encoded(pixels)))
        (place / f"{part}-labels-idx1-ubyte").write_bytes(encoded(labels))
    return place


def test_images_come_back_as_they_were_written(folder):
    d = data.load(folder)
    assert d.name == "fashion-mnist" and d.classes == 4 and d.event_shape == (1, 3, 5)
    for split, labels, rows in ((d.train, d.train_labels, 12), (d.test, d.test_labels, 4)):
        images = split[:]
        pixels, known = arrays(rows)
        assert torch.equal(((images[:, 0] + 1) * 127.5).round().byte(), torch.from_numpy(pixels))
        assert labels.tolist() == known.tolist()
        assert images.min() >= -1 and images.max() <= 1


def test_a_named_set_is_found_in_the_folder_of_the_environment(folder, monkeypatch):
    monkeypatch.setenv("DIFFODE_DATA", str(folder.parent))
    assert len(data.load("fashion-mnist").train) == 12


def test_a_named_set_that_is_nowhere_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFODE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(idx, "_SYSTEM", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Debian package dataset-fashion-mnist, or put"):
        data.load("fashion-mnist")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("t10k-labels-idx1-ubyte", None, "has no t10k-labels-idx1-ubyte and no"),
        ("train-images-idx3-ubyte.gz", b"no gzip", "get the file anew"),
        ("train-labels-idx1-ubyte", b"", "not an IDX file of unsigned bytes with 1 axes"),
        ("train-labels-idx1-ubyte", bytes((0, 0, 8, 1, 0, 0, 0)), "not an IDX file"),
        ("train-labels-idx1-ubyte", encoded(np.zeros((12, 1), np.uint8)), "with 1 axes"),
        ("train-labels-idx1-ubyte", bytes((0, 0, 13, 1, 0, 0, 0, 1)) + bytes(4), "not an IDX"),
        ("train-labels-idx1-ubyte", encoded(np.zeros(12, np.uint8))[:-1], "got 11 bytes for"),
        ("train-labels-idx1-ubyte", encoded(np.zeros(11, np.uint8)), "one label per image"),
    ],
    ids=["missing", "no gzip", "empty", "cut header", "axes", "floats", "short", "counts"],
)
def test_a_damaged_set_is_refused(folder, file, content, said):
    path = folder / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        data.load(folder)
