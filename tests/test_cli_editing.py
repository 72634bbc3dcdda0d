"""Temperature, `diffode interpolate` and `diffode edit` as their users meet them."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

import diffode
from diffode.cli.app import run
from diffode.data import load as load_data
from diffode.runs.loading import load
from tests.runs import arrays, made, refused


def test_samples_at_another_temperature(edm, tmp_path):
    drawn = []
    for given in ([], ["--temperature", "1"], ["--temperature", "0.5"]):
        out = tmp_path / "x.npz"
        shared = ["--samples", "3", "--nfe", "3", "--out", str(out)]
        assert run(["sample", str(edm), *shared, *given]) == 0
        drawn.append(arrays(out)["x"])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[2] - drawn[0]).max() > 0.01


def test_temperatures_that_mean_nothing_are_refused(edm, poisson, tmp_path, capsys):
    out = ["--out", tmp_path / "x.npz"]
    line = refused(capsys, "sample", edm, "--temperature", "0", *out)
    assert "got temperature 0.0; wanted a positive finite number" in line
    line = refused(capsys, "sample", poisson, "--temperature", "0.5", *out)
    assert "scales a normal prior alone" in line
    assert not (tmp_path / "x.npz").exists()


NONE = ["--source-label", "none"]
STEPS = ["--solver", "heun", "--steps", "4", "--device", "cpu"]


@pytest.fixture
def images(tmp_path):
    dataset = load_data("digits")
    path = tmp_path / "images.npz"
    np.savez(path, x=dataset.test[:4].numpy(), y=dataset.test_labels[:4].numpy())
    return path


def is_wide(path):
    with Image.open(path) as image:
        return image.width >= 800


def test_random_pairs_lead_from_sample_to_sample(edm, tmp_path, capsys):
    out, samples = tmp_path / "way.npz", tmp_path / "samples.npz"
    asked = [str(edm), "--nfe", "5", "--seed", "3", "--device", "cpu"]
    assert run(["interpolate", *asked, "--pairs", "2", "--count", "4", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "(2 pairs, 4 points each, 5 evaluations each)" in said.out and "8/8" in said.err
    assert run(["sample", *asked, "--samples", "4", "--out", str(samples)]) == 0
    way = arrays(out)
    assert list(way) == ["x", "pair", "status"] and way["pair"].tolist() == [0] * 4 + [1] * 4
    ends = way["x"].reshape(2, 4, 1, 8, 8)[:, [0, 3]].reshape(4, 1, 8, 8)
    np.testing.assert_allclose(ends, arrays(samples)["x"], rtol=1e-4, atol=1e-4)


def test_points_of_a_file_are_at_the_ends(poisson, images, tmp_path, capsys):
    out, picture = tmp_path / "way.npz", tmp_path / "way.png"
    asked = ["interpolate", str(poisson), str(images), "--count", "3", "--device", "cpu"]
    tight = ["--set", "rtol=1e-5", "--set", "atol=1e-5"]
    assert run([*asked, *tight, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "10/10" in said.err
    error = float(re.search(r"the ends come back to an rms error of (\S+)", said.out)[1])
    given, way = arrays(images)["x"], arrays(out)["x"].reshape(2, 3, 1, 8, 8)
    gap = way[:, [0, 2]].reshape(4, 1, 8, 8) - given
    assert error == pytest.approx(np.sqrt((gap**2).mean()), rel=0.1) and error < 0.01
    assert run([*asked, *STEPS[:4], "--out", str(picture)]) == 0
    assert is_wide(picture)


def test_the_classes_of_the_two_ends(poisson, tmp_path):
    drawn = []
    for label in ("3", "3,8"):
        out = tmp_path / "way.npz"
        asked = ["--pairs", "1", "--count", "4", "--nfe", "3", "--label", label, "--guidance", "2"]
        assert run(["interpolate", str(poisson), *asked, "--out", str(out)]) == 0
        drawn.append(arrays(out)["x"])
    np.testing.assert_array_equal(drawn[0][:2], drawn[1][:2])
    assert np.abs(drawn[0][2:] - drawn[1][2:]).max() > 1e-4


def test_points_are_edited_in_their_class_or_in_others(poisson, images, tmp_path, capsys):
    out, picture = tmp_path / "edited.npz", tmp_path / "edited.png"
    asked = ["edit", str(poisson), str(images), "--strength", "0.4", "--device", "cpu"]
    assert run([*asked, "--nfe", "5", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "(4 points, 5 evaluations each)" in said.out and "4/4" in said.err
    own, given = arrays(out), arrays(images)
    assert list(own) == ["x", "y", "status"]
    np.testing.assert_array_equal(own["y"], given["y"])
    x, y = torch.from_numpy(given["x"]), torch.from_numpy(given["y"])
    expected = diffode.edit(load(poisson).field, x, 0.4, y, nfe=5).x
    np.testing.assert_allclose(own["x"], expected, rtol=1e-4, atol=1e-4)
    assert run([*asked, "--label", "3,8", "--guidance", "2", "--nfe", "5", "--out", str(out)]) == 0
    assert "5 evaluations each, 10 network calls" in capsys.readouterr().out
    assert arrays(out)["y"].tolist() == [3] * 4 + [8] * 4 and len(arrays(out)["x"]) == 8
    assert run([*asked, "--label", "all", "--nfe", "3", "--out", str(picture)]) == 0
    assert is_wide(picture)


CODE = """
from diffode.data import load
from diffode.fields import Empirical, Karras

