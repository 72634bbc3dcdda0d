"""Every command takes the folder of a diffusers pipeline, from an empty folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffode.cli.app import run
from diffode.interop import from_diffusers
from tests.pipelines import autoencoder, ddim, diffusers, saved, transformer, unet
from tests.runs import made, refused

FEW = ["--device", "cpu"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made = saved(tmp_path / "pipe", ddim(), unet(sample_size=8, in_channels=1, out_channels=1))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return str(made)


@pytest.fixture
def data(tmp_path):
    """Bytes of 60 images, as a file of arrays."""
    x = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=x)
    return str(tmp_path / "data.npz")


def test_samples_go_to_the_prior_and_back(folder, capsys):
    drawn = ["--samples", "3", "--nfe", "8", *FEW]
    assert run(["sample", folder, *drawn, "--out", "x.npz"]) == 0
    assert run(["sample", folder, *drawn, "--out", "x.png"]) == 0
    x = np.load("x.npz")["x"]
    assert x.shape == (3, 1, 8, 8) and "pixels" not in np.load("x.npz")
    assert run(["encode", folder, "x.npz", "--nfe", "40", *FEW, "--out", "z.npz"]) == 0
    assert run(["decode", folder, "z.npz", "--nfe", "40", *FEW, "--out", "back.npz"]) == 0
    assert np.abs(np.load("back.npz")["x"] - x).max() < 0.05 * np.abs(x).max()
    grid = ["--steps", "4", "--pilot", "8", *FEW]
    assert run(["fit-grid", folder, *grid, "--out", "grid.json"]) == 0
    assert run(["sample", folder, "--n", "2", "--grid", "grid.json", *FEW, "--out", "y.npz"]) == 0


def test_what_needs_data_asks_for_them_and_takes_them(folder, data, capsys):
    assert "is no run, so it has no data of its own; give --data" in refused(
        capsys, "likelihood", folder, *FEW
    )
    assert "give --data" in refused(capsys, "eval", folder, *FEW)
    cheap = ["--n", "2", "--solver", "heun", "--steps", "2", *FEW, "--out", "card.json"]
    assert run(["likelihood", folder, "--data", data, *cheap]) == 0
    assert "the network refuses torch.vmap unless" in capsys.readouterr().out
    card = json.loads(Path("card.json").read_text())
    assert card["products"] == "recorded"
    assert card["moments_taken"] == "mean 0 and standard deviation 0.5"
    asked = ["--samples", "50", "--nfe", "4", *FEW, "--out", "measured"]
    assert run(["eval", folder, "--data", data, *asked]) == 0


def test_check_looks_at_a_pipeline(folder, capsys):
    assert run(["check", folder, *FEW]) in (0, 1)  # its weights are random
    printed = capsys.readouterr().out
    assert "no data given" in printed and "has no derivative" not in printed


def test_what_does_not_fit_a_pipeline_is_refused(folder, tmp_path, capsys):
    out = ["--n", "2", "--out", "x.npz"]
    assert "published with one set of weights" in refused(
        capsys, "sample", folder, *out, "--weights", "raw"
    )
    assert "null_label=1; it has no labels" in refused(
        capsys, "sample", folder, *out, "--null-label", "1"
    )
    made(tmp_path, "edm", "moons")
    assert "which is no pipeline of diffusers" in refused(
        capsys, "sample", tmp_path / "run", *out, "--null-label", "1"
    )
    shutil.copytree(tmp_path / "run", folder, dirs_exist_ok=True)
    line = refused(capsys, "sample", folder, *out)
    assert "holds a pipeline of diffusers (model_index.json) and a run (config.json)" in line


def test_labels_and_latents(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    diffusers.DiTPipeline(transformer(), autoencoder(), ddim()).save_pretrained("dit")
    drawn = ["--samples", "2", "--label", "3", "--nfe", "4", *FEW, "--out"]
    assert run(["sample", "dit", *drawn, "x.npz"]) == 0
    assert run(["sample", "dit", *drawn, "x.png", "--guidance", "2"]) == 0
    arrays = np.load("x.npz")
    assert arrays["x"].shape == (2, 4, 8, 8) and arrays["pixels"].shape == (2, 3, 16, 16)
    assert arrays["y"].tolist() == [3, 3]
    with Image.open("x.png") as picture:
        assert max(picture.size) > 16
    saved(tmp_path / "classes", ddim(), unet(num_class_embeds=4))
    line = refused(capsys, "sample", "classes", "--n", "2", *FEW, "--out", "y.npz")
    assert "draws nothing without a label; give --label" in line
    assert run(["sample", "classes", "--n", "2", "--null-label", "3", *FEW, "--out", "y.npz"]) == 0
    asked = ["sample", "classes", "--n", "2", "--null-label", "3", *FEW, "--out", "z.npz"]
    assert run([*asked, "--guidance", "2", "--label", "1", "--nfe", "4"]) == 0


def test_latents_are_decoded_where_they_are_written_and_called_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    diffusers.DiTPipeline(transformer(), autoencoder(), ddim()).save_pretrained("dit")
    few = ["--nfe", "4", *FEW, "--out"]
    assert run(["sample", "dit", "--n", "60", "--label", "3", *few, "x.npz"]) == 0
    assert run(["edit", "dit", "x.npz", "--label", "1", *few, "edited.npz"]) == 0
    assert run(["edit", "dit", "x.npz", "--label", "1", *few, "edited.png"]) == 0
    ways = ["--pairs", "2", "--count", "3", "--label", "1"]
    assert run(["interpolate", "dit", *ways, *few, "ways.npz"]) == 0
    assert run(["interpolate", "dit", *ways, *few, "ways.png"]) == 0
    field = from_diffusers("dit")
    for name in ("edited.npz", "ways.npz"):
        arrays = np.load(name)
        assert arrays["x"].shape[1:] == (4, 8, 8)
        wanted = field.pixels(torch.from_numpy(arrays["x"])).numpy()
        np.testing.assert_allclose(arrays["pixels"], wanted, atol=1e-5)
    capsys.readouterr()
    cheap = ["--n", "2", "--solver", "heun", "--steps", "2", "--probes", "1", *FEW]
    assert run(["likelihood", "dit", "--data", "x.npz", "--trace", "hutchinson", *cheap]) == 0
    assert "latents of the pipeline's autoencoder, not images" in capsys.readouterr().out
    asked = ["--data", "x.npz", "--samples", "50", "--nfe", "2", *FEW, "--out", "measured"]
    assert run(["eval", "dit", *asked]) == 0
    assert "samples are latents of the pipeline's" in Path("measured/eval.md").read_text()
    given = ["x.npz", "--mask", "half:left", *FEW, "--out", "z.npz"]
    assert "dit moves latents, of which pixels are no linear" in refused(
        capsys, "inpaint", "dit", *given
    )


def test_latents_of_an_encoding_are_no_points(folder, capsys):
    few = ["--nfe", "4", *FEW, "--out"]
    assert run(["sample", folder, "--n", "2", *few, "x.npz"]) == 0
    assert run(["encode", folder, "x.npz", *few, "z.npz"]) == 0
    for command in ("interpolate", "edit", "encode"):
        line = refused(capsys, command, folder, "z.npz", *few, "y.npz")
        assert "z.npz has latents, as diffode encode writes them; this takes points" in line


def test_a_name_on_the_hub_says_so_itself(tmp_path, monkeypatch, capsys):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    out = ["--n", "2", "--out", "x.npz"]
    assert "a/b cannot be had" in refused(capsys, "sample", "hf:a/b", *out)
    assert "a/b does not exist; give a run directory" in refused(capsys, "sample", "a/b", *out)
    assert torch.is_grad_enabled()
