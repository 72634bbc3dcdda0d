"""Folders of pipelines: old ones, their variants, the hub's cache, and what is refused."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffode.interop import from_diffusers, from_edm, pipelines
from diffode.interop.folders import is_hub_id, located
from tests.pipelines import AutoencoderKL, ddim, diffusers, relative, saved, unet

STEM = "unet/diffusion_pytorch_model"


def denoised(folder, **asked):
    field = from_diffusers(folder, **asked)
    x = torch.randn(2, *field.event_shape, generator=torch.manual_seed(3))
    return field.denoise(x, 300.0)


def changed(path, **values):
    """A JSON file with other values."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def without(path, *keys):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in content.items() if k not in keys}))


def refusal(folder, **asked):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        from_diffusers(folder, **asked)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(tmp_path):
    return saved(tmp_path / "pipe", ddim())


def test_a_folder_of_2022_reads_as_one_of_today(folder):
    now = denoised(folder)
    weights = load_file(folder / f"{STEM}.safetensors")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, name in old.items():  # and squeezed out of lists, as they were
        weights = {k.replace(f".{new}.", f".{name}."): v for k, v in weights.items()}
    torch.save(weights, folder / f"{STEM}.bin")
    (folder / f"{STEM}.safetensors").unlink()
    scheduler = folder / "scheduler/scheduler_config.json"
    kept = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "clip_sample"}
    without(scheduler, *(json.loads(scheduler.read_text()).keys() - kept))
    without(folder / "unet/config.json", "dropout", "add_attention", "class_embed_type")
    assert relative(denoised(folder), now) < 1e-5