digits = load("digits")
field = Empirical(digits.train[:40], Karras(0.05, 20.0), labels=digits.train_labels[:40] % 3)
"""


def test_labels_of_a_file_are_told_to_code_that_does_not_say_how_many_it_knows(images, tmp_path):
    own, out, given = tmp_path / "own.py", tmp_path / "x.npz", arrays(images)
    own.write_text(CODE, encoding="utf-8")
    np.savez(images, x=given["x"], y=given["y"] % 3)
    assert run(["edit", f"{own}:field", str(images), "--nfe", "3", "--out", str(out)]) == 0
    np.testing.assert_array_equal(arrays(out)["y"], given["y"] % 3)


def test_points_encoded_as_another_class_end_in_their_own(poisson, images, tmp_path):
    out = tmp_path / "x.npz"
    asked = ["edit", str(poisson), str(images), "--deterministic", "--nfe", "3", "--out", str(out)]
    assert run([*asked, "--source-label", "7"]) == 0
    np.testing.assert_array_equal(arrays(out)["y"], arrays(images)["y"])


def test_a_whole_edit_is_a_sample(edm, images, tmp_path):
    drawn = []
    for command, *given in (["edit", str(images), "--strength", "1"], ["sample", "--n", "4"]):
        out = tmp_path / "x.npz"
        assert (
            run([command, str(edm), *given, "--nfe", "4", "--seed", "2", "--out", str(out)]) == 0
        )
        drawn.append(arrays(out)["x"])
    np.testing.assert_array_equal(*drawn)


def test_points_are_translated_without_noise(poisson, images, tmp_path):
    out = tmp_path / "x.npz"
    asked = ["edit", str(poisson), str(images), "--deterministic", "--device", "cpu"]
    assert run([*asked, "--set", "rtol=1e-4", "--set", "atol=1e-4", "--out", str(out)]) == 0
    np.testing.assert_allclose(arrays(out)["x"], arrays(images)["x"], atol=0.01)
    assert run([*asked, *STEPS[:4], "--label", "3", "--out", str(tmp_path / "x.png")]) == 0


@pytest.mark.parametrize(("given", "source"), [("none", "none"), ("2", 2)])
def test_points_without_labels_are_encoded_as_one_says(poisson, images, given, source, tmp_path):
    out, plain = tmp_path / "x.npz", tmp_path / "plain.npy"
    np.save(plain, arrays(images)["x"])
    asked = ["edit", str(poisson), str(plain), "--deterministic", "--nfe", "6", "--label", "3"]
    asked += ["--device", "cpu", "--source-label", given]
    assert run([*asked, "--out", str(out)]) == 0
    x, how = torch.from_numpy(np.load(plain)), {"deterministic": True, "nfe": 6}
    expected = diffode.edit(load(poisson).field, x, 0.5, 3, y_source=source, **how).x
    np.testing.assert_allclose(arrays(out)["x"], expected, rtol=1e-4, atol=1e-4)
    asked = ["edit", str(poisson), str(plain), "--deterministic", *STEPS, "--source-label", given]
    assert run([*asked, "--out", str(out)]) == 0  # and no --label: each stays what it is
    np.testing.assert_allclose(arrays(out)["x"], x, atol=0.3)
    assert ("y" in arrays(out)) == (given != "none")


@pytest.mark.parametrize(
    "command",
    [
        "edit",
        "interpolate",
        "encode",
        "decode",
        "inpaint --mask half:left",
        "restore --operator b --noise 1",
    ],
)
def test_the_file_that_is_read_is_not_written(command, edm, images, monkeypatch, capsys):
    monkeypatch.chdir(images.parent)
    before = images.read_bytes()
    command, *given = command.split()
    out = f"../{images.parent.name}/images.npz"
    line = refused(capsys, command, edm, images, *given, "--out", out)
    assert "which is the file that is read; give another name" in line
    assert images.read_bytes() == before


def test_a_run_that_needs_labels_is_told_them(tmp_path, images, capsys):
    needs = made(tmp_path, "--field", "edm", "--labels", "--set", "label_drop=0")
    np.save(tmp_path / "odd.npy", np.ones((2, 8, 8), np.float32))
    out = ["--out", str(tmp_path / "x.npz"), "--nfe", "3"]
    for given in (["interpolate", needs], ["edit", needs, tmp_path / "odd.npy"]):
        assert "draws nothing without a label; give --label" in refused(capsys, *given, *out)
    assert run(["interpolate", str(needs), str(images), "--count", "3", *out]) == 0
    assert run(["edit", str(needs), str(images), *out]) == 0


OWN = """
import diffode
from diffode.fields import Field
from diffode.priors import Normal


