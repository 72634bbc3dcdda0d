"""Folders of pipelines that are damaged, that mislead or that ask for too much: one line each."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffode.interop import from_diffusers, scheduler_path
from tests.pipelines import AutoencoderKL, ddim, saved

SCHEDULER, NETWORK = "scheduler/scheduler_config.json", "unet/config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    return saved(tmp_path / "pipe", ddim())


def changed(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refusal(folder):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        from_diffusers(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_train_timesteps": 10**12}, "num_train_timesteps=1000000000000"),
        ({"num_train_timesteps": 10**8, "beta_schedule": "squaredcos_cap_v2"}, "num_train_t"),
        ({"_class_name": ["a"]}, "got the scheduler ['a']"),
        ({"_class_name": {}}, "got the scheduler {}"),
        ({"trained_betas": [0.1] * 4, "num_train_timesteps": 3}, "4 trained_betas for 3"),
        ({"trained_betas": [0.1] * 4}, "4 trained_betas for 1000"),
        ({"trained_betas": [0.999999] * 100, "num_train_timesteps": 100}, "leave alpha"),
        ({"beta_end": 0.99999999}, "leave alpha"),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "prediction_type": "epsilon"},
            "prediction_type='epsilon'",
        ),
    ],
)
def test_a_chain_that_no_path_has_is_refused(values, said):
    with pytest.raises(ValueError) as error:
        scheduler_path({"_class_name": "DDIMScheduler", **values})
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"_class_name": ["os", "system"]}, "its config.json says ['os', 'system']"),
        ({"sample_size": 10**9}, "got states of shape (3, 1000000000, 1000000000)"),
        ({"sample_size": 10**30}, "got states of shape"),
        ({"sample_size": 7}, "fails on a state of shape (3, 7, 7)"),
        ({"sample_size": [8]}, "sample_size.1 is missing"),
        ({"layers_per_block": 10**9}, "layers_per_block=1000000000"),
        ({"layers_per_block": -1}, "layers_per_block=-1"),
        ({"block_out_channels": [40000, 40000]}, "is of a network of"),
        ({"down_block_types": ["DownBlock2D"] * 2}, "it has no place for down_blocks.1.attent"),
        ({"num_class_embeds": 5}, "no class_embedding.weight"),
        ({"freq_shift": "a"}, "freq_shift='a'"),
        ({"dropout": float("nan")}, "fails on a state"),
        ({"norm_eps": float("nan")}, "norm_eps=nan"),
        ({"norm_eps": -1}, "norm_eps=-1"),
        ({"freq_shift": float("nan")}, "freq_shift=nan"),
        ({"freq_shift": 4}, "got freq_shift=4, half of block_out_channels"),
        ({"mid_block_scale_factor": 0}, "got mid_block_scale_factor=0"),
    ],
)
def test_a_network_that_its_files_are_not_is_refused(folder, capfd, values, said):
    changed(folder / NETWORK, **values)
    assert said in refusal(folder)
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_not_finite_or_belong_nowhere_are_refused(folder, capfd):
    kept = load_file(folder / WEIGHTS)

    def written(**other):
        save_file({**kept, **other}, folder / WEIGHTS, metadata={"format": "pt"})
        return refusal(folder)

    bad = kept["conv_in.bias"].clone()
    bad[3] = torch.nan
    assert "not finite: conv_in.bias" in written(**{"conv_in.bias": bad})
    assert "it has no place for extra.weight" in written(**{"extra.weight": torch.zeros(2)})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", ["pt", "<script>"])
def test_weights_of_several_types_are_of_single_precision(folder, form):
    kept = load_file(folder / WEIGHTS)
    name = next(k for k in kept if k.endswith("time_emb_proj.weight"))
    save_file({**kept, name: kept[name].half()}, folder / WEIGHTS, metadata={"format": form})
    assert {p.dtype for p in from_diffusers(folder).parameters()} == {torch.float32}


@pytest.mark.parametrize("name", [["a"], {}, None, 5, "../part.safetensors"])
def test_an_index_of_shards_names_files_of_its_folder(folder, name):
    file = folder / WEIGHTS
    file.rename(file.with_name("part.safetensors"))
    content = {"metadata": {}, "weight_map": {"a": "part.safetensors", "conv_in.weight": name}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(content))
    assert "wanted one of its folder" in refusal(folder)


@pytest.mark.parametrize("shard", [False, True])
def test_a_pipe_in_place_of_weights_is_not_waited_for(folder, capfd, shard):
    file = folder / WEIGHTS
    file.unlink()
    if shard:
        (folder / f"{WEIGHTS}.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": {"conv_in.weight": "part.safetensors"}})
        )
        file = folder / "unet/part.safetensors"
    os.mkfifo(file)
    assert "is a pipe or a device" in refusal(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"scaling_factor": 0}, "scaling_factor=0"),
        ({"scaling_factor": float("nan")}, "scaling_factor=nan"),
        ({"scaling_factor": "abc"}, "scaling_factor='abc'"),
        ({"shift_factor": float("inf")}, "shift_factor=inf"),
        ({"layers_per_block": 10**9}, "layers_per_block"),
    ],
)
def test_an_autoencoder_whose_scale_is_none_is_refused(folder, values, said):
    AutoencoderKL(
        block_out_channels=(8,),
        norm_num_groups=4,
        latent_channels=3,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
    ).save_pretrained(folder / "vae")
    changed(folder / "model_index.json", vae=["diffusers", "AutoencoderKL"])
    changed(folder / "vae/config.json", **values)
    assert said in refusal(folder)
