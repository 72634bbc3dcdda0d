"""`diffode likelihood` as its users meet it."""

import math
import shutil

import numpy as np
import pytest
import torch

from diffode.cli.app import run
from diffode.data import load as load_data
from diffode.data.rows import some_rows
from diffode.likelihood.card import likelihood_card
from diffode.likelihood.density import log_prob
from diffode.likelihood.dequantisation import dequantise, law_at_prior, quantisation_of
from diffode.rng import Rng
from diffode.runs.loading import load
from diffode.solvers import get_solver
from tests.runs import LOOSE, arrays, figures, made, refused


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    return made(tmp_path_factory.mktemp("moons"), "--field", "flow", "--data", "moons")


def test_the_card_of_a_run(edm, tmp_path, capsys):
    capsys.readouterr()
    out, values = tmp_path / "card.json", tmp_path / "each.npz"
    given = ["--n", "5", "--seed", "3", *LOOSE]
    files = ["--out", str(out), "--values", str(values)]
    assert run(["likelihood", str(edm), *given, *files]) == 0
    printed = capsys.readouterr()
    assert "10/10" in printed.err, "no progress"

    field, dataset = load(edm).field, load_data("digits")
    levels = quantisation_of(dataset.train)
    rows = some_rows(len(dataset.test), 5, dataset.test_labels, seed=3)
    x = dequantise(dataset.test[rows], levels, Rng(3))
    solver = get_solver("dopri5", rtol=1e-2, atol=1e-2)
    law = law_at_prior(field, dataset.train)
    card = likelihood_card(field, x, solver=solver, levels=levels, terminal=law, seed=3)
    expected = card.figures()
    got = figures(out)
    assert (got.pop("run"), got.pop("data"), got.pop("seed")) == (str(edm), "test", 3)
    assert (got.pop("latents"), got.pop("moments_taken")) == (False, "")
    for name in ("trace", "products", "solver"):
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


def test_likelihood_options_matter(edm, tmp_path, capsys):
    variants = {
        "test": [],
        "train": ["--data", "train"],
        "as is": ["--as-is"],
        "seed": ["--seed", "1"],
        "raw": ["--weights", "raw"],
        "estimate": ["--trace", "hutchinson", "--probes", "12"],
        "range": ["--trace", "hutch++", "--probes", "12"],
        "more": ["--trace", "hutchinson", "--probes", "13"],
    }
    nats = {}
    for name, given in variants.items():
        out = tmp_path / f"{name}.json"
        assert run(["likelihood", str(edm), "--n", "2", *LOOSE, *given, "--out", str(out)]) == 0
        nats[name] = figures(out)
    assert len({f["nats"] for f in nats.values()}) == len(variants)
    assert nats["as is"]["levels"] is None and nats["as is"]["offset_bits"] == 0
    assert nats["test"]["estimator_error"] == 0 < nats["estimate"]["estimator_error"]
    few = ["--trace", "hutchinson", "--probes", "3", "--out", str(tmp_path / "few.json")]
    assert run(["likelihood", str(edm), "--n", "2", *LOOSE, *few]) == 0
    assert figures(tmp_path / "few.json")["estimator_error"] is None
    assert "not stated of fewer than 10 probes" in capsys.readouterr().out
    steps = ["--solver", "heun", "--steps", "6", "--device", "cpu", "--n", "2"]
    assert run(["likelihood", str(edm), *steps, "--out", str(tmp_path / "heun.json")]) == 0
    assert figures(tmp_path / "heun.json")["nfe"] == 12


def test_what_is_infinite_is_null_in_json(moons, tmp_path):
    out = tmp_path / "one.json"
    assert run(["likelihood", str(moons), "--n", "1", *LOOSE, "--out", str(out)]) == 0
    f = figures(out)
    assert f["nats_stderr"] is None and f["bits_stderr"] is None and f["levels"] is None
    assert math.isfinite(f["nats"])


def test_levels_that_are_told(edm, moons, tmp_path, capsys):
    """Digits have 17 values from -1 to 1, which are 33 values too, one bit apart."""
    bits = {}
    for name in ("found", "17", "33", "17:-1:1"):
        out = tmp_path / "card.json"
        told = [] if name == "found" else ["--levels", name]
        assert run(["likelihood", str(edm), "--n", "2", *LOOSE, *told, "--out", str(out)]) == 0
        bits[name] = figures(out)
    assert bits["found"] == bits["17"] == bits["17:-1:1"]
    assert (bits["33"]["levels"], bits["33"]["offset_bits"]) == (33, 4.0)
    line = refused(capsys, "likelihood", moons, "--n", "2", *LOOSE, "--levels", "256")
    assert "got data that take other values than the 256 from -1 to 1" in line
    assert "wanted N, as 256" in refused(capsys, "likelihood", edm, *LOOSE, "--levels", "many")
    both = ["--levels", "256", "--as-is"]
    assert "give one of the two" in refused(capsys, "likelihood", edm, *LOOSE, *both)
    assert "without --likelihood" in refused(capsys, "eval", edm, "--levels", "256")


def test_a_labelled_run_is_measured_with_its_labels(poisson, tmp_path):
    values = tmp_path / "each.npz"
    given = ["--n", "3", *LOOSE, "--values", str(values)]
    assert run(["likelihood", str(poisson), *given]) == 0
    each, dataset = arrays(values), load_data("digits")
    y = dataset.test_labels[torch.from_numpy(each["row"])]
    np.testing.assert_array_equal(each["y"], y.numpy())
    assert len(y.unique()) == 3
    field, x = load(poisson).field, torch.from_numpy(each["x"])
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


def test_a_checkpoint_file_alone_has_no_data_of_its_own(edm, tmp_path, capsys):
    file = shutil.copy(next((edm / "checkpoints").iterdir()), tmp_path)
    assert "so it has no data of its own" in refused(capsys, "likelihood", file, *LOOSE)
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
        (["--n", "0"], "Invalid value for '--points' / '--n'"),
    ],
)
def test_a_likelihood_that_cannot_be_had_is_refused(edm, capsys, given, message):
    assert message in refused(capsys, "likelihood", edm, *given)
