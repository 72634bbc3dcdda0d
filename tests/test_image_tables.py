"""Images in parquet files as the hub has them, and sets of the hub itself."""

import io
import json
import sys
import types

import numpy as np
import pytest
import torch

from diffode.cli.app import run
from diffode.data import load
from tests.pictures import folder, picture

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
NAMES = ["plane", "car", "bird"]


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def table(rows=20, labels=None, names=NAMES, seed=0, image="image", label="label", key="info"):
    """A table as the hub writes it: gray and RGB rows, images as {bytes, path}."""
    images = [
        {
            "bytes": encoded(picture(seed + k, (12, 10), "RGB" if k % 3 else "L")),
            "path": f"{k}.png",
        }
        for k in range(rows)
    ]
    labels = [k % 3 for k in range(rows)] if labels is None else labels
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    made = pa.table({image: pa.array(images, kind), label: labels})
    if names is None:
        return made
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    return made.replace_schema_metadata({"huggingface": json.dumps({key: {"features": features}})})


def test_a_file_of_the_hub_has_images_classes_and_their_names(tmp_path):
    pq.write_table(table(), tmp_path / "pets.parquet", row_group_size=7)
    found = load(tmp_path / "pets.parquet")
    assert found.event_shape == (3, 10, 12) and found.class_names == tuple(NAMES)
    assert len(found.train) == 18 and found.test_labels.shape == (2,)
    x = torch.cat((found.train[:], found.test[:]))
    first = torch.from_numpy(np.array(picture(1, (12, 10)))).permute(2, 0, 1) / 127.5 - 1
    assert bool(((x - first).abs().flatten(1).amax(1) < 1e-6).any())
    assert load(tmp_path / "pets.parquet", resize=8, grey=True).event_shape == (1, 8, 8)


