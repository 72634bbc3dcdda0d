"""`diffode restore` and `diffode inpaint` as their users meet them."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from diffode import sample
from diffode.cli.app import run
from diffode.cli.observing import operator_of
from diffode.code import place
from diffode.code import run as run_code
from diffode.data import load
from diffode.fields.conditioning import conditioned
from diffode.fields.operators import blur, downsample, mask
from diffode.sampling import twisted
from tests.runs import arrays

MINE = """
import torch

from diffode.data import load
from diffode.data.scaling import Scaling
from diffode.fields import (Empirical, ExactClassifier, Karras, Rectified, classifier_free,
                            classifier_guided)
from diffode.fields.operators import downsample, operator
from diffode.priors import StudentT

x = load("digits").train[:40]
exact = Empirical(x, Karras(0.05, 20.0), bandwidth=0.1)
columns = Empirical(torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]), Karras(0.05, 20.0))
columns.scaling = Scaling("standard", torch.tensor([5.0, 0.0]), torch.tensor([100.0, 1.0]))
poisson = Empirical(x, Karras(0.05, 20.0), StudentT(64))
points = Empirical(load("moons").train[:60], Karras(0.05, 20.0), bandwidth=0.1)
labels = load("digits").train_labels[:40]
labelled = Empirical(x, Karras(0.05, 20.0), bandwidth=0.1, labels=labels)
straight = Empirical(x, Rectified(), bandwidth=0.1)
unguided = classifier_free(labelled, 0.0)
by = classifier_guided(exact, ExactClassifier(labelled))
wider = Empirical(x, Karras(0.05, 20.0), bandwidth=0.3, labels=labels)


def of_bytes():
    field = Empirical(x, Karras(0.05, 20.0), bandwidth=0.1)
    field.scaling = Scaling.pixels()
    return field


def halves(event_shape):
    return downsample(event_shape, 2)


