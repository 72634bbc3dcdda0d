"""Files of arrays from elsewhere: read as numpy does, refused before they fill the memory."""

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from diffode import data
from diffode.data.npy import load_arrays
from tests.runs import refused

X = np.random.default_rng(0).normal(size=(40, 3))


def stored(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_numpy_reads_them(tmp_path, save):
    given = {
        "x": X,
        "f": np.asfortranarray(X.astype(">f4")),
        "none": np.empty((0, 3)),
        "one": np.array(2.0),
        "text": np.array(["a", "bc"]),
        "names": np.zeros(3, [("a", int), ("b", float)]),
        "bytes": np.arange(256, dtype=np.uint8).reshape(4, 8, 8),
    }
    save(tmp_path / "a.npz", **given)
    found = load_arrays(tmp_path / "a.npz")
    assert list(found) == list(given)
    for name, array in given.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    np.save(tmp_path / "b.npy", given["f"])
    np.testing.assert_array_equal(load_arrays(tmp_path / "b.npy")["x"], given["f"])
    assert list(load_arrays(tmp_path / "a.npz", lambda names: names[2:4])) == ["none", "one"]
    assert load_arrays(stored(tmp_path / "empty.npz")) == {}


def bomb(path, shape=(10**9 // 2, 2)):
    """A small file whose array would take 4 GB: its zeros, packed by repetition."""
    head = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", head.getvalue())
    raw = bytearray(path.read_bytes())
    size = struct.pack("<I", len(head.getvalue()) + 4 * shape[0] * shape[1])
    for sign, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):  # the two records state the size
        at = raw.index(sign) + place
        raw[at : at + 4] = size
    path.write_bytes(raw)
    return path


def test_what_would_unpack_to_far_more_is_not_unpacked(tmp_path):
    with pytest.raises(ValueError, match=r"would unpack from \d+ bytes to 4,000,000,128; wanted"):
        load_arrays(bomb(tmp_path / "a.npz"))
    zeros = np.zeros((10**6, 20), np.float32)  # real data may repeat themselves
    assert load_arrays(stored(tmp_path / "b.npz", x=zeros))["x"].shape == zeros.shape


def test_many_arrays_are_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for k in range(1001):
            archive.writestr(f"{k}.npy", b"")
    with pytest.raises(ValueError, match="got 1,001 arrays or more in one file; wanted 1,000"):
        load_arrays(tmp_path / "a.npz")


def test_a_name_list_is_quoted_in_short(tmp_path):
    path = stored(tmp_path / "a.npz", **{f"{k}{'x' * 999}": np.zeros(1) for k in range(300)})
    with pytest.raises(ValueError, match="wanted the data as 'x'") as caught:
        data.load(path)
    assert len(str(caught.value)) < 700


LYING = {
    "larger": ((10**12, 2), "x.npy"),
    "smaller": ((1, 2), "x.npy"),
    "negative": ((-1, 2), "x.npy"),
    "overflowing": ((2**62, 2**62), "x.npy"),
}


@pytest.mark.parametrize("packed", [True, False], ids=["npz", "npy"])
@pytest.mark.parametrize("kind", LYING)
def test_a_header_that_states_another_size_is_refused(tmp_path, kind, packed):
    shape, name = LYING[kind]
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117)
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text + b"\n" + X.tobytes()
    path = tmp_path / ("a.npz" if packed else "a.npy")
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"numpy cannot read this \(its header states the shape"):
        load_arrays(path)


def test_every_cut_and_every_flip_is_a_sentence(tmp_path):
    """A cut archive has no list; a flipped bit is found by its checksum or its form."""
    whole = stored(tmp_path / "a.npz", x=X, y=np.arange(40)).read_bytes()
    path = tmp_path / "b.npz"
    random = np.random.default_rng(1)
    for cut in random.integers(1, len(whole), 60):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="numpy cannot read this"):
            load_arrays(path)
    for place in random.integers(0, len(whole), 150):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(place % 8)
        path.write_bytes(flipped)
        try:
            found = load_arrays(path)
        except ValueError as error:
            assert str(error).startswith(("numpy cannot read this", "these arrays would", "got "))
        else:  # names, dates and the like
            kept = zip(found.values(), (X, np.arange(40)), strict=False)
            assert all(np.array_equal(v, w) for v, w in kept)