@pytest.mark.parametrize(
    "layout", ["data/{}-00000-of-00001.parquet", "{}/0000.parquet", "{}.parquet"]
)
def test_splits_are_told_by_the_names_of_files(tmp_path, layout):
    for split, rows in (("train", 20), ("test", 6), ("validation", 5)):
        path = tmp_path / layout.format(split)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table(rows, seed=100 * rows), path)
    found = load(tmp_path)
    assert (len(found.train), len(found.test)) == (20, 6)
    assert found.test_labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_labels_may_be_texts_or_numbers_without_names(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(table(12, ["b", "a"] * 6, None), path)
    assert load(path).class_names == ("a", "b")
    pq.write_table(table(12, [2, 0] * 6, None), path)
    assert load(path).class_names == ("0", "1", "2")
    pq.write_table(table(12, [2, 0] * 6, None, label="kind"), path)
    assert load(path).classes is None
    assert load(path, label="kind").classes == 3
    pq.write_table(table(12, [-1, None] * 6, None), path)
    found = load(path)
    assert found.classes is None and "no classes: no row to train on has a label" in found.notes
    pq.write_table(table(12, key="other"), path)
    assert load(path).class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    "labels, options, said",
    [
        ([0.5] * 12, {}, "whole numbers"),
        ([3] * 12, {}, "has the label 3; there are 3"),
        ([0] * 12, {"label": "kind"}, "no column 'kind'"),
        ([0] * 12, {"columns": ("label",)}, "as the column of images"),
        ([0] * 12, {"columns": ("x", "y")}, "as the column of images"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, labels, options, said):
    pq.write_table(table(12, labels), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "a.parquet", **options)


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 3}', b'{"info": {"features": [1]}}'])
def test_metadata_that_are_damaged_are_no_metadata(tmp_path, metadata):
    made = table(12, names=None).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(made, tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").class_names == ("0", "1", "2")


def test_a_path_in_a_table_is_not_opened_and_rows_without_images_are_named(tmp_path):
    picture().save(tmp_path / "real.png")
    rows = table(40).to_pydict()["image"]
    rows[7] = {"bytes": None, "path": str(tmp_path / "real.png")}
    rows[9] = {"bytes": b"none", "path": None}
    rows[11] = None
    pq.write_table(pa.table({"image": rows, "label": [0, 1] * 20}), tmp_path / "a.parquet")
    with pytest.warns(UserWarning, match="left out 3 of 40 images: 'a.parquet, row 7' .no bytes"):
        found = load(tmp_path / "a.parquet")
    assert found.train_labels.bincount().sum() + len(found.test) == 37
    assert "row 9" in found.left_out[1]


@pytest.mark.parametrize("size", [0, 4, 300, 1500])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, capsys, size):
    pq.write_table(table(), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:size])
    assert run(["data", str(tmp_path / "a.parquet")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    (tmp_path / "a.parquet").write_bytes(content[:200] + bytes(400) + content[600:])
    assert run(["data", str(tmp_path / "a.parquet")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_file_and_a_missing_package_are_one_line(tmp_path, capsys, monkeypatch):
    assert run(["data", str(tmp_path / "gone.parquet")]) == 2
    assert "no such file" in capsys.readouterr().err
    pq.write_table(table(), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert run(["data", str(tmp_path / "a.parquet")]) == 2
    assert "pip install 'diffode[parquet]'" in capsys.readouterr().err


def test_a_table_too_large_to_hold_is_refused(tmp_path, monkeypatch):
    pq.write_table(table(), tmp_path / "a.parquet")
    monkeypatch.setattr("diffode.data.decoded.MOST", 1000)
    with pytest.raises(ValueError, match="--resize N"):
        load(tmp_path / "a.parquet")


def test_a_table_beside_images_does_not_hide_them(tmp_path):
    folder(tmp_path)
    pq.write_table(pa.table({"name": ["a"], "width": [3]}), tmp_path / "metadata.parquet")
    assert load(tmp_path).class_names == ("cat", "dog")


class FakeRows(list):
    """Rows of the package datasets, of which only what is used."""

    def __init__(self, rows, features):
        super().__init__(rows)
        self.features = features

    def cast_column(self, name, kind):
        assert kind.decode is False
        return self


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The package datasets with one set, which gives bytes, and paths inside and outside."""
    kinds = {
        "Image": type(
            "Image", (), {"__init__": lambda self, decode=True: setattr(self, "decode", decode)}
        ),
        "ClassLabel": type(
            "ClassLabel", (), {"__init__": lambda self, names: setattr(self, "names", names)}
        ),
    }
    features = {"img": kinds["Image"](), "label": kinds["ClassLabel"](NAMES)}
    kept = tmp_path / "kept"
    kept.mkdir()
    for place in (kept / "in.png", tmp_path / "out.png"):
        picture(5, (12, 10)).save(place)
    rows = [
        {"img": image, "label": y}
        for image, y in zip(*table(40).to_pydict().values(), strict=True)
    ]
    rows[3]["img"] = {"bytes": None, "path": str(kept / "in.png")}
    rows[4]["img"] = {"bytes": None, "path": str(tmp_path / "out.png")}
    asked = []

    def load_dataset(name):
        asked.append(name)
        if name != "me/pets":
            raise ConnectionError("no such set,\nor no network")
        return {"train": FakeRows(rows, features), "test": FakeRows(rows[10:20], features)}

    module = types.SimpleNamespace(
        load_dataset=load_dataset, config=types.SimpleNamespace(HF_CACHE_HOME=kept), **kinds
    )
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_a_set_of_the_hub_is_had_by_its_name(hub):
    with pytest.warns(UserWarning, match="left out 1 of 50 images: 'train, row 4'"):
        found = load("hf:me/pets", resize=8)
    assert hub == ["me/pets"] and found.name == "pets" and found.source == "hf:me/pets"
    assert (len(found.train), len(found.test)) == (39, 10)
    assert found.class_names == tuple(NAMES)


@pytest.mark.parametrize("name", ["hf:", "hf:../x/y", "hf:me/other", "hf:a/b c"])
def test_a_set_that_the_hub_does_not_have_is_one_line(hub, capsys, name):
    assert run(["data", name]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_the_package_the_hub_is_not_asked(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert run(["data", "hf:me/pets"]) == 2
    assert "pip install 'diffode[hub]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, None] * 4, r"row 2' has no label \(4 of 12 rows have none\); give each"),
        ([0, 1, -1] * 4, "row 2' has no label"),
        (["a", "b", " "] * 4, "row 2' has no label"),
        ([0, 1, -2] * 4, "row 2' has the label -2; wanted whole numbers"),
        ([0, 3, 1] * 4, "row 1' has the label 3; there are 3 classes at most"),
    ],
)
def test_a_row_without_a_sound_label_is_named(tmp_path, labels, said):
    pq.write_table(table(12, labels), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("parts", "sizes", "classes"),
    [
        ({"train": [0, 1] * 10, "test": [-1] * 6, "validation": [1, 0]}, (20, 2), 2),
        ({"train": [0, 1] * 10, "test": [None] * 6}, (18, 2), 2),
        ({"train": [None] * 20, "test": [0, 1]}, (20, 2), None),
    ],
)
def test_a_part_without_labels_is_left_alone_beside_one_that_has_some(
    tmp_path, parts, sizes, classes
):
    """So has the hub the part of a contest that is to be guessed."""
    for part, labels in parts.items():
        names = None if classes is None else NAMES[:classes]
        pq.write_table(table(len(labels), labels, names), tmp_path / f"{part}-0.parquet")
    found = load(tmp_path)
    assert (len(found.train), len(found.test), found.classes) == (*sizes, classes)
    said = "left alone: test, where no row" if classes else "no classes: no row to train on"
    assert any(note.startswith(said) for note in found.notes)


@pytest.mark.parametrize("column", [[b"x"], {"image": {"bytes": b"x"}, "label": 1}])
def test_images_within_other_columns_are_not_passed_over(tmp_path, column):
    """The numbers beside them would be learned as if they were all."""
    made = pa.table({"images": [column] * 20, "label": list(range(20))})
    pq.write_table(made, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"column .images. holds .* one in each row"):
        load(tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet", columns=("label",)).event_shape == (1,)
