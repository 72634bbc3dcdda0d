"""Data from memory: whatever holds the rows, they become what the same rows in a file become."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from diffode import Rng, fit
from diffode.bench.comparison import compare
from diffode.bench.config import BenchConfig
from diffode.cli.app import run as command
from diffode.data import as_dataset, load
from diffode.fields import VP, Empirical
from diffode.metrics.panel import Panel
from diffode.runs.plan import Plan
from diffode.runs.run import execute
from diffode.testing import check_field
from tests.runs import refused

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(60, 3)), np.arange(60) % 4
PIXELS = RANDOM.integers(0, 256, (60, 5, 4, 3), dtype=np.uint8)
SMALL = {"steps": 6, "batch": 16, "width": 8, "depth": 1, "device": "cpu", "save_every": 3}
Pair = namedtuple("Pair", "image label")


class Table:
    """What numpy can make an array of, as tables of other libraries are."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype or self.values.dtype)


class Gathered:
    """A data set with a length and samples by their number, and nothing else."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def equal(one, two):
    """Whether two data sets hold the same numbers in the same order."""
    names = ("train", "test", "train_labels", "test_labels")
    pairs = [(getattr(one, name), getattr(two, name)) for name in names]
    same = all(a is b if a is None or b is None else torch.equal(a[:], b[:]) for a, b in pairs)
    return same and one.classes == two.classes and one.event_shape == two.event_shape


tensor = torch.from_numpy
ALONE = {
    "array": X,
    "tensor": tensor(X),
    "with a gradient": tensor(X).requires_grad_(),
    "read-only": np.broadcast_to(X.astype(np.float32), X.shape),
    "nested lists": X.tolist(),
    "tuples of numbers": [tuple(row) for row in X.tolist()],
    "list of arrays": list(X),
    "list of tensors": list(tensor(X)),
    "a pair without labels": (X, None),
    "TensorDataset": TensorDataset(tensor(X)),
    "part of one": Subset(TensorDataset(tensor(X)), range(60)),
    "samples by number": Gathered(X),
    "table": Table(X),
}
LABELLED = {
    "arrays": (X, Y),
    "tensors": (tensor(X), tensor(Y)),
    "lists": (X.tolist(), Y.tolist()),
    "list of tensors": (list(tensor(X)), list(tensor(Y))),
    "small integers": (X, Y.astype(np.uint8)),
    "table": (Table(X), Table(Y)),
    "TensorDataset": TensorDataset(tensor(X), tensor(Y)),
    "part of one": Subset(TensorDataset(tensor(X), tensor(Y)), range(60)),
    "samples and labels": (Gathered(X), Y),
    "list of pairs": list(zip(X, Y.tolist(), strict=True)),
    "lists in pairs": list(zip(X.tolist(), Y.tolist(), strict=True)),
    "named pairs": Gathered([Pair(x, y) for x, y in zip(tensor(X), tensor(Y), strict=True)]),
}


@pytest.mark.parametrize("kind", ALONE)
def test_rows_in_memory_are_the_rows_of_a_file(tmp_path, kind):
    np.save(tmp_path / "x.npy", X)
    for seed in (0, 3):
        assert equal(as_dataset(ALONE[kind], seed=seed), load(tmp_path / "x.npy", seed))


@pytest.mark.parametrize("kind", LABELLED)
def test_labels_in_memory_are_the_labels_of_a_file(tmp_path, kind):
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    for seed in (0, 3):
        assert equal(as_dataset(LABELLED[kind], seed=seed), load(tmp_path / "x.npz", seed))


def test_images_in_memory_are_the_images_of_a_file(tmp_path):
    np.savez(tmp_path / "x.npz", x=PIXELS, y=Y)
    first = tensor(PIXELS).permute(0, 3, 1, 2)
    pairs = [Pair(image, int(y)) for image, y in zip(PIXELS, Y, strict=True)]
    for data in ((PIXELS, Y), (first, tensor(Y)), TensorDataset(first, tensor(Y)), pairs):
        assert equal(as_dataset(data), load(tmp_path / "x.npz"))
    halves = tensor(PIXELS[..., 0]).bfloat16()
    assert as_dataset(halves, layout="images").event_shape == (1, 5, 4)


def test_names_paths_and_data_sets_are_taken_as_they_are(tmp_path):
    np.save(tmp_path / "x.npy", X)
    moons = load("moons")
    assert as_dataset(moons) is moons
    assert equal(as_dataset("moons"), moons) and as_dataset("moons").source == "moons"
    for path in (tmp_path / "x.npy", str(tmp_path / "x.npy")):
        assert as_dataset(path).source == str(tmp_path / "x.npy")
    assert (as_dataset(X).name, as_dataset(X).source) == ("memory", None)
    assert as_dataset(X, "mine").name == "mine"


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


WANTED = r"wanted an array or a tensor \(M, \*event\), a pair \(x, labels\), a list or a map-style"
REFUSED = {
    "nothing": (None, "got data of type NoneType; " + WANTED),
    "a number": (3.5, "got data of type float; " + WANTED),
    "bytes": (b"moons", "got data of type bytes; " + WANTED),
    "view": (memoryview(np.zeros((20, 2))), "got data of type memoryview; " + WANTED),
    "a mapping": ({"x": X}, "got data of type dict; " + WANTED),
    "a set": (set(range(20)), "got data of type set; " + WANTED),
    "a generator": ((x for x in X), "got data of type generator; " + WANTED),
    "a stream": (Stream(), "got data of type Stream; " + WANTED),
    "batches": (DataLoader(TensorDataset(tensor(X))), "got data of type DataLoader; " + WANTED),
    "an empty list": ([], r"got 0 rows in an array of shape \(0,\)"),
    "few rows": (X[:9], "got 9 rows"),
    "words": (["a"] * 20, "got values of type <U1; wanted real numbers"),
    "records": (np.zeros(20, [("a", float)]), "got values of type .*; wanted real numbers"),
    "mappings": ([{"x": x} for x in X], r"a dictionary of \[.x.\]; wanted numbers x"),
    "a sparse tensor": (tensor(X).to_sparse(), "got numbers as Tensor that make no array"),
    "ragged lists": ((X, [[0], [0, 1]]), "got numbers as list that make no array"),
    "masked values": (np.ma.masked_less(X, 0), "got an array with masked values"),
    "not finite": (np.where(X > 2, np.nan, X), "NaN or infinite in float32"),
    "two shapes": ([*X, X[0, :2]], r"got samples of shape \(3,\) and, in row 60, \(2,\)"),
    "some labels": ([*zip(X, Y, strict=True), (X[0],)], "as row 60, without a label"),
    "three parts": ([(x, 0, 0) for x in X], "got a sample of 3 parts; wanted numbers x"),
    "a set of three": (TensorDataset(*[tensor(X)] * 3), "got a sample of 3 parts"),
    "two labels": ((TensorDataset(tensor(X), tensor(Y)), Y), "got labels twice"),
    "targets": ((X, X), r"got labels y of shape \(60, 3\) for 60 rows"),
    "targets of samples": (list(zip(X, X, strict=True)), r"got labels y of shape \(60, 3\)"),
    "fewer labels": ((X, Y[:-1]), r"got labels y of shape \(59,\) for 60 rows"),
    "fractions": ((X, Y / 2), "got labels y of type float64; wanted integers"),
    "no labels": (list(zip(X, [None] * 60, strict=True)), "got labels y of type object"),
    "negative labels": ((X, Y - 1), "got the negative label -1 in row 0"),
    "many classes": ((X, Y + 57), "got the label 60 for 60 rows, more classes than rows"),
    "a printed array": (str(X), "no data set named"),
    "a long text": ("x" * 5000, "no data set named"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_data_is_refused_in_one_line(tmp_path, kind):
    data, message = REFUSED[kind]
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        fit("edm", data, out=tmp_path / "run", **SMALL)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert not (tmp_path / "run").exists()


# -------------------------------------------------------------------------------------- in use


def test_training_on_arrays_is_training_on_their_file(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    runs = [
        fit("edm", data, labels=True, **SMALL)
        for data in (tmp_path / "x.npz", (X, Y), TensorDataset(tensor(X), tensor(Y)))
    ]
    assert runs[0].losses == runs[1].losses == runs[2].losses
    assert [run.plan.source for run in runs[1:]] == ["memory", "memory"]
    with pytest.raises(ValueError, match="data set 'memory' has no labels"):
        fit("edm", X, labels=True, **SMALL)


def test_a_run_on_arrays_goes_on_with_the_arrays_or_their_file(tmp_path, capsys):
    out, file = tmp_path / "run", tmp_path / "x.npz"
    fit("edm", (X, Y), out=out, watch=lambda state: state.step == 3, **SMALL)
    plan = Plan.read(out)
    assert (plan.data, plan.source) == ("memory", "memory")
    assert "give the data anew: in Python" in refused(capsys, "train", "--resume", out)
    with pytest.raises(ValueError, match=r"memory is not the data .*: its values changed"):
        execute(plan, (X + 1, Y), out=out, resume=True)
    np.savez(file, x=X, y=Y)
    assert len(execute(plan, (X, Y), out=out, resume=True).losses) == 3
    assert Plan.read(out).source == "memory"
    line = ["train", "--resume", str(out), "--data", str(file), "--samples", "20"]
    assert command(line) == 0
    assert Plan.read(out).source == str(file)


def test_a_plan_says_where_data_in_memory_go():
    with pytest.raises(TypeError, match=r"got data of type ndarray; .* execute\(plan, data\)"):
        Plan.make("edm", X)


def test_a_comparison_takes_data_in_memory(tmp_path):
    x = Rng(0).normal("x", (400, 2))
    config = BenchConfig(
        fields=["edm"], data=["mine"], solvers=["default"], nfe=[4], seeds=[0], samples=50,
        device="cpu", train={"steps": 3, "batch": 16, "width": 8, "depth": 1},
    )  # fmt: skip
    results = compare(config, tmp_path, data={"mine": x})
    assert results.cells[0]["data"] == "mine"
    with pytest.raises(ValueError, match=r"got data for \['other'\]; the sets compared are"):
        compare(config, tmp_path, data={"other": x})
    with pytest.raises(ValueError, match="no data set named 'mine'"):
        compare(config, tmp_path)


def test_measures_and_checks_take_data_in_memory():
    x = Rng(0).normal("x", (500, 2))
    assert torch.equal(Panel(x, 50).reference, Panel(as_dataset(x), 50).reference)
    field = Empirical(x.double(), VP())
    assert "velocity" in check_field(field, TensorDataset(x, torch.zeros(500).long()))
    with pytest.raises(ValueError, match=r"got data of shape \(60, 3\); this field moves points"):
        check_field(field, (X, Y))


# ------------------------------------------------------------------------------------ sources

SOURCES = """
import numpy as np
from torch import arange
from torch.utils.data import TensorDataset

