"""Tables of columns: read as they are, in units of their own, or refused by line and column."""

import numpy as np
import pytest
import torch

from diffode import sample
from diffode.cli.app import run as command
from diffode.data import load
from diffode.data.scaling import data_units
from diffode.runs.loading import load as load_run
from tests.runs import refused

LINES = [f"{'oak' if k % 3 else 'elm'},{100 + 9 * k},{k % 7 / 100},{k % 2}" for k in range(60)]
HEAD = "species,height,girth,kind"


def saved(path, *lines, name="trees.csv"):
    (path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path / name


def test_columns_are_learned_each_in_its_own_units(tmp_path):
    d = load(saved(tmp_path, HEAD, *LINES), label="species")
    assert d.event_shape == (3,) and d.class_names == ("elm", "oak")
    assert d.notes == ("columns: height, girth, kind",) and d.scaling.kind == "standard"
    x = torch.cat((data_units(d.train, d.scaling), data_units(d.test, d.scaling)))
    known = np.array([[float(cell) for cell in line.split(",")[1:]] for line in LINES])
    order = x[:, 0].argsort()
    assert np.abs(x[order].numpy() - known).max() < 1e-3
    names = [d.class_names[k] for k in torch.cat((d.train_labels, d.test_labels))[order]]
    assert names == [line.split(",")[0] for line in LINES]


def test_some_columns_are_taken_in_the_order_that_is_given(tmp_path):
    path = saved(tmp_path, HEAD, *LINES)
    d = load(path, columns=("kind", "girth"))
    assert d.event_shape == (2,) and d.notes == ("columns: kind, girth",)
    assert load(path).notes[1] == "left out, as they hold no numbers: species"
    assert load(path, label="kind", columns=("girth",)).classes == 2
    semicolons = [line.replace(",", ";") for line in (HEAD, *LINES)]
    assert torch.equal(load(saved(tmp_path, *semicolons, name="b.csv")).train, load(path).train)


FULL = [HEAD, *LINES]
ODD = {
    "a text among numbers": (
        [HEAD, *LINES[:5], "oak,tall,1,2"],
        {},
        r"line 7, column 'height'",
    ),
    "an empty cell": (
        [*FULL, "oak,,1,2"],
        {},
        r"line 62, column 'height': got ''",
    ),
    "a missing value": ([*FULL, "oak,nan,1,2"], {}, r"line 62, column 'height': got 'nan'"),
    "a short line": ([*FULL, "oak,1,2"], {}, r"line 62 has 3 cells; wanted 4"),
    "a column that is none": (
        [HEAD, *LINES],
        {"columns": ("hight",)},
        r"no column 'hight'; did you",
    ),
    "a label that is none": (FULL, {"label": "sort"}, r"has no column 'sort'"),
    "a text column": (
        [HEAD, *LINES],
        {"columns": ("species",)},
        r"line 2, column 'species'",
    ),
    "two of one name": (["a,a", *["1,2"] * 20], {}, r"got two columns named 'a'"),
    "a column twice": (FULL, {"columns": ("girth",) * 2}, r"each once"),
    "the label learned": (
        [HEAD, *LINES],
        {"columns": ("kind",), "label": "kind"},
        "not among them",
    ),
    "no names": (
        LINES and ["1,2", *["1,2"] * 20],
        {},
        r"got '1,2' as its first line",
    ),
    "one row": ([HEAD, LINES[0]], {}, r"got 1 row in"),
    "names alone": ([HEAD], {}, r"wanted one or more columns of numbers"),
    "nothing": ([""], {}, r"wanted the names of the columns"),
    "another option": (
        [HEAD, *LINES],
        {"grey": True},
        r"got grey=True for trees.csv; it has",
    ),
    "an empty label": (
        [*FULL, ",1,2,3"],
        {"label": "species"},
        "row 60: the label is empty",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_tables_that_cannot_be_learned_are_refused_in_a_line(tmp_path, kind):
    lines, reading, message = ODD[kind]
    with pytest.raises(ValueError, match=r"trees\.csv: .*" + message) as caught:
        load(saved(tmp_path, *lines), **reading)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "trees.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"trees\.csv: it is not a text in UTF-8"):
        load(tmp_path / "trees.csv")


def test_a_parquet_table_is_the_same_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [line.split(",") for line in LINES]
    columns = {
        "species": [row[0] for row in rows],
        **{n: [float(row[k]) for row in rows] for k, n in ((1, "height"), (2, "girth"))},
        "kind": [int(row[3]) for row in rows],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "trees.parquet")
    one = load(tmp_path / "trees.parquet", label="species")
    two = load(saved(tmp_path, HEAD, *LINES), label="species")
    assert torch.equal(one.train, two.train) and one.class_names == two.class_names
    with pytest.raises(ValueError, match=r"column 'species' holds string; wanted numbers"):
        load(tmp_path / "trees.parquet", columns=("species",))
    columns["height"][7] = None
    parquet.write_table(pyarrow.table(columns), tmp_path / "trees.parquet")
    with pytest.raises(ValueError, match=r"row 7, column 'height': got None; wanted a number"):
        load(tmp_path / "trees.parquet")


def test_a_table_is_shown_trained_on_and_sampled_by_the_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, HEAD, *LINES, LINES[0])
    reading = ["--columns", "height,girth", "--label-column", "species"]
    assert command(["data", "trees.csv", *reading, "--out", "rows.png"]) == 0
    said = capsys.readouterr().out
    assert "columns: height, girth" in said and "elm " in said and "wrote rows.png" in said
    assert "learned as standard: 2 columns, each as (x - mean) / std, std 0.0" in said
    small = "--steps 2 --set width=8 --set depth=1 --samples 20 --device cpu --labels"
    line = ["train", "edm", "trees.csv", *reading, *small.split(), "--out", "run"]
    assert command(line) == 0
    assert "trees.csv: learned as standard: 2 columns" in capsys.readouterr().err
    field = load_run("run").field
    assert sample(field, 4, steps=2, y=[0] * 4).x.shape == (4, 2)
    assert np.load("run/samples.npz")["x"][:, 0].mean() > 50
    message = refused(capsys, "data", "trees.csv", "--scale", "unit")
    assert "scale" in message


@pytest.mark.parametrize("kind", ["numbers", "images"])
def test_a_damaged_page_of_a_parquet_file_is_said_in_one_line(tmp_path, kind):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"a": [k % 7 / 3 for k in range(40)], "b": [k % 5 for k in range(40)]}
    columns = columns if kind == "numbers" else {"image": [b"%d" % k * 9 for k in range(40)]}
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    data = path.read_bytes()
    for place in range(4, 120):  # pages stand first, what says where they are last
        path.write_bytes(data[:place] + bytes(4) + data[place + 4 :])
        with pytest.raises(ValueError) as caught:
            load(path)
            raise ValueError("numbers of other values")
        assert "\n" not in str(caught.value)
    path.write_bytes(data[:4] + b"\xff" * 40 + data[44:])
    with pytest.raises(ValueError, match=r"x\.parquet' is damaged: "):
        load(path)