class Rest(Field):
    prior, span, event_shape = Normal(), (0.0, 1.0), (1, 8, 8)

    def velocity(self, x, t, y=None):
        return 0 * x


def gan():
    return diffode.build("gan", (1, 8, 8), width=8, depth=1).field
"""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["interpolate", "EDM", "--out", "x.gif"], "ends in .png or .npz"),
        (["interpolate", "EDM", "--count", "1"], "got count=1; wanted 2 or more"),
        (["interpolate", "EDM", "--count", "21"], "a picture shows 100 rows of 20 at most"),
        (["interpolate", "EDM", "--label", "3"], "this field knows no labels"),
        (["interpolate", "POISSON", "--label", "1,2,3"], "wanted one class, or two"),
        (["interpolate", "POISSON", "--guidance", "2"], "without a label to guide to; give"),
        (["interpolate", "POISSON", "FILE", "--label", "3"], "has labels (y)"),
        (["interpolate", "EDM", "FILE", "--pairs", "3"], "--pairs, which is for random pairs"),
        (["interpolate", "EDM", "FILE", "--seed", "3"], "--seed, which is for random pairs"),
        (["interpolate", "EDM", "ODD"], "got 3 points; wanted pairs, an even number"),
        (["interpolate", "EDM", "NONE"], "no such file"),
        (["edit", "EDM", "FILE", "--strength", "0"], "got strength 0; wanted a number above 0"),
        (["edit", "EDM", "FILE", "--strength", "2"], "got strength 2; wanted"),
        (["edit", "EDM", "FILE", "--label", "3"], "this field knows no labels"),
        (["edit", "EDM", "FILE", "--seed", "1", "--deterministic"], "nothing is drawn"),
        (["edit", "EDM", "FILE", "--solver", "dopri5", "--nfe", "5"], "chooses its own steps"),
        (["edit", "EDM", "FILE", "--nfe", "5", "--steps", "5"], "give one of the two"),
        (["edit", "POISSON", "ODD", "--guidance", "2"], "without a label to guide to; give"),
        (["edit", "EDM", "NONE"], "no such file"),
        (
            ["edit", "POISSON", "ODD", "--deterministic", "--label", "3"],
            "odd.npy to encode its points with; give --source-label, the class",
        ),
        (["edit", "POISSON", "FILE", "--source-label", "3"], "got --source-label without --det"),
        (
            ["edit", "POISSON", "FILE", "--deterministic", "--source-label", "12"],
            "got --source-label 12; this field has labels 0 to 9",
        ),
        (
            ["edit", "POISSON", "FILE", "--deterministic", "--source-label", "1,2"],
            "got --source-label 1,2; wanted one class, or none",
        ),
        (
            ["edit", "POISSON", "FILE", "--deterministic", *NONE, "--guidance", "2"],
            "without a label to guide to; give --label, and for --deterministic --source-label",
        ),
        (["edit", "REST", "FILE"], "is of type Rest, which states no noise to add to points"),
        (["edit", "GAN", "FILE", "--deterministic"], "there is no way back from data"),
    ],
)
def test_what_has_no_meaning_is_refused(edm, poisson, images, tmp_path, capsys, given, message):
    np.save(tmp_path / "odd.npy", np.ones((3, 8, 8), np.float32))
    known = {"EDM": edm, "POISSON": poisson, "FILE": images, "ODD": tmp_path / "odd.npy"}
    known["NONE"] = tmp_path / "none.npy"
    (tmp_path / "own.py").write_text(OWN)
    known |= {"REST": f"{tmp_path}/own.py:Rest", "GAN": f"{tmp_path}/own.py:gan"}
    out = [] if "--out" in given else ["--out", tmp_path / "x.png"]
    assert message in refused(capsys, *[known.get(word, word) for word in given], *out)
    assert not (tmp_path / "x.png").exists()