def test_pickled_code_in_weights_does_not_run(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    (folder / f"{STEM}.safetensors").unlink()
    for write in (torch.save, lambda it, path: path.write_bytes(pickle.dumps(it))):
        write({"conv_in.weight": Evil()}, folder / f"{STEM}.bin")
        assert "cannot be loaded" in refusal(folder)
        assert not (tmp_path / "ran").exists()


def test_variants_and_shards(folder):
    now = denoised(folder)
    plain, half = folder / f"{STEM}.safetensors", folder / f"{STEM}.fp16.safetensors"
    weights = {k: v.half() for k, v in load_file(plain).items()}
    save_file(weights, half, metadata={"format": "pt"})
    assert relative(denoised(folder), now) < 1e-5
    assert 1e-5 < relative(denoised(folder, variant="fp16"), now) < 0.05
    assert "variant 'fp8'; it has none, fp16" in refusal(folder, variant="fp8")
    plain.unlink()
    assert relative(denoised(folder), now) < 0.05  # the only one there is
    half.unlink()
    unet().save_pretrained(folder / "unet", max_shard_size="100KB")
    assert len(list((folder / "unet").glob("*-of-*.safetensors"))) > 1
    assert relative(denoised(folder), now) < 1e-5
    index = folder / f"{STEM}.safetensors.index.json"
    shards = json.loads(index.read_text())["weight_map"]
    changed(index, weight_map=shards | {"conv_in.bias": "../../other.safetensors"})
    assert "names the file '../../other.safetensors'" in refusal(folder)


def test_a_name_on_the_hub_is_read_from_its_librarys_cache(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    kept = tmp_path / "hub/models--some--pipeline"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("abc123")
    (kept / "snapshots").mkdir()
    folder.rename(kept / "snapshots/abc123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    assert located("some/pipeline") == kept / "snapshots/abc123"
    assert denoised("some/pipeline").shape == (2, 3, 8, 8)
    assert "nobody/nothing cannot be had" in refusal("nobody/nothing")
    assert not is_hub_id("../elsewhere") and not is_hub_id("a/b/c")


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "make the two agree"),
        ("model_index.json", {"unet": ["diffusers", "UNet1DModel"]}, "make the two agree"),
        ("unet/config.json", {"out_channels": 4}, "3 channels in and 4 out"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type 'timestep'"),
        ("unet/config.json", {"sample_size": None}, "no sample_size"),
        ("unet/config.json", {"sample_size": -1}, "sample_size"),
        ("unet/config.json", {"sample_size": 10**9}, "sample_size"),
        ("unet/config.json", {"num_class_embeds": "many"}, "num_class_embeds"),
        ("unet/config.json", {"block_out_channels": [8, 32]}, "cannot be loaded|do not fit"),
        ("unet/config.json", {"quantization_config": {"a": 1}}, "quantised"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "says 'FlowMatchEulerDiscreteScheduler'; make the two agree",
        ),
        ("model_index.json", {"scheduler": ["diffusers", "EDMEulerScheduler"]}, "make the two"),
        ("scheduler/scheduler_config.json", {"prediction_type": "x"}, "prediction_type 'x'"),
        ("model_index.json", {"unet": None}, "names none of unet, transformer"),
        ("model_index.json", {"vae": ["diffusers", "X"]}, "no such file"),
    ],
)
def test_what_is_not_read_is_refused_by_name(folder, file, values, said):
    changed(folder / file, **values)
    found = refusal(folder)
    assert any(part in found for part in said.split("|")), found


@pytest.mark.parametrize(
    ("name", "said"), [("UNet2DConditionModel", "takes a text"), ("os.system", "'os.system'")]
)
def test_a_network_of_another_class_is_refused_by_name(folder, name, said):
    changed(folder / "model_index.json", unet=["diffusers", name])
    changed(folder / "unet/config.json", _class_name=name)
    assert said in refusal(folder)


@pytest.mark.parametrize("place", [None, b"pipe", 3, ""])
def test_what_is_no_path_is_refused(place):
    for opened in (from_diffusers, from_edm):
        with pytest.raises(TypeError, match=r"^got .*; wanted "):
            opened(place)


def test_a_scheduler_of_the_same_path_or_of_none(folder):
    """Those of one path differ in their solver alone, which is not read."""
    now = denoised(folder)
    config = folder / "scheduler/scheduler_config.json"
    changed(config, _class_name="PNDMScheduler")
    changed(folder / "model_index.json", scheduler=["diffusers", "UniPCMultistepScheduler"])
    torch.testing.assert_close(denoised(folder), now)
    changed(config, _class_name="KarrasVeScheduler")
    changed(folder / "model_index.json", scheduler=["diffusers", "KarrasVeScheduler"])
    assert "KarrasVeScheduler states no path that can be read" in refusal(folder)


def test_moments_of_the_data_may_be_told(folder):
    """They move the prior and the steps, and leave the network's answers alone."""
    usual, told = from_diffusers(folder), from_diffusers(folder, mean=[0.1, 0.2, 0.3], std=0.25)
    x = torch.randn(2, *usual.event_shape, generator=torch.manual_seed(3))
    torch.testing.assert_close(told.denoise(x, 300.0), usual.denoise(x, 300.0))
    times = torch.tensor([300.0, 200.0], dtype=torch.float64)
    at = told.prepared(times, x)
    torch.testing.assert_close(at(0, x, None)[0], usual.denoise(x, 300.0))
    mean, std = told.moments
    assert mean[1, 0, 0] == pytest.approx(0.2) and std == 0.25
    assert usual.taken == "mean 0 and standard deviation 0.5" and told.taken == ""
    for odd in ({"mean": float("nan")}, {"mean": [1.0, 2.0]}, {"std": 0}, {"std": "a"}):
        with pytest.raises(ValueError, match=r"^got (a )?(mean|std)"):
            from_diffusers(folder, **odd)


def test_other_refusals(folder, tmp_path):
    assert "got null_label=3; it has no labels" in refusal(folder, null_label=3)
    assert "does not exist" in refusal(tmp_path / "not" / "there" / "at all")
    assert "has no model_index.json" in refusal(tmp_path)
    (folder / f"{STEM}.safetensors").unlink()
    assert "has no weights" in refusal(folder)
    (folder / "model_index.json").write_text("[1]")
    assert "is damaged" in refusal(folder)


def test_labels_that_the_table_lacks_are_refused(tmp_path):
    folder = saved(tmp_path, ddim(), unet(num_class_embeds=5))
    assert "got null_label=5; wanted 0 to 4" in refusal(folder, null_label=5)


def test_an_unconditional_latent_pipeline_decodes_by_its_own_autoencoder(folder):
    vae = AutoencoderKL(
        block_out_channels=(8,),
        norm_num_groups=4,
        latent_channels=3,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        scaling_factor=0.5,
    ).eval()
    vae.save_pretrained(folder / "vae")
    changed(folder / "model_index.json", vae=["diffusers", "AutoencoderKL"])
    field = from_diffusers(folder)
    x = torch.randn(2, *field.event_shape)
    with torch.no_grad():
        torch.testing.assert_close(field.pixels(x), vae.decode(x / 0.5).sample)
    assert field.moments[1] == 1.0
    changed(folder / "vae/config.json", latents_mean=[0.0, 0.0, 0.0])
    assert "has latents_mean, which the pipelines of these networks do not use" in refusal(folder)
    changed(folder / "vae/config.json", latents_mean=None, _class_name="AutoencoderTiny")
    changed(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    assert "autoencoder of class 'AutoencoderTiny'" in refusal(folder)


def test_a_folder_that_changes_while_it_is_read_is_refused(folder, monkeypatch):
    built = pipelines.build

    def changing(*given):
        made = built(*given)
        changed(folder / "scheduler/scheduler_config.json", prediction_type="v_prediction")
        return made

    monkeypatch.setattr(pipelines, "build", changing)
    assert "changed while it was read; open it again once it is whole" in refusal(folder)


def test_no_diffusers_is_said(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    assert "needs the package diffusers" in refusal(folder)
    assert diffusers is not None
