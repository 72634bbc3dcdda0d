"""Pipelines of diffusers with tiny random parts, made without a download."""

import json
import string

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def tokenizer(folder):
    """A tokenizer of single letters."""
    letters = list(string.ascii_lowercase)
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: k for k, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(str(folder), model_max_length=8), len(tokens)


def parts(folder):
    """The parts of a Stable Diffusion pipeline but the scheduler."""
    torch.manual_seed(0)
    words, count = tokenizer(folder)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=count,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
            bos_token_id=count - 2,
            eos_token_id=count - 1,
            pad_token_id=count - 1,
        )
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=8
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    return {
        "vae": vae.eval(),
        "text_encoder": text.eval(),
        "tokenizer": words,
        "unet": unet.eval(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
