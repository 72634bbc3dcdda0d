"""``diffode train classifier`` and ``--classifier``: what they draw, cost, say and refuse."""

import numpy as np
import pytest
import torch

import diffode
from diffode.cli.app import run
from diffode.data import load
from diffode.fields import classifier_guided
from diffode.fields.classified import classifier_of
from diffode.runs import loading
from tests.runs import arrays, figures, made, refused, refused_in_full

DRAWN = ["--device", "cpu", "--seed", "3", "--nfe", "6"]
RUNS = {
    "plain": ("edm", "eight-gaussians"),
    "rectified": ("rectified", "eight-gaussians"),
    "poisson": ("poisson", "eight-gaussians"),
    "normal": ("classifier", "eight-gaussians"),
    "student": ("classifier", "eight-gaussians", "--set", "noise=student"),
    "other dof": ("classifier", "eight-gaussians", "--set", "noise=student", "--set", "dof=4"),
    "digits": ("classifier", "digits"),
    "scaled": ("classifier", "WIDE", "--scale", "standard"),
    "strict": ("edm", "eight-gaussians", "--labels", "--set", "label_drop=0"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a run by name, trained when it is first asked for."""
    folder, known = tmp_path_factory.mktemp("classified"), {}
    wide, data = folder / "wide.npz", load("eight-gaussians")
    np.savez(wide, x=100 * data.train.numpy(), y=data.train_labels.numpy())

    def of(name):
        if name not in known:
            given = [str(wide) if word == "WIDE" else word for word in RUNS[name]]
            known[name] = made(folder / name.replace(" ", "-"), *given)
        return known[name]

    return of


def draw(target, out, *given):
    assert run(["sample", str(target), *DRAWN, "--out", str(out), *map(str, given)]) == 0
    return arrays(out)


def test_a_run_is_sampled_measured_and_encoded_as_any_other(runs, tmp_path, capsys):
    own = runs("normal")
    assert "accuracy" in (own / "metrics.jsonl").read_text()
    drawn = draw(own, tmp_path / "x.npz", "--per-class", 2)
    assert drawn["y"].tolist() == [k for k in range(8) for _ in range(2)]
    line = refused(capsys, "sample", own, "--out", tmp_path / "y.npz")
    assert "draws nothing without a label; give --label" in line
    given = ["--nfe", "6", "--device", "cpu", "--out"]
    assert run(["encode", str(own), str(tmp_path / "x.npz"), *given, str(tmp_path / "z.npz")]) == 0
    assert run(["eval", str(own), "--n", "64", *given, str(tmp_path / "eval")]) == 0


@pytest.mark.parametrize(
    ("field", "classifier"), [("plain", "normal"), ("rectified", "normal"), ("poisson", "student")]
)
def test_one_classifier_guides_what_was_trained_without_labels(
    runs, field, classifier, tmp_path, capsys
):
    given = ["--guidance", 2, "--classifier", runs(classifier)]
    capsys.readouterr()
    drawn = draw(runs(field), tmp_path / "x.npz", "--label", "3,5", "--samples", 8, *given)
    said = capsys.readouterr().out
    own = loading.load(runs(field)).field
    guided = classifier_guided(own, classifier_of(loading.load(runs(classifier)).field), 2)
    y = torch.tensor([3] * 4 + [5] * 4)
    expected = diffode.sample(guided, 8, nfe=6, seed=3, y=y)
    assert (drawn["x"] == expected.x.numpy()).all() and drawn["y"].tolist() == y.tolist()
    assert f"6 evaluations each, {expected.network_calls} network calls" in said


def test_eval_says_by_what_it_was_guided(runs, tmp_path):
    given = ["--n", "64", "--nfe", "5", "--device", "cpu", "--guidance", "2"]
    out = tmp_path / "out"
    by = ["--classifier", str(runs("normal")), "--out", str(out)]
    assert run(["eval", str(runs("plain")), *given, *by]) == 0
    told = figures(out / "eval.json")
    assert told["guidance"]["classifier"] == str(runs("normal"))
    assert told["labels"] and f"guidance 2 by {runs('normal')}" in (out / "eval.md").read_text()


REFUSED = {
    "alone": ("plain", "--classifier {normal}", "got --classifier without --guidance"),
    "and weak": (
        "plain",
        "--guidance 2 --classifier {normal} --weak {rectified}",
        "got --weak and --classifier",
    ),
    "no classifier": (
        "plain",
        "--guidance 2 --classifier {rectified}",
        "no classifier guides this field; train one: diffode train classifier DATA",
    ),
    "no label": ("plain", "--guidance 2 --classifier {normal}", "without a label to guide to"),
    "another label": ("plain", "--guidance 2 --label 9 --classifier {normal}", "labels 0 to 7"),
    "another law": ("plain", "--guidance 2 --label 1 --classifier {student}", "wanted one for"),
    "another dof": (
        "poisson",
        "--guidance 2 --label 1 --classifier {other dof}",
        "wanted one for",
    ),
    "another shape": ("plain", "--guidance 2 --label 1 --classifier {digits}", "(1, 8, 8)"),
    "other units": (
        "plain",
        "--guidance 2 --label 1 --classifier {scaled}",
        "got a classifier in units",
    ),
    "labels needed": (
        "strict",
        "--guidance 2 --label 1 --classifier {normal}",
        "a field that cannot go without labels",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(case, runs, tmp_path, capsys):
    name, given, words = REFUSED[case]
    refused_in_full(capsys, tmp_path, words, "sample", name, given, runs)


def test_a_classifier_is_not_trained_without_labels(capsys, tmp_path):
    line = refused(capsys, "train", "classifier", "--no-labels", "--out", tmp_path / "run")
    assert "got --no-labels, but classifier learns from labels alone" in line
    assert "has no labels" in refused(
        capsys, "train", "classifier", "swiss-roll", "--out", tmp_path / "run"
    )


CODE = """
import torch
from diffode.fields import Empirical, Karras, classifier_guided

class Unstated(torch.nn.Module):
    def forward(self, u, rho):
        return u[:, :2] / rho[:, None]

guided = classifier_guided(Empirical(torch.randn(9, 2), Karras()), Unstated())
labelled = Empirical(torch.randn(9, 2), Karras(), labels=torch.arange(9) % 2)
labelled.classes = None
"""


def test_a_classifier_of_code_that_does_not_say_how_many_classes_it_has(runs, tmp_path, capsys):
    """It is asked for one point: so many answers are so many classes."""
    own = tmp_path / "own.py"
    own.write_text(CODE, encoding="utf-8")
    by = ["--guidance", 2, "--classifier", f"{own}:guided"]
    drawn = draw(runs("plain"), tmp_path / "x.npz", "--label", "0,1", "--samples", 4, *by)
    assert drawn["y"].tolist() == [0, 0, 1, 1]
    drawn = draw(runs("plain"), tmp_path / "z.npz", "--per-class", 2, *by)
    assert drawn["y"].tolist() == [0, 0, 1, 1]
    out = ["--out", tmp_path / "y.npz"]
    assert "labels 0 to 1" in refused(capsys, "sample", runs("plain"), *by, *out, "--label", 5)
    line = refused(capsys, "eval", runs("plain"), *by, "--out", tmp_path / "eval")
    assert "draws 2 classes, eight-gaussians has 8" in line
    line = refused(capsys, "sample", f"{own}:labelled", "--label", "all", *out)
    assert "labelled does not say how many labels it has; give their numbers" in line
    assert not (tmp_path / "y.npz").exists()
