"""Runs on bytes: what commands write and take is in the units of the data."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from diffode.cli.app import run
from diffode.data import Dataset
from diffode.data import load as load_data
from diffode.data.scaling import Scaling
from diffode.metrics.panel import Panel
from diffode.runs.loading import load
from diffode.sampling import sample
from tests.runs import LOOSE, arrays, figures, made, refused


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with the same images as bytes and as numbers from -1 to 1, and a run on each."""
    folder = tmp_path_factory.mktemp("images")
    levels = np.round((load_data("digits").train[:60].numpy() + 1) * 127.5).astype(np.uint8)
    np.savez(folder / "bytes.npz", x=levels)
    np.savez(folder / "floats.npz", x=(levels / np.float32(127.5) - 1).astype(np.float32))
    for name in ("bytes", "floats"):
        made(folder / name, "--field", "edm", "--data", str(folder / f"{name}.npz"))
    return folder


def out(images, name, *arguments):
    assert run([*map(str, arguments), "--out", str(images / name), "--device", "cpu"]) == 0
    return images / name


def both(images, name, *arguments):
    command, *rest = arguments
    return [
        out(images, f"{k}-{name}", command, images / k / "run", *rest) for k in ("bytes", "floats")
    ]


def test_samples_of_a_run_on_bytes_are_bytes(images):
    given, plain = (arrays(p)["x"] for p in both(images, "s.npz", "sample", "--n", "6"))
    np.testing.assert_allclose(given, (plain + 1) * 127.5, rtol=0, atol=1e-3)
    own = arrays(images / "bytes/run/samples.npz")["x"]
    np.testing.assert_allclose(
        own, (arrays(images / "floats/run/samples.npz")["x"] + 1) * 127.5, rtol=0, atol=1e-3
    )


def test_pictures_are_the_same_in_all_units(images):
    given, plain = both(images, "s.png", "sample", "--n", "6")
    images = [plt.imread(p) for p in (given, plain)]
    below = images[0].shape[0] // 3  # of the title, which names the run
    np.testing.assert_array_equal(images[0][below:], images[1][below:])


def test_points_in_other_units_than_the_run_are_spoken_of(images, capsys):
    for name, said in (("floats", True), ("bytes", False)):
        out(images, "e.npz", "encode", images / "bytes/run", images / f"{name}.npz", *LOOSE[:-2])
        assert ("takes them in the units of its data" in capsys.readouterr().err) == said


def test_a_card_does_not_depend_on_the_units(images):
    cards = both(images, "card.json", "likelihood", "--n", "2", *LOOSE[:-2])
    given, plain = map(figures, cards)
    assert given["levels"] == plain["levels"] == 256
    assert (given["offset_bits"], plain["offset_bits"]) == (0.0, pytest.approx(6.994, abs=1e-3))
    assert given["bits_per_dim"] == pytest.approx(plain["bits_per_dim"], abs=1e-4)
    assert given["prior_mismatch"] == pytest.approx(plain["prior_mismatch"], abs=1e-4)
    assert given["nats"] - given["units"] == pytest.approx(plain["nats"], abs=1e-2)


def test_a_file_of_bytes_is_taken_in_the_units_of_the_run(images):
    np.save(images / "two.npy", np.load(images / "bytes.npz")["x"][:2])
    more = ("--data", images / "two.npy", *LOOSE[:-2])
    given, plain = map(figures, both(images, "two.json", "likelihood", *more))
    assert given["bits_per_dim"] == pytest.approx(plain["bits_per_dim"], abs=1e-4)


def test_encode_then_decode_gives_bytes_back(images, tmp_path):
    latents = out(images, "l.npz", "encode", images / "bytes/run", images / "bytes.npz")
    assert np.abs(arrays(latents)["x"]).max() < 500
    back = out(images, "d.npz", "decode", images / "bytes/run", latents)
    levels = np.load(images / "bytes.npz")["x"]
    np.testing.assert_allclose(arrays(back)["x"], levels, rtol=0, atol=255e-4)
    first, second = (
        out(images, f"{k}.png", "decode", images / f"{k}/run", latents)
        for k in ("bytes", "floats")
    )
    assert first.read_bytes() == second.read_bytes()


def test_an_evaluation_measures_model_units(images):
    given, plain = both(images, "eval", "eval", "--samples", "20")
    metrics = [figures(p / "eval.json")["metrics"] for p in (given, plain)]
    assert metrics[0].keys() == metrics[1].keys()
    for name in ("W2", "sliced W2", "energy"):
        assert metrics[0][name]["value"] == pytest.approx(metrics[1][name]["value"], rel=1e-4)


def test_other_units_are_refused(images, capsys):
    place, floats = images / "bytes/run", images / "floats.npz"
    said = refused(capsys, "eval", place, "--data", floats, "--samples", "20", "--device", "cpu")
    assert "makes samples in other units than floats.npz: pixels: 0 ... 255" in said


def test_a_run_without_units_takes_bytes_as_numbers_about_0(images):
    more = ("--data", images / "bytes.npz", "--samples", "20")
    place = images / "floats/run"
    given = out(images, "by", "eval", place, *more)
    plain = out(images, "own", "eval", place, "--samples", "20")
    names = [figures(p / "eval.json")["metrics"]["energy"]["value"] for p in (given, plain)]
    assert names[0] == pytest.approx(names[1], rel=1e-5)


def test_a_panel_takes_samples_in_its_own_units():
    scaling = Scaling("standard", torch.tensor([50.0, -3.0]), torch.tensor([10.0, 0.1]))
    points = load_data("moons")
    plain = Dataset("moons", points.train[:100], points.test[:60])
    scaled = Dataset("moons", points.train[:100], points.test[:60], scaling=scaling)
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    first, second = Panel(plain, 40).measure(x), Panel(scaled, 40).measure(scaling.to_data(x))
    for name in ("W2", "sliced W2"):
        assert first[name].value == pytest.approx(second[name].value, rel=1e-4)


def test_a_field_of_a_run_says_its_units(images):
    field = load(images / "bytes/run").field
    assert "units pixels: 0 ... 255 as -1 ... 1" in repr(field)
    assert sample(field, 3).x.max() > 2
