"""The command line at work: likelihood cards, latents and back."""

import json
import math
import re

import numpy as np
import pytest
import torch

from diffode.card import likelihood_card
from diffode.cli.app import run
from diffode.data import load as load_data
from diffode.encoding import decode
from diffode.likelihood import dequantise, law_at_prior, levels_of
from diffode.rng import Rng
from diffode.solvers import get_solver
from diffode.solvers.likelihood import log_prob
from diffode.training import checkpoint

TINY = ["--device", "cpu", "--batch", "16", "--steps", "2", "--samples", "20"]
TINY += ["--set", "width=16", "--set", "depth=1"]
LOOSE = ["--set", "rtol=1e-2", "--set", "atol=1e-2", "--device", "cpu"]


def made(folder, *given):
    out = folder / "run"
    assert run(["train", *given, *TINY, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def edm(tmp_path_factory):
    return made(tmp_path_factory.mktemp("edm"), "--field", "edm")


@pytest.fixture(scope="module")
def poisson(tmp_path_factory):
    """A Poisson flow of the digits, trained with their labels."""
    return made(tmp_path_factory.mktemp("poisson"), "--field", "pfgm", "--labels")


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    return made(tmp_path_factory.mktemp("moons"), "--field", "flow", "--data", "moons")


def arrays(path):
    with np.load(path) as content:
        return {name: content[name] for name in content.files}


def figures(path):
    return json.loads(path.read_text(encoding="utf-8"))


def refused(capsys, *arguments):
    """The one line of the refusal."""
    capsys.readouterr()
    assert run([str(a) for a in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err


# -------------------------------------------------------------------------------------- likelihood


def test_the_card_of_a_run(edm, tmp_path, capsys):
    capsys.readouterr()
    out, values = tmp_path / "card.json", tmp_path / "each.npz"
    given = ["--n", "5", "--seed", "3", *LOOSE]
    files = ["--out", str(out), "--values", str(values)]
    assert run(["likelihood", str(edm), *given, *files]) == 0
    printed = capsys.readouterr()
    assert "10/10" in printed.err, "no progress"

    field, dataset = checkpoint.load(edm).field, load_data("digits")
    levels = levels_of(dataset.train)
    x = dequantise(dataset.test[:5], levels, Rng(3))
    solver = get_solver("dopri5", rtol=1e-2, atol=1e-2)
    law = law_at_prior(field, dataset.train)
    card = likelihood_card(field, x, solver=solver, levels=levels, terminal=law, seed=3)
    expected = card.figures()
    got = figures(out)
    assert (got.pop("run"), got.pop("data"), got.pop("seed")) == (str(edm), "test", 3)
    for name in ("trace", "solver"):
        assert got.pop(name) == expected.pop(name)
    assert got == pytest.approx(expected, rel=1e-4)
    assert got["levels"] == 17 and got["offset_bits"] == 3 and got["prior_mismatch"] != 0
    for words in ("likelihood of 5 points of 64", f"{got['nats']:.4f}", "offset +3.000", "wrote"):
        assert words in printed.out
    each = arrays(values)
    assert list(each)[:2] == ["x", "nats"] and each["x"].shape == (5, 1, 8, 8)
    np.testing.assert_allclose(each["nats"], each["prior"] + each["divergence"])
    assert float(each["nats"].mean()) == pytest.approx(got["nats"])
    assert float(each["mismatch"].mean()) == pytest.approx(got["prior_mismatch"])


def test_likelihood_options_matter(edm, tmp_path):
    variants = {
        "test": [],
        "train": ["--data", "train"],
        "as is": ["--as-is"],
        "seed": ["--seed", "1"],
        "raw": ["--weights", "raw"],
        "estimate": ["--trace", "hutchinson", "--probes", "3"],
        "range": ["--trace", "hutch++", "--probes", "3"],
        "more": ["--trace", "hutchinson", "--probes", "4"],
    }
    nats = {}
    for name, given in variants.items():
        out = tmp_path / f"{name}.json"
        assert run(["likelihood", str(edm), "--n", "2", *LOOSE, *given, "--out", str(out)]) == 0
        nats[name] = figures(out)
    assert len({f["nats"] for f in nats.values()}) == len(variants)
    assert nats["as is"]["levels"] is None and nats["as is"]["offset_bits"] == 0
    assert nats["test"]["estimator_error"] == 0 < nats["estimate"]["estimator_error"]
    steps = ["--solver", "heun", "--steps", "6", "--device", "cpu", "--n", "2"]
    assert run(["likelihood", str(edm), *steps, "--out", str(tmp_path / "heun.json")]) == 0
    assert figures(tmp_path / "heun.json")["nfe"] == 12


def test_what_is_infinite_is_null_in_json(moons, tmp_path):
    out = tmp_path / "one.json"
    assert run(["likelihood", str(moons), "--n", "1", *LOOSE, "--out", str(out)]) == 0
    f = figures(out)
    assert f["nats_stderr"] is None and f["bits_stderr"] is None and f["levels"] is None
    assert math.isfinite(f["nats"])


def test_a_labelled_run_is_measured_with_its_labels(poisson, tmp_path):
    values = tmp_path / "each.npz"
    given = ["--n", "3", *LOOSE, "--values", str(values)]
    assert run(["likelihood", str(poisson), *given]) == 0
    each, dataset = arrays(values), load_data("digits")
    y = dataset.test_labels[:3]
    np.testing.assert_array_equal(each["y"], y.numpy())
    field, x = checkpoint.load(poisson).field, torch.from_numpy(each["x"])
    solver = get_solver("dopri5", rtol=1e-2, atol=1e-2)
    with_labels = log_prob(field, x, y=y, solver=solver).nats
    np.testing.assert_allclose(each["nats"], with_labels, rtol=1e-6)
    assert not np.allclose(each["nats"], log_prob(field, x, solver=solver).nats, rtol=1e-5)


def test_the_likelihood_of_ones_own_points(moons, tmp_path, capsys):
    np.save(tmp_path / "own.npy", load_data("moons").test[:3].numpy())
    values = tmp_path / "each.npz"
    given = ["--data", str(tmp_path / "own.npy"), *LOOSE, "--values", str(values)]
    assert run(["likelihood", str(moons), *given]) == 0
    np.testing.assert_array_equal(arrays(values)["x"], load_data("moons").test[:3].numpy())
    assert "of the density itself" in capsys.readouterr().out


def test_a_checkpoint_file_has_no_data_of_its_own(edm, tmp_path, capsys):
    file = next((edm / "checkpoints").iterdir())
    assert "is not a run" in refused(capsys, "likelihood", file, *LOOSE)
    np.save(tmp_path / "own.npy", load_data("digits").test[:2].numpy())
    assert run(["likelihood", str(file), "--data", str(tmp_path / "own.npy"), *LOOSE]) == 0
    printed = capsys.readouterr().out
    assert "not known" in printed and "offset +3.000" in printed


def test_points_between_the_levels_are_taken_as_they_are(edm, tmp_path):
    np.save(tmp_path / "own.npy", load_data("digits").test[:2].numpy() + 0.01)
    out = tmp_path / "card.json"
    given = ["--data", str(tmp_path / "own.npy"), *LOOSE, "--out", str(out)]
    assert run(["likelihood", str(edm), *given]) == 0
    assert figures(out)["levels"] is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--trace", "half"], "got trace 'half'; wanted exact, hutchinson, hutch++"),
        (["--out", "card.txt"], "wanted a name that ends in .json"),
        (["--values", "each.json"], "wanted a name that ends in .npz"),
        (["--solver", "ddim"], "ddim needs an AffineField"),
        (["--solver", "magic"], "no solver named 'magic'"),
        (["--set", "eta=1"], "no option 'eta'"),
        (["--weights", "best"], "got --weights best; wanted ema or raw"),
        (["--data", "nowhere.npy"], "nowhere.npy: no such file"),
        (["--n", "0"], "Invalid value for '--n'"),
    ],
)
def test_a_likelihood_that_cannot_be_had_is_refused(edm, capsys, given, message):
    assert message in refused(capsys, "likelihood", edm, *given)


# -------------------------------------------------------------------------------- encode, decode


@pytest.fixture
def images(tmp_path):
    dataset = load_data("digits")
    path = tmp_path / "images.npz"
    np.savez(path, x=dataset.test[:3].numpy(), y=dataset.test_labels[:3].numpy())
    return path


def test_latents_and_back(edm, images, tmp_path, capsys):
    latents, back = tmp_path / "new" / "latents.npz", tmp_path / "back.npz"
    tight = ["--set", "rtol=1e-5", "--set", "atol=1e-5"]
    capsys.readouterr()
    assert run(["encode", str(edm), str(images), *tight, "--out", str(latents)]) == 0
    printed = capsys.readouterr()
    assert "6/6" in printed.err, "no progress"
    said = re.search(
        r"3 latents, \d+ evaluations each\); round trip: rms error (\S+), at", printed.out
    )
    there = arrays(latents)
    assert list(there) == ["x", "error"] and there["x"].shape == (3, 1, 8, 8)
    assert 10 < np.abs(there["x"]).max() < 1000
    assert run(["decode", str(edm), str(latents), *tight, "--out", str(back)]) == 0
    gap = arrays(back)["x"] - arrays(images)["x"]
    error = np.sqrt((gap**2).mean((1, 2, 3)))
    np.testing.assert_allclose(error, there["error"], rtol=0.05, atol=1e-6)
    assert float(said.group(1)) == pytest.approx(np.sqrt((gap**2).mean()), rel=0.1)
    assert error.max() < 0.01


def test_labels_travel_with_the_latents(poisson, images, tmp_path):
    latents, back = tmp_path / "latents.npz", tmp_path / "back.npz"
    steps = ["--solver", "heun", "--steps", "20"]
    assert run(["encode", str(poisson), str(images), *steps, "--out", str(latents)]) == 0
    there = arrays(latents)
    assert list(there) == ["x", "y", "error"]
    np.testing.assert_array_equal(there["y"], arrays(images)["y"])
    assert run(["decode", str(poisson), str(latents), *steps, "--out", str(back)]) == 0
    field = checkpoint.load(poisson).field
    x, y = torch.from_numpy(there["x"]), torch.from_numpy(there["y"])
    np.testing.assert_allclose(
        arrays(back)["x"], decode(field, x, "heun", steps=20, y=y).x, rtol=1e-4, atol=1e-5
    )


def test_a_latent_with_a_radius_of_its_own(poisson, tmp_path):
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype("float32")) * 80
    q = torch.tensor([5.0, 9.0])
    np.savez(tmp_path / "pair.npz", x=z.numpy(), q=q.numpy())
    given = ["--solver", "heun", "--nfe", "7", "--final", "denoise"]
    out = tmp_path / "back.npz"
    assert (
        run(["decode", str(poisson), str(tmp_path / "pair.npz"), *given, "--out", str(out)]) == 0
    )
    field = checkpoint.load(poisson).field
    expected = decode(field, z, "heun", nfe=7, q=q, final="denoise").x
    np.testing.assert_allclose(arrays(out)["x"], expected, rtol=1e-4, atol=1e-5)
    assert (
        run(
            [
                "decode",
                str(poisson),
                str(tmp_path / "pair.npz"),
                *given,
                "--out",
                str(tmp_path / "b.png"),
            ]
        )
        == 0
    )
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_images_of_bytes_are_scaled(edm, tmp_path):
    bytes_, floats = tmp_path / "bytes.npy", tmp_path / "floats.npy"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    np.save(bytes_, pixels)
    np.save(floats, pixels[:, None] / 127.5 - 1)
    both = []
    for file in (bytes_, floats):
        out = tmp_path / "latents.npz"
        given = ["--solver", "heun", "--steps", "3", "--out", str(out)]
        assert run(["encode", str(edm), str(file), *given]) == 0
        both.append(arrays(out)["x"])
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("command", "array", "given", "message"),
    [
        ("encode", np.zeros((2, 8, 9)), [], "shape (2, 1, 8, 9); this run moves numbers of shape"),
        ("encode", np.zeros((2, 3)), [], "shape (2, 3); this run moves numbers of shape (rows, 1"),
        ("encode", np.full((2, 8, 8), np.nan), [], "got values that are NaN or infinite"),
        ("encode", np.zeros((2, 8, 8), "U2"), [], "this run moves numbers"),
        ("encode", np.zeros((2, 8, 8)), ["--out", "z.png"], "wanted a name that ends in .npz"),
        ("encode", np.zeros((2, 8, 8)), ["--nfe", "9"], "dopri5 chooses its own steps"),
        ("decode", np.zeros((2, 8, 8)), ["--out", "z.txt"], "ends in .png or .npz"),
        ("decode", np.zeros((2, 8, 8)), ["--final", "sharpen"], "wanted none or denoise"),
    ],
)
def test_what_cannot_be_carried_is_refused(edm, tmp_path, capsys, command, array, given, message):
    np.save(tmp_path / "x.npy", array)
    assert message in refused(capsys, command, edm, tmp_path / "x.npy", *given)


def test_labels_that_a_run_has_not_are_refused(poisson, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 8, 8)), y=np.array([3, 12]))
    line = refused(capsys, "encode", poisson, tmp_path / "x.npz")
    assert "got label 12; this run has labels 0 to 9" in line


def test_a_radius_for_a_field_without_is_refused(edm, tmp_path, capsys):
    np.savez(tmp_path / "pair.npz", x=np.zeros((2, 8, 8)), q=np.ones(2))
    assert "q belongs to an unbound Poisson" in refused(
        capsys, "decode", edm, tmp_path / "pair.npz"
    )
