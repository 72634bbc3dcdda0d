"""Arrays in files whose rows stay there, with what belongs to them: labels, names, a split."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

from diffode import fit
from diffode.data import arrays, as_dataset, load, memory
from diffode.data.filerows import FileRows
from diffode.data.npy import places

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (60, 3, 5, 4), dtype=np.uint8)
Y = np.arange(60) % 4


@pytest.fixture(autouse=True)
def _by_row(monkeypatch):
    monkeypatch.setattr(arrays, "BY_ROW", 1000)


def saved(path, name, x, **others):
    """A file of an array: a .npy, or a .npz as it is or packed."""
    if name.endswith("npy"):
        np.save(path / name, x)
    else:
        (np.savez_compressed if name.startswith("packed") else np.savez)(
            path / name, x=x, **others
        )
    return path / name


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("kind", ["u1", "f4", ">f4", "f8", "f2", "i8", "u2", "last"])
def test_rows_of_a_file_are_the_rows_in_memory(tmp_path, name, kind):
    last = kind == "last"
    x = PIXELS.transpose(0, 2, 3, 1).copy() if last else PIXELS.astype(kind)
    d, known = load(saved(tmp_path, name, x)), as_dataset(x)
    assert isinstance(d.train.rows.rows, FileRows)
    for one, two in ((d.train, known.train), (d.test, known.test)):
        assert torch.equal(one[:], two[:])
        index = torch.tensor([3, 1, 1, 4, 5, 0])
        assert torch.equal(one[index], two[index])
        assert one[torch.tensor([], dtype=torch.int64)].shape == (0, 3, 5, 4)
    again = pickle.loads(pickle.dumps(d.train))
    assert torch.equal(again[5:9], d.train[5:9])


def test_a_training_on_a_file_is_that_on_the_same_rows_in_memory(tmp_path):
    path = saved(tmp_path, "x.npz", PIXELS, y=Y)
    options = {"steps": 3, "batch": 16, "network": "mlp", "width": 8, "device": "cpu"}
    one, two = (fit("edm", data, labels=True, **options) for data in (path, (PIXELS, Y)))
    assert one.losses == two.losses


def test_a_file_that_changes_is_refused_in_a_line(tmp_path):
    path = saved(tmp_path, "x.npy", PIXELS)
    rows = load(path).train
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match=r"x\.npy changed after it was opened; wait"):
        rows[:3]
    path.unlink()
    with pytest.raises(ValueError, match=r"x\.npy: its rows can no longer be read: No such file"):
        rows[:3]


def test_arrays_that_must_be_held_whole_have_a_limit(tmp_path, monkeypatch):
    by_columns = np.asfortranarray(PIXELS.reshape(60, 60))
    assert np.array_equal(
        np.sort(load(saved(tmp_path, "f.npy", by_columns)).test.rows.rows, 0),
        np.sort(by_columns, 0),
    )
    monkeypatch.setattr(arrays, "WHOLE", 2000)
    with pytest.raises(ValueError, match=r"got an array of 3,600 bytes that is stored column by"):
        load(tmp_path / "f.npy")
    path = saved(tmp_path, "packed.npz", PIXELS)
    with pytest.raises(ValueError, match=r"that is packed, .* save it with np\.save or np\.savez"):
        load(path)


def test_a_place_in_an_archive_is_where_the_numbers_are(tmp_path):
    path = saved(tmp_path, "x.npz", PIXELS, y=Y)
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("x.npy").compress_type == zipfile.ZIP_STORED
    for name, place in places(path).items():
        content = path.read_bytes()[place.begin : place.begin + place.size]
        known = {"x": PIXELS, "y": Y}[name]
        assert content == known.tobytes() and place.shape == known.shape


def test_values_that_are_not_finite_are_found_in_a_file(tmp_path):
    x = RANDOM.normal(size=(60, 40))
    x[[7, 31], 3] = np.nan
    with pytest.raises(ValueError, match=r"got 2 values .* the first in row 7; wanted finite"):
        load(saved(tmp_path, "x.npy", x))


# ------------------------------------------------------------------- labels, names and splits


def test_a_file_states_its_own_split_and_the_names_of_its_classes(tmp_path):
    names, others = np.array(["cat", "dog", "eel", "fox"]), PIXELS[:7][:, ::-1].copy()
    path = saved(tmp_path, "x.npz", PIXELS, y=Y, x_test=others, y_test=Y[:7], classes=names)
    d = load(path)
    assert (len(d.train), len(d.test), d.classes) == (60, 7, 4)
    assert torch.equal(d.test[:], torch.from_numpy(others) / 127.5 - 1)
    assert d.test_labels.tolist() == Y[:7].tolist() and d.train_labels.tolist() == Y.tolist()
    assert d.class_names == ("cat", "dog", "eel", "fox")


def test_labels_may_be_texts(tmp_path):
    texts = np.array(["b", "a", "c", "a"])[Y]
    d = as_dataset((PIXELS, texts))
    assert d.class_names == ("a", "b", "c")
    assert [d.class_names[k] for k in d.train_labels] == texts[d.train.index].tolist()
    path = saved(tmp_path, "x.npz", PIXELS, y=texts, classes=np.array(["c", "b", "a", "z"]))
    assert load(path).class_names == ("c", "b", "a", "z")


X = RANDOM.normal(size=(60, 3))
ODD = {
    "another shape": (
        {"x_test": X[:, :2]},
        r"got x of float64 .* wanted floats in both .* and rows of",
    ),
    "another type": ({"x_test": X.astype("i4")}, r"got x of float64 .* with x_test of int32"),
    "no rows": ({"x_test": X[:0]}, "wanted floats in both"),
    "not finite": ({"x_test": X[:9] * np.inf}, "got 27 values that are NaN or infinite"),
    "labels alone": ({"y_test": Y}, "got labels y_test without x_test"),
    "names alone": ({"classes": np.array(["a"])}, "got y_test or classes without labels y"),
    "few names": ({"y": Y, "classes": np.array(["a", "b"])}, "got the label 3 for 2 names of"),
    "equal names": ({"y": Y, "classes": np.array(["a"] * 4)}, "wanted texts"),
    "numbers as names": ({"y": Y, "classes": np.arange(4)}, "got names of classes of shape"),
    "an unknown text": (
        {"y": np.array(["a", "q"])[Y % 2], "classes": np.array(["a", "b"])},
        "got the label 'q', which is none of the classes",
    ),
    "labels of two kinds": (
        {"x_test": X, "y": np.array(["a", "b"])[Y % 2], "y_test": Y},
        "got labels y of type <U1 and y_test of type int64; wanted both",
    ),
    "few test labels": (
        {"x_test": X, "y": Y, "y_test": Y[:5]},
        r"labels y of shape \(5,\)",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_parts_that_do_not_fit_are_refused_in_a_line(tmp_path, kind):
    others, message = ODD[kind]
    with pytest.raises(ValueError, match=r"x\.npz: .*" + message) as caught:
        load(saved(tmp_path, "x.npz", X, **others))
    assert "\n" not in str(caught.value)


def test_a_large_map_of_a_file_is_read_from_the_file(tmp_path, monkeypatch):
    """Its rows are not held, and pickle sends a worker their place alone."""
    monkeypatch.setattr(memory, "BY_ROW", 1000)
    x = RANDOM.normal(size=(400, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    found = as_dataset(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert isinstance(found.train.rows.rows, FileRows)
    assert len(pickle.dumps(found.train)) < x.nbytes / 10
    held = as_dataset(x)
    assert torch.equal(found.train[:], held.train[:]) and torch.equal(found.test[:], held.test[:])


def test_what_is_no_whole_map_as_it_stands_is_taken_as_an_array(tmp_path, monkeypatch):
    """A part of a map has other rows than the file, and a map that is written to other values."""
    monkeypatch.setattr(memory, "BY_ROW", 1000)
    np.save(tmp_path / "x.npy", RANDOM.normal(size=(400, 8)))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")
    changed[:] = 2 * changed
    for part in (mapped[100:], mapped[::2], mapped[:, :3], mapped.reshape(800, 4), changed):
        found, held = as_dataset(part), as_dataset(np.array(part))
        assert torch.equal(found.train[:], held.train[:])
