"""Classes: which are drawn, what they are called, and what is refused before anything is drawn."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import diffode
from diffode.cli.app import run
from diffode.cli.classes import classes_to_draw
from diffode.data import Dataset, load
from diffode.fields import Empirical, Karras
from diffode.runs.targets import resolve
from tests.runs import arrays, made, refused

NAMES = ("cat", "dog", "a, b", "0")
POINTS = f"""
import numpy as np
from diffode.data import Dataset


def points(seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(200) % 4
    x = rng.normal(size=(200, 2)) + y[:, None]
    return Dataset("four", x[:160], x[160:], y[:160], y[160:], class_names={NAMES!r})
"""


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A run on four classes with names."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "mine.py").write_text(POINTS)
    return made(folder, "--field", "edm", "--data", f"{folder / 'mine.py'}:points", "--labels")


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A run without a null label."""
    given = ["--field", "edm", "--data", "moons", "--labels", "--set", "label_drop=0"]
    return made(tmp_path_factory.mktemp("strict"), *given)


@pytest.fixture(scope="module")
def exact():
    moons = load("moons")
    return Empirical(moons.train[:40], Karras(), labels=moons.train_labels[:40])


def drawn(target, out, *given):
    arguments = ["--nfe", "3", "--device", "cpu", "--out", out]
    assert run(["sample", *map(str, (target, *arguments, *given))]) == 0
    return arrays(out)


CHOSEN = {
    "--label 1 --samples 3": [1, 1, 1],
    "--label cat --samples 2": [0, 0],
    "--label 3,1 --samples 4": [3, 3, 1, 1],
    "--label dog,2 --per-class 2": [1, 1, 2, 2],
    "--label 0 --per-class 1": [3],  # a class's own name comes before a number
    "--label all --per-class 2": [0, 0, 1, 1, 2, 2, 3, 3],
    "--label all --samples 4": [0, 1, 2, 3],
    "--per-class 1": [0, 1, 2, 3],
    "--per-class 1 --samples 4": [0, 1, 2, 3],
    "--label 1": [1] * 64,
    "--label 1,2": [1] * 10 + [2] * 10,
}


@pytest.mark.parametrize("given", CHOSEN)
def test_labels_are_drawn_as_asked_class_after_class(named, tmp_path, given):
    found = drawn(named, tmp_path / "x.npz", *given.split())
    assert list(found)[:2] == ["x", "y"]
    assert found["y"].tolist() == CHOSEN[given] and found["y"].dtype == np.int64
    assert len(found["x"]) == len(found["y"])


def test_a_name_with_a_comma_is_one_name(named, tmp_path):
    assert drawn(named, tmp_path / "x.npz", "--label", "a, b", "--n", "2")["y"].tolist() == [2, 2]


def test_each_sample_is_that_of_its_label(named, tmp_path):
    field, y = resolve(named).field, torch.tensor([3, 3, 1, 1])
    found = drawn(named, tmp_path / "x.npz", "--label", "3,1", "--samples", "4")
    np.testing.assert_array_equal(found["x"], diffode.sample(field, 4, nfe=3, y=y).x)
    assert "y" not in drawn(named, tmp_path / "free.npz", "--samples", "4")


REFUSED = {
    "--label 4": "got --label 4; this field has labels 0 to 3, named 'cat', 'dog', 'a, b', '0'",
    "--label -1": "got --label -1; this field has labels 0 to 3",
    "--label Cat": "got --label Cat; this field has labels 0 to 3, named 'cat'",
    "--label 1,bird": "got --label 1,bird with 'bird'; this field has labels 0 to 3",
    "--label 1,": "got --label 1, with ''; this field has",
    "--label 1.5": "got --label 1.5; this field has labels",
    "--label 1,dog": "got --label 1,dog, which names label 1 twice; give each once",
    "--label all --samples 6": "got --samples 6 and --label all, which are 4 labels; wanted a",
    "--label all --samples 8 --per-class 3": "--per-class 3 of 4 labels, which are 12 samples",
    "--per-class 0": "Invalid value for '--per-class'",
}


@pytest.fixture
def no_samples(monkeypatch):
    """Nothing may be drawn."""

    def start(*_):
        raise AssertionError("sampling began")

    monkeypatch.setattr("diffode.fields.base.Field.start", start)


@pytest.mark.parametrize("given", REFUSED)
@pytest.mark.usefixtures("no_samples")
def test_other_labels_are_refused_in_a_line(named, tmp_path, capsys, given):
    out = tmp_path / "x.npz"
    line = refused(capsys, "sample", named, "--out", out, *given.split())
    assert REFUSED[given] in line and not out.exists()


@pytest.mark.usefixtures("no_samples")
def test_a_field_without_a_null_label_is_asked_for_labels(strict, tmp_path, capsys):
    line = refused(capsys, "sample", strict, "--out", tmp_path / "x.npz")
    assert "draws nothing without a label; give --label" in line


@pytest.mark.parametrize("given", [["--label", "all"], ["--per-class", "3"], ["--label", "1"]])
def test_a_run_without_labels_draws_no_classes(tmp_path, capsys, given):
    out = made(tmp_path, "--field", "edm", "--data", "moons")
    line = refused(capsys, "sample", out, "--out", tmp_path / "x.npz", *given)
    assert f"got {' '.join(given[:1] if given[0] == '--per-class' else given)}, but" in line


def test_code_that_does_not_count_its_labels_takes_numbers(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from diffode.data import load\nfrom diffode.fields import Empirical, Karras\n"
        "d = load('moons')\n"
        "field = Empirical(d.train[:40], Karras(), labels=d.train_labels[:40])\n"
        "field.classes = None\n"
    )
    place = f"{tmp_path / 'mine.py'}:field"
    found = drawn(place, tmp_path / "x.npz", "--label", "1,0", "--per-class", "2")
    assert found["y"].tolist() == [1, 1, 0, 0]
    line = refused(capsys, "sample", place, "--label", "all", "--out", tmp_path / "y.npz")
    assert "does not say how many labels it has; give their numbers" in line


def test_a_run_keeps_the_names_of_its_classes(named):
    assert json.loads((named / "config.json").read_text())["class_names"] == list(NAMES)
    assert resolve(named).class_names == NAMES
    newest = next((named / "checkpoints").glob("*.safetensors"))
    assert resolve(newest).class_names == NAMES
    assert set(arrays(named / "samples.npz")["y"].tolist()) == {0, 1, 2, 3}


def test_names_that_do_not_fit_the_labels_of_a_run_are_refused(named, tmp_path, capsys):
    stored = json.loads((named / "config.json").read_text())
    config = named / "config.json"
    before = config.read_text()
    try:
        for names, said in ((["a"], "got 1 class names for 4"), (["a", "b", "c", "\n"], "'\\n'")):
            config.write_text(json.dumps(stored | {"class_names": names}))
            given = ["--label", "a", "--out", tmp_path / "x.npz"]
            assert said in refused(capsys, "sample", named, *given)
    finally:
        config.write_text(before)


BAD_NAMES = {
    "few": (("a",), "got 1 class names for 2 classes; give one for each"),
    "a text": ("ab", "got 0 class names for 2 classes"),
    "a line break": (("a", "b\n"), "got the class name 'b\\\\n'; wanted characters that can be"),
    "an escape": (("a", "\x1b[31m"), "wanted characters that can be printed"),
    "turned around": (("a", "\u202eb"), "wanted characters that can be printed"),
    "blank": (("a", "  "), "wanted characters that can be printed"),
    "twice": (("a", "a"), "got the class name 'a' twice; give each its own"),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_names_of_classes_are_checked(case):
    names, said = BAD_NAMES[case]
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=said):
        Dataset("two", x, x, [0, 1, 0, 1], [0, 1, 0, 1], class_names=names)


KINDS = {
    "a list": [1, 0, 1, 1],
    "an array": np.array([1, 0, 1, 1]),
    "bytes": np.array([1, 0, 1, 1], np.uint8),
    "whole floats": torch.tensor([1.0, 0.0, 1.0, 1.0]),
    "short integers": torch.tensor([1, 0, 1, 1], dtype=torch.int16),
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_in_python_may_be_of_any_kind(exact, kind):
    y, same = KINDS[kind], torch.tensor([1, 0, 1, 1])
    x = diffode.sample(exact, 4, nfe=5, y=same).x
    assert torch.equal(diffode.sample(exact, 4, nfe=5, y=y).x, x)
    for move in (diffode.encode, diffode.decode):
        assert torch.equal(
            move(exact, x, "heun", nfe=5, y=y).x, move(exact, x, "heun", nfe=5, y=same).x
        )
    nats = diffode.log_prob(exact, x, solver="heun", steps=4, y=y).nats
    assert torch.equal(nats, diffode.log_prob(exact, x, solver="heun", steps=4, y=same).nats)


def test_one_label_stands_for_all_rows(exact):
    one, each = (diffode.sample(exact, 4, nfe=5, y=y).x for y in (1, [1, 1, 1, 1]))
    assert torch.equal(one, each)


@pytest.mark.parametrize("kind", ["a list", "an array", "short integers"])
def test_fit_takes_labels_of_any_kind(kind):
    x, y = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)), KINDS[kind]
    y = [*y, *y, *y] if kind == "a list" else torch.as_tensor(y).repeat(3)
    small = {"steps": 2, "batch": 4, "width": 8, "depth": 1, "device": "cpu", "labels": True}
    found = diffode.fit("edm", (x, y), **small)
    same = diffode.fit("edm", (x, torch.tensor([1, 0, 1, 1] * 3)), **small)
    assert found.losses == same.losses