sums = operator(lambda x: x.sum((2, 3)), (1, 8, 8))
"""
QUICK = ["--nfe", "6", "--device", "cpu"]
HALF = np.tile([0, 0, 0, 0, 1, 1, 1, 1], (8, 1))  # what --mask half:left lets see


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine_to_restore.py"
    path.write_text(MINE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def field(mine):
    return run_code(place(f"{mine}:exact"))


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", load("digits").test[:3].numpy())
    return tmp_path / "images.npy"


def restored(folder, *given):
    """The arrays that a command wrote; its words, or several in a text."""
    words = " ".join(map(str, given)).split()
    assert run([*words, *QUICK, "--out", str(folder / "x.npz")]) == 0
    return arrays(folder / "x.npz")


def test_draws_are_those_of_the_conditioned_field(mine, field, images, tmp_path, capsys):
    given = ["--operator", "downsample:2", "--noise", "0.2", "--draws", "2", "--seed", "4"]
    made = restored(tmp_path, "restore", f"{mine}:exact", images, "--degrade", *given)
    assert list(made) == ["x", "row", "observed", "original", "status"]
    assert made["row"].tolist() == [0, 0, 1, 1, 2, 2] and made["status"].tolist() == [0] * 6
    np.testing.assert_array_equal(made["original"], np.load(images))
    halves = downsample((1, 8, 8), 2)
    noise = made["observed"] - halves(torch.from_numpy(np.load(images))).numpy()
    assert 0.1 < noise.std() < 0.3
    seen = torch.from_numpy(made["observed"]).repeat_interleave(2, 0)
    x = sample(conditioned(field, halves, seen, 0.2), 6, "dpm++", nfe=6, seed=4).x
    np.testing.assert_allclose(made["x"], x, atol=1e-5)
    printed = capsys.readouterr().out
    assert "(3 observations, 2 draws of each, 12 network calls each)" in printed
    misfit = float((halves(x) - seen).square().mean().sqrt()) / 0.2
    said = re.search(r"draws is (\S+) times the noise", printed)[1]
    assert float(said) == pytest.approx(misfit, rel=0.01)


def test_observations_of_a_file_give_the_draws_of_the_points_behind_them(mine, images, tmp_path):
    given = ["--operator", "blur:0.8", "--noise", "0.2"]
    known = restored(tmp_path, "restore", f"{mine}:exact", images, "--degrade", *given)
    np.save(tmp_path / "seen.npy", known["observed"])
    made = restored(tmp_path, "restore", f"{mine}:exact", tmp_path / "seen.npy", *given)
    assert "original" not in made
    np.testing.assert_array_equal(made["x"], known["x"])
    some = restored(tmp_path, f"restore {mine}:exact {tmp_path}/seen.npy --points 2", *given)
    np.testing.assert_allclose(some["x"], known["x"][:8], atol=1e-5)


def test_inpaint_is_restore_with_a_mask_and_reads_nothing_that_it_hides(mine, images, tmp_path):
    np.save(tmp_path / "mask.npy", HALF)
    other = np.load(images)
    other[..., :4] = np.nan
    np.save(tmp_path / "other.npy", other)
    target, noise = f"{mine}:exact", ["--noise", "0.1"]
    hidden = f"--mask {tmp_path}/mask.npy"
    made = [
        restored(tmp_path, "inpaint", target, images, "--mask", "half:left", *noise),
        restored(tmp_path, "inpaint", target, images, "--mask", "box:0,0,8,4", *noise),
        restored(tmp_path, "inpaint", target, f"{tmp_path}/other.npy", hidden, *noise),
        restored(tmp_path, "restore", target, images, "--operator", "mask:half:left", *noise),
    ]
    for one in made[1:]:
        np.testing.assert_array_equal(one["x"], made[0]["x"])
    seen = mask(HALF, (1, 8, 8))(torch.from_numpy(np.load(images)))
    np.testing.assert_array_equal(made[0]["observed"], seen)


def test_a_mask_at_random_hides_its_fraction_and_is_the_seeds_own(mine, images, tmp_path):
    sizes = []
    for seed in (0, 0, 1):
        given = ["--mask", "random:0.75", "--seed", seed]
        made = restored(tmp_path, "inpaint", f"{mine}:exact", images, *given)
        sizes.append(made["observed"])
    assert sizes[0].shape == (3, 16)
    np.testing.assert_array_equal(sizes[0], sizes[1])
    assert np.abs(sizes[0] - sizes[2]).max() > 0


def test_all_is_in_the_units_of_the_data(mine, images, tmp_path, capsys):
    np.save(tmp_path / "bytes.npy", (np.load(images) + 1) * 127.5)
    given = ["--operator", "downsample:2", "--degrade"]
    unit = restored(tmp_path, "restore", f"{mine}:exact", images, *given, "--noise", "0.2")
    capsys.readouterr()
    byte = restored(
        tmp_path, "restore", f"{mine}:of_bytes", tmp_path / "bytes.npy", *given, "--noise", "25.5"
    )
    assert "warning" not in capsys.readouterr().err
    for name in ("x", "observed", "original"):
        np.testing.assert_allclose(byte[name], (unit[name] + 1) * 127.5, atol=0.01)
    restored(tmp_path, "restore", f"{mine}:exact", images, *given, "--noise", "25.5")
    assert "the noise 25.5 is larger than the data's standard dev" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seen", "noise", "said"),
    [
        ([1, 0], 50, ""),
        ([0, 1], 50, "deviation, 1"),
        ([0, 1], 0.5, ""),
    ],
)
def test_noise_is_held_against_the_columns_that_are_seen(
    seen, noise, said, mine, tmp_path, capsys
):
    """Of two columns one is a hundred times as wide as the other."""
    np.save(tmp_path / "seen.npy", np.array(seen))
    np.save(tmp_path / "x.npy", np.array([[5.0, 0.0], [105.0, 1.0]]))
    columns = ["inpaint", f"{mine}:columns", tmp_path / "x.npy", "--draws", "1"]
    restored(tmp_path, *columns, "--mask", tmp_path / "seen.npy", "--noise", noise)
    err = capsys.readouterr().err
    assert said in err and ("warning" in err) == bool(said)


def test_how_far_draws_are_off_is_told_in_each_columns_own_deviation(mine, tmp_path, capsys):
    """Of two columns one is a hundred times as wide as the other, and both say as much."""
    np.save(tmp_path / "seen.npy", np.array([0, 1]))
    np.save(tmp_path / "x.npy", np.array([[5.0, 0.0], [105.0, 1.0]]))
    given = f"inpaint {mine}:columns {tmp_path}/x.npy --degrade --mask {tmp_path}/seen.npy"
    made = restored(tmp_path, given, "--noise", "1", "--draws", "3")
    gaps = (made["x"] - made["original"].repeat(3, axis=0)) / [100.0, 1.0]
    off = [np.sqrt((g**2).mean()) for g in (gaps, gaps.reshape(2, 3, 2).mean(1))]
    pattern = r"draws (\S+), mean (\S+) standard deviations of the data"
    said = re.search(pattern, capsys.readouterr().out).groups()
    assert [float(text) for text in said] == pytest.approx(off, rel=0.01)


def test_test_data_of_a_run_are_observed_first(edm, tmp_path):
    made = restored(tmp_path, "inpaint", edm, "test", "--mask", "half:top", "--draws", "1")
    test = load("digits").test
    assert len(made["x"]) == 8 and len(set(made["row"])) == 8
    np.testing.assert_array_equal(made["original"], test[torch.from_numpy(made["row"])])


def test_code_of_ones_own_observes(mine, images, tmp_path):
    given = ["--degrade", "--noise", "0.2"]
    named = ["downsample:2", f"{mine}:halves"]
    made = [
        restored(tmp_path, "restore", f"{mine}:exact", images, "--operator", h, *given)
        for h in named
    ]
    np.testing.assert_allclose(made[0]["x"], made[1]["x"], atol=1e-6)
    given = [f"restore {mine}:exact {images} --method tmpd", *given, "--operator"]
    sums = restored(tmp_path, *given, f"{mine}:sums")
    assert sums["observed"].shape == (3, 1)
    np.save(tmp_path / "ones.npy", np.ones((1, 64)))
    ones = restored(tmp_path, *given, f"matrix:{tmp_path}/ones.npy")
    np.testing.assert_allclose(ones["x"], sums["x"], atol=1e-4)


def test_draws_by_particles_are_those_of_twisted(mine, field, images, tmp_path, capsys):
    given = "--operator downsample:2 --noise 0.3 --method smc --particles 40 --draws 3 --seed 5"
    made = restored(tmp_path, f"restore {mine}:exact {images} --degrade", given)
    printed = capsys.readouterr()
    assert "11 network calls of each particle" in printed.out
    assert "particles of an observation" not in printed.err
    assert made["row"].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    halves, seen = downsample((1, 8, 8), 2), torch.from_numpy(made["observed"])
    for k in range(3):
        x = twisted(field, halves, seen[k], 0.3, 3, 40, nfe=6, seed=5 + k).x
        np.testing.assert_allclose(made["x"][3 * k : 3 * k + 3], x, atol=1e-5)


def test_poisson_fields_and_classes_are_restored_too(mine, images, tmp_path):
    made = restored(tmp_path, "inpaint", f"{mine}:poisson", images, "--mask", "half:left")
    assert np.isfinite(made["x"]).all()
    given = ["--mask", "random:0.9", "--noise", "1", "--label", "3", "--draws", "6"]
    made = restored(tmp_path, "inpaint", f"{mine}:labelled", images, *given)
    digits = load("digits")
    threes = digits.train[:40][digits.train_labels[:40] == 3].flatten(1).numpy()
    gaps = np.abs(made["x"].reshape(-1, 1, 64) - threes).max(2).min(1)
    assert len(threes) > 1 and gaps.max() < 1


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("downsample:2", ["original", "observed", "draw 1", "draw 2", "mean", "std"]),
        ("mask:box:2,2,4,4", ["original", "observed", "draw 1", "draw 2", "mean", "std"]),
        ("sums", ["original", "draw 1", "draw 2", "mean", "std"]),
    ],
)
def test_a_picture_has_a_row_for_each_kind(given, shown, mine, images, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(
        "diffode.viz.restored.image_sheet",
        lambda x, path, title, y, names: kept.extend((x, title, y, names)),
    )
    h = given if ":" in given else f"{mine}:{given}"
    arguments = ["--operator", h, "--noise", "0.1", "--degrade", "--draws", "2", "--label", "3"]
    assert run(["restore", f"{mine}:labelled", str(images), *arguments, *QUICK]) == 0
    x, title, y, names = kept
    assert names == shown and len(x) == len(y) == 3 * len(shown)
    assert (
        "noise 0.1\nlabel 3, pigdm" in title
        and "dpm++, 6 evaluations each, seed 0; nothing sel" in title
    )
    inner = x[y == 1][:, :, 2:6, 2:6]
    assert bool((inner[:, 2] > inner[:, 0] + 0.5).all()) if "mask" in given else x.shape[1] == 1


def test_pictures_of_images_and_of_points(mine, images, tmp_path):
    out = ["--draws", "2", *QUICK, "--out", str(tmp_path / "x.png")]
    assert run(["inpaint", f"{mine}:exact", str(images), "--mask", "half:left", *out]) == 0
    with Image.open(tmp_path / "x.png") as image:
        assert image.width >= 800 and len(image.getcolors(2**20)) > 20
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    np.save(tmp_path / "first.npy", np.array([1, 0]))
    given = ["--mask", str(tmp_path / "first.npy"), *out]
    assert run(["inpaint", f"{mine}:points", str(tmp_path / "x.npy"), *given]) == 0
    with Image.open(tmp_path / "x.png") as image:
        assert image.height >= 400


def test_operators_of_the_command_line_are_those_of_python():
    x = load("digits").test[:2]
    for text, made in (
        ("downsample:4", downsample((1, 8, 8), 4)),
        ("blur:1.5", blur((1, 8, 8), 1.5)),
        ("mask:half:right", mask(HALF[:, ::-1].copy(), (1, 8, 8))),
        ("mask:half:top", mask(HALF.T.copy(), (1, 8, 8))),
        ("mask:half:bottom", mask(HALF.T[::-1].copy(), (1, 8, 8))),
    ):
        assert torch.equal(operator_of(text, (1, 8, 8))(x), made(x)), text
