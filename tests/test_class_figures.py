"""Figures of each class: what a classifier makes of samples that were drawn with labels."""

import json

import pytest
import torch

from diffode.cli.app import run
from diffode.data import Dataset, load
from diffode.metrics import Panel
from diffode.metrics.labels import figures_by_class
from diffode.runs.run import fit
from diffode.sampling import sample
from tests.runs import made


def test_figures_of_a_class_are_shares_of_its_own_points_and_of_all():
    answers, labels = [0, 0, 1, 1, 1, 3], [0, 0, 0, 1, 1, 0]
    found = figures_by_class(torch.tensor(answers), torch.tensor(labels), 4)
    assert [f.count for f in found] == [4, 2, 0, 0]
    assert [f.accuracy and f.accuracy.value for f in found] == [0.5, 1.0, None, None]
    torch.testing.assert_close([f.share.value for f in found], [2 / 6, 3 / 6, 0.0, 1 / 6])
    with pytest.raises(ValueError, match="got 6 answers and 5 labels; give one for each"):
        figures_by_class(torch.tensor(answers), torch.tensor(labels[1:]), 4)


def test_two_classes_that_are_mixed_up_are_seen():
    blobs = load("blobs")
    panel = Panel(blobs, 400, labels=True)
    x, y = blobs.train[:400], blobs.train_labels[:400]
    right = panel.by_class(x, y)
    assert all(drawn.accuracy.value > 0.99 < real.accuracy.value for drawn, real in right)
    swapped = y.where(y > 1, 1 - y)
    assert [d.accuracy.value > 0.99 for d, _ in panel.by_class(x, swapped)] == [0, 0, 1, 1]
    total = sum(drawn.count * drawn.accuracy.value for drawn, _ in right) / 400
    assert total == pytest.approx(panel.measure(x, y)["accuracy"].value)


def test_without_labels_or_a_classifier_there_are_none():
    blobs = load("blobs")
    assert Panel(blobs, 100).by_class(blobs.train[:100], None) == []
    unknown = Dataset("own", blobs.train, blobs.test, blobs.train_labels, blobs.test_labels)
    assert Panel(unknown, 100).by_class(blobs.train[:100], blobs.train_labels[:100]) == []


def test_a_run_states_its_classes_by_name(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom diffode.data import load\n\n\n"
        "def points():\n    return replace(load('blobs'), class_names=('a', 'b|', '<c>', '猫'))\n"
    )
    out = made(tmp_path, "--field", "edm", "--data", f"{tmp_path / 'mine.py'}:points", "--labels")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<h2>By class</h2>" in page and "2 &lt;c&gt;" in page and "<c>" not in page
    quality = json.loads((out / "quality.json").read_text(encoding="utf-8"))["classes"]
    assert [row["name"] for row in quality] == ["a", "b|", "<c>", "猫"]
    assert sum(row["samples"]["count"] for row in quality) == 20
    given = ["--samples", "40", "--nfe", "3", "--device", "cpu", "--out", str(tmp_path / "e")]
    capsys.readouterr()
    assert run(["eval", str(out), *given]) == 0
    assert "3 猫" in capsys.readouterr().out
    table = (tmp_path / "e" / "eval.md").read_text(encoding="utf-8")
    assert "| class | samples | named so | share |" in table and "1 b" in table
    content = json.loads((tmp_path / "e" / "eval.json").read_text(encoding="utf-8"))
    assert [row["label"] for row in content["classes"]] == [0, 1, 2, 3]
    assert sum(row["samples"]["share"]["value"] for row in content["classes"]) == pytest.approx(1)


@pytest.mark.slow
def test_digits_are_drawn_as_their_labels_say():
    """By a judge of another kind, fitted to real digits alone."""
    from sklearn.svm import SVC

    digits = load("digits")
    judge = SVC(C=10).fit(digits.train.flatten(1), digits.train_labels)
    assert judge.score(digits.test.flatten(1), digits.test_labels) > 0.98
    y = torch.arange(10).repeat_interleave(100)
    x = sample(fit("edm", labels=True).field, 1000, y=y, batch=250).x
    right = torch.from_numpy(judge.predict(x.flatten(1))) == y
    assert right.double().mean() >= 0.97
    assert right.view(10, 100).double().mean(1).min() > 0.9, "in each class"