def test_pipes_and_folders_are_no_data(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    for name, kind in (("pipe.npz", "a pipe or a device"), ("folder.npz", "a folder")):
        with pytest.raises(ValueError, match=f"is {kind}; wanted an ordinary file"):
            data.load(tmp_path / name)


def test_labels_beyond_the_rows_are_refused(tmp_path):
    for y in (np.full(40, 40), np.arange(40) * 10**12):
        with pytest.raises(ValueError, match="more classes than rows"):
            data.load(stored(tmp_path / "a.npz", x=X, y=y))


def test_a_gzipped_bomb_of_images_is_not_unpacked(tmp_path):
    """Its memory is that of a process that reads nothing: 256 MB on top at most."""
    head = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2, 28, 28)
    parts = gzip.compress(head) + 19 * gzip.compress(bytes(2**26), 1)  # one after the other
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(parts)
    code = (
        "import resource, sys; from diffode.data import idx\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try: idx.dataset({str(tmp_path)!r})\n"
        "except ValueError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = said.stdout.splitlines()
    assert "got more than 1568 bytes for the shape (2, 28, 28)" in lines[0]
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(lines[1]) * unit < 2**28
    claimed = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**20, 2**10, 2**3)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(claimed))
    with pytest.raises(ValueError, match="would unpack from"):
        data.load(tmp_path)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_half_precision_keeps_the_gray_levels(tmp_path, low):
    gray = np.random.default_rng(2).integers(0, 256, (30, 1, 6, 6))
    width = 1 / 255 if low == 0 else 1 / 127.5
    exact = (gray * width + low).astype(np.float32)
    divided = gray.astype(np.float16) / np.float16(255 if low == 0 else 127.5) + np.float16(low)
    for x in (divided, exact.astype(np.float16)):
        np.save(tmp_path / "a.npy", x)
        d = data.load(tmp_path / "a.npy")
        found = np.concatenate((d.train, d.test))
        known = exact if d.scaling is None else d.scaling.to_model(torch.from_numpy(exact)).numpy()
        assert {v.tobytes() for v in found} == {v.tobytes() for v in known}
    other = (gray / 300).astype(np.float16)  # no such levels: as they are
    np.save(tmp_path / "a.npy", other)
    d = data.load(tmp_path / "a.npy")
    kept = {v.tobytes() for v in np.concatenate((d.train, d.test))}
    assert kept == {v.tobytes() for v in other.astype(np.float32)}


def test_a_damaged_q_is_refused_by_name(tmp_path, capsys, poisson):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 1, 8, 8), np.float32), q=np.array([{}], object))
    said = refused(capsys, "decode", poisson, tmp_path / "a.npz", "--out", tmp_path / "o.npz")
    assert "it holds objects" in said


@pytest.mark.slow
def test_memory_does_not_grow_with_what_is_read(tmp_path):
    """Statistics of 1 GB of float64 in pieces: the peak is that of a quarter of the rows."""
    code = (
        "import resource, sys; import numpy as np; from diffode import data\n"
        "from diffode.data.stats import data_stats\n"
        "def peak():\n"
        "    unit = 1 if sys.platform == 'darwin' else 1024\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit\n"
        "some = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 3), dtype=np.uint8)\n"
        "for rows in (3000, 12000):\n"
        f"    path = {str(tmp_path)!r} + f'/{{rows}}.npy'\n"
        "    with open(path, 'wb') as file:\n"
        "        np.lib.format.write_array_header_1_0(file, {'descr': '|u1',\n"
        "            'fortran_order': False, 'shape': (rows, 64, 64, 3)})\n"
        "        for _ in range(rows // 100): file.write(some.tobytes())\n"
        "    data_stats(data.load(path).train); print(peak())\n"
    )
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**25)}  # pieces lie on the heap of glibc
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    few, many = map(int, said.stdout.split())
    assert many - few < 64 * 2**20