def pair(seed=0):
    return np.random.default_rng(seed).normal(size=(60, 2)), np.arange(60) % 4

table = TensorDataset(arange(60.0)[:, None])

def number(seed=0):
    return 3
"""


def test_a_source_of_ones_own_gives_what_is_data_in_memory(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SOURCES)
    d = load("mine.py:pair", seed=3)
    rows = np.random.default_rng(3).normal(size=(60, 2))
    assert equal(d, as_dataset((rows, Y), seed=3)) and d.name == "mine.py:pair"
    assert d.source == f"{tmp_path}/mine.py:pair"
    assert load("mine.py:table").event_shape == (1,)
    assert command(["data", "mine.py:pair"]) == 0
    first, values, classes = capsys.readouterr().out.splitlines()
    assert first == repr(d) and values.startswith("train points from -")
    trained = load("mine.py:pair").train_labels  # of the usual seed, as the command's
    counts = [int((trained == k).sum()) for k in range(4)]
    assert classes == f"train points of each class: {', '.join(map(str, counts))}"
    message = refused(capsys, "data", "mine.py:number")
    assert "the data set 'mine.py:number': got data of type int; wanted an array" in message


def test_what_a_named_set_holds_is_said(capsys):
    assert command(["data", "digits"]) == 0
    first, values, classes = capsys.readouterr().out.splitlines()
    assert first == repr(load("digits"))
    assert values.startswith("train points from -1 to 1, std ")
    assert sum(map(int, classes.partition(": ")[2].split(", "))) == len(load("digits").train)
    assert "no data set named 'dogs'" in refused(capsys, "data", "dogs")


def test_a_number_held_as_a_tensor_has_its_label_beside_it():
    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, k):
            return torch.tensor(k / 10), k % 2

    d = as_dataset(Numbers())
    assert d.event_shape == (1,) and d.classes == 2
    assert as_dataset([(k / 10, k % 2) for k in range(40)]).event_shape == (2,)


def test_dictionaries_and_labels_beyond_int64_are_refused_in_words():
    with pytest.raises(
        TypeError, match=r"a dictionary of \['x', 'y'\]; wanted numbers x, or a pair"
    ):
        as_dataset([{"x": x, "y": 0} for x in X])
    with pytest.raises(ValueError, match="got the label 9223372036854775809 for 60 rows"):
        as_dataset((X, np.full(60, 2**63 + 1, np.uint64)))
