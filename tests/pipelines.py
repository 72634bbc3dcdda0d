"""Tiny random pipelines of diffusers, and what their own schedulers make of them."""

import warnings

import torch

with warnings.catch_warnings():  # of what it imports in its turn
    warnings.simplefilter("ignore")
    import diffusers
    from diffusers import (  # noqa: F401  # so that no later lookup imports under "error"
        AutoencoderKL,
        DDIMPipeline,
        DDIMScheduler,
        DDPMPipeline,
        DiTPipeline,
        DiTTransformer2DModel,
        UNet2DModel,
    )


def unet(**options):
    """A UNet of some thousand parameters, with attention."""
    torch.manual_seed(0)
    small = {
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    return UNet2DModel(**{**small, **options}).eval()


def transformer(**options):
    """A DiT of two layers, of latents with 4 channels."""
    torch.manual_seed(0)
    small = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8, "sample_size": 8}
    model = DiTTransformer2DModel(**small, num_embeds_ada_norm=5, norm_num_groups=4, **options)
    for p in model.parameters():  # its last layers begin at 0
        torch.nn.init.normal_(p, std=0.1)
    return model.eval()


def autoencoder():
    """An autoencoder from 3 x 16 x 16 to 4 x 8 x 8."""
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
    ).eval()


def saved(folder, scheduler, network=None):
    """The folder of a pipeline of these two."""
    DDPMPipeline(network or unet(), scheduler).save_pretrained(folder)
    return folder


def ddim(**options):
    """A DDIM scheduler that clips nothing."""
    return DDIMScheduler(clip_sample=False, **options)


@torch.no_grad()
def walked(scheduler, network, x, y=None):
    """Where a scheduler's own loop leads from x; what follows the state's channels is left out."""
    for t in scheduler.timesteps:
        out = network(scheduler.scale_model_input(x, t), t.expand(len(x)), class_labels=y)
        x = scheduler.step(out.sample[:, : x.shape[1]], t, x).prev_sample
    return x


def relative(one, two):
    """The largest difference, of the largest value."""
    return float((one - two).abs().max() / two.abs().max())


__all__ = ["diffusers"]
