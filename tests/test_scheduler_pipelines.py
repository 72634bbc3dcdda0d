"""Whole pipelines of diffusers, of tiny random parts, with the default solver in them."""

import diffusers
import pytest
import torch

from diffode.interop import DiffodeScheduler
from tests.tiny_pipelines import STABLE, parts

WARNED = "ignore:.*safety checker.*"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    made = diffusers.StableDiffusionPipeline(
        **parts(tmp_path_factory.mktemp("words")),
        scheduler=diffusers.PNDMScheduler(**STABLE, skip_prk_steps=True, steps_offset=1),
    )
    made.scheduler = DiffodeScheduler.from_config(made.scheduler.config)
    made.set_progress_bar_config(disable=True)
    return made


def drawn(pipe, steps=6, **options):
    options = {"guidance_scale": 3.0, "output_type": "latent"} | options
    rng = torch.Generator().manual_seed(1)
    return pipe("ab", num_inference_steps=steps, generator=rng, **options).images


def test_text_to_image_converges_to_the_flow_that_their_own_scheduler_does(pipe):
    with torch.no_grad():
        calls = []
        hook = pipe.unet.register_forward_hook(lambda *_: calls.append(1))
        ours = drawn(pipe, 20, height=8, width=8)
        hook.remove()
        assert len(calls) == 20
        assert torch.equal(drawn(pipe, 20, height=8, width=8), ours)
        config = pipe.scheduler.config
        theirs = diffusers.DDIMScheduler(**STABLE, clip_sample=False, timestep_spacing="trailing")
        hundred = drawn(pipe, 100, height=8, width=8)
        pipe.scheduler, own = theirs, pipe.scheduler
        fine = drawn(pipe, 1000, height=8, width=8)
        coarse = drawn(pipe, 20, height=8, width=8)
        pipe.scheduler = own
    assert config.source == "DPMSolverMultistepScheduler"
    near, error, other = ((x - fine).square().mean().sqrt() for x in (hundred, ours, coarse))
    assert near < 0.005 * fine.std() and error < other


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_pipelines_give_numbers(pipe, dtype):
    single = drawn(pipe, height=8, width=8)
    pipe.to(dtype=dtype)
    half = drawn(pipe, height=8, width=8)
    pipe.to(dtype=torch.float32)
    assert half.dtype == dtype and bool(half.isfinite().all())
    assert (half.float() - single).square().mean().sqrt() < 0.1 * single.std()


def test_image_to_image_and_inpainting(pipe):
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    for kind, extra in (
        (diffusers.StableDiffusionImg2ImgPipeline, {}),
        (
            diffusers.StableDiffusionInpaintPipeline,
            {"mask_image": torch.ones(1, 1, 16, 16), "height": 16, "width": 16},
        ),
    ):
        other = kind(**pipe.components, requires_safety_checker=False)
        other.set_progress_bar_config(disable=True)
        calls = []
        hook = other.unet.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        out = drawn(other, 8, image=image, strength=0.5, **extra)
        hook.remove()
        assert len(calls) == 4 and bool(out.isfinite().all())


def test_a_flow_pipeline():
    torch.manual_seed(0)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        out_channels=4,
        pos_embed_max_size=8,
    ).eval()
    vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
    nothing = dict.fromkeys(
        [
            "text_encoder",
            "tokenizer",
            "text_encoder_2",
            "tokenizer_2",
            "text_encoder_3",
            "tokenizer_3",
        ]
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe = diffusers.StableDiffusion3Pipeline(transformer, scheduler, vae.eval(), **nothing)
    pipe.set_progress_bar_config(disable=True)
    prompt = torch.randn(8, 4, 16)
    told = {
        "prompt_embeds": prompt,
        "negative_prompt_embeds": -prompt,
        "pooled_prompt_embeds": prompt[:, 0],
        "negative_pooled_prompt_embeds": -prompt[:, 0],
        "height": 8,
        "width": 8,
        "output_type": "latent",
        "guidance_scale": 3.0,
    }

    def run(steps):
        rng = torch.Generator().manual_seed(1)
        return pipe(num_inference_steps=steps, generator=rng, **told).images

    far, fine = run(20), run(500)
    config, ours = pipe.scheduler.config, []
    for scale in (3.0, None):  # told, and left for the scheduler to assume
        pipe.scheduler = DiffodeScheduler.from_config(config, guidance_scale=scale)
        ours.append(run(20))
    knowing, assuming, theirs = ((x - fine).square().mean().sqrt() for x in (*ours, far))
    assert knowing < 0.5 * theirs and assuming < 0.6 * theirs


def test_pipelines_of_flux_leave_the_levels_to_the_scheduler():
    scheduler = DiffodeScheduler.from_config(
        diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True).config
    )
    assert scheduler.config.use_flow_sigmas
    assert scheduler.config.max_image_seq_len == 4096
    scheduler.set_timesteps(4, device="cpu", mu=1.15)
    assert len(scheduler.timesteps) == 4