BAD = {
    "too few": ([1, 0], ValueError, "got 4 points and 2 labels; pass one label per point"),
    "a fraction": ([1, 0, 1, 0.5], ValueError, "got the label 0.5; labels are whole numbers"),
    "a name": ("cat", TypeError, "got labels of type str"),
    "none of them": ([1, 0, 1, 7], ValueError, "7"),
}


@pytest.mark.parametrize("case", BAD)
def test_other_labels_in_python_are_refused(exact, case):
    y, error, said = BAD[case]
    x = torch.zeros(4, 2)
    for ask in (
        lambda: diffode.sample(exact, 4, y=y),
        lambda: diffode.encode(exact, x, y=y),
        lambda: diffode.decode(exact, x, y=y),
        lambda: diffode.log_prob(exact, x, y=y),
    ):
        with pytest.raises(error, match=said):
            ask()


def test_a_class_called_all_is_not_every_class():
    target = SimpleNamespace(name="run", classes=3, class_names=("all", "b", "c"), checkpoint=None)
    for label, per_class, wanted in ((None, 1, [0, 1, 2]), ("all", 1, [0]), ("all,b", 1, [0, 1])):
        _, y = classes_to_draw(label, per_class, None, target)
        assert y.tolist() == wanted, label
    for label in ("", "--1"):
        with pytest.raises(ValueError, match="this field has labels 0 to 2, named 'all'"):
            classes_to_draw(label, 1, None, target)
