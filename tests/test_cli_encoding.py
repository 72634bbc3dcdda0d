"""`diffode encode` and `diffode decode` as their users meet them."""

import re

import numpy as np
import pytest
import torch

from diffode.cli.app import run
from diffode.data import load as load_data
from diffode.runs.loading import load
from diffode.sampling.encoding import decode
from tests.runs import LOOSE, arrays, refused


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
    assert list(there) == ["x", "error", "field", "status"] and there["x"].shape == (3, 1, 8, 8)
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
    assert list(there) == ["x", "y", "error", "field", "status"]
    np.testing.assert_array_equal(there["y"], arrays(images)["y"])
    assert run(["decode", str(poisson), str(latents), *steps, "--out", str(back)]) == 0
    field = load(poisson).field
    x, y = torch.from_numpy(there["x"]), torch.from_numpy(there["y"])
    np.testing.assert_allclose(
        arrays(back)["x"], decode(field, x, "heun", steps=20, y=y).x, rtol=1e-4, atol=1e-5
    )


def test_latents_of_other_weights_are_told(edm, images, tmp_path, capsys):
    out = str(tmp_path / "latents.npz")
    assert run(["encode", str(edm), str(images), *LOOSE, "--out", out]) == 0
    for weights, said in (("ema", ""), ("raw", "are those of another field, or of other weights")):
        capsys.readouterr()
        back = ["--out", str(tmp_path / "back.npz"), "--weights", weights]
        assert run(["decode", str(edm), out, *LOOSE, *back]) == 0
        warned = capsys.readouterr().err
        assert said in warned if said else "warning" not in warned


def test_a_latent_with_a_radius_of_its_own(poisson, tmp_path):
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype("float32")) * 80
    q = torch.tensor([5.0, 9.0])
    np.savez(tmp_path / "pair.npz", x=z.numpy(), q=q.numpy())
    given = ["--solver", "heun", "--nfe", "7", "--final", "denoise"]
    out = tmp_path / "back.npz"
    assert (
        run(["decode", str(poisson), str(tmp_path / "pair.npz"), *given, "--out", str(out)]) == 0
    )
    field = load(poisson).field
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
        (
            "encode",
            np.zeros((2, 8, 9)),
            [],
            "shape (2, 8, 9); this field moves numbers",
        ),
        (
            "encode",
            np.zeros((2, 3)),
            [],
            "shape (2, 3); this field moves numbers of shape (",
        ),
        ("encode", np.full((2, 8, 8), np.nan), [], "got values that are NaN or infinite"),
        ("encode", np.zeros((2, 8, 8), "U2"), [], "this field moves numbers"),
        (
            "encode",
            np.zeros((2, 8, 8), "c8"),
            [],
            "type complex64; this field moves numbers: floats or whole numbers",
        ),
        *(
            (command, np.zeros((0, 1, 8, 8)), [], "got no rows, an array of shape (0, 1, 8, 8)")
            for command in ("encode", "decode", "edit", "interpolate", "inpaint --mask half:left")
        ),
        ("encode", np.zeros((2, 8, 8)), ["--out", "z.png"], "wanted a name that ends in .npz"),
        (
            "encode",
            np.full((2, 8, 8), 0.5),
            ["--solver", "dopri5", "--nfe", "9"],
            "dopri5 chooses its own steps",
        ),
        ("decode", np.zeros((2, 8, 8)), ["--out", "z.txt"], "ends in .png or .npz"),
        ("decode", np.zeros((2, 8, 8)), ["--final", "sharpen"], "wanted none or denoise"),
    ],
)
def test_what_cannot_be_carried_is_refused(edm, tmp_path, capsys, command, array, given, message):
    np.save(tmp_path / "x.npy", array)
    command, *more = command.split()
    assert message in refused(capsys, command, edm, tmp_path / "x.npy", *more, *given)


@pytest.mark.parametrize("command", ["encode", "decode", "interpolate", "edit"])
@pytest.mark.parametrize("given", ["ancestral", "ddim --set eta=0.5", "churn"])
def test_solvers_that_add_noise_bring_nothing_back(edm, images, command, given, tmp_path, capsys):
    out = tmp_path / "new" / "x.npz"
    more = ["--steps", "3", *(["--deterministic"] if command == "edit" else []), "--out", out]
    line = refused(capsys, command, edm, images, "--solver", *given.split(), *more)
    assert "adds noise, so that no encoded point comes back; use a solver that adds none" in line
    assert not out.exists()


def test_labels_that_a_run_has_not_are_refused(poisson, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 8, 8)), y=np.array([3, 12]))
    line = refused(capsys, "encode", poisson, tmp_path / "x.npz")
    assert "got label 12; this field has labels 0 to 9" in line


def test_a_radius_for_a_field_without_is_refused(edm, tmp_path, capsys):
    np.savez(tmp_path / "pair.npz", x=np.zeros((2, 8, 8)), q=np.ones(2))
    assert "q belongs to an unbound Poisson" in refused(
        capsys, "decode", edm, tmp_path / "pair.npz"
    )
