"""Small fields to export."""

import torch

import diffode
from diffode.data import load
from diffode.data.stats import data_stats

PLAIN = {"network": "unet2d", "width": 8, "centre": False}
SMALL = {"network": "mlp", "width": 16, "depth": 1}


def stirred(folder, recipe, classes=None, shape=(1, 8, 8), scaling=None, **options):
    """A checkpoint of a field whose weights are no longer zero anywhere, and the field."""
    stats = data_stats(load("digits").train) if shape == (1, 8, 8) else None
    made = diffode.build(recipe, shape, classes, stats, scaling=scaling, **options)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path = diffode.save(made.eval(), folder / f"{recipe}.safetensors")
    return path, made.field


def noise():
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def apart(a, b):
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / b.abs().max())
