"""The larger trainings of `benchmarks.gpu`: a row of the table and a picture of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import diffode
from benchmarks.gpu_checks import Bench, Size, now
from diffode.fields.base import Field
from diffode.metrics import frechet
from diffode.viz import image_grid

COLUMNS = ["recipe", "network", "parameters", "precision", "batch", "steps", "seconds"]
COLUMNS += ["images/s", "samples/s", "peak MB", "Frechet", "real data"]
ROW = 10  # samples of a class in a picture


def training(bench: Bench, name: str, network: str) -> Callable[[], str]:
    """A larger training, its samples by class, and their distance from held-out images."""

    def check() -> str:
        size, on_gpu = bench.size, bench.device.type == "cuda"
        kind = "bf16" if on_gpu else "no"
        options = {"width": size.width} if network == "unet" else _dit(size)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        pace = bench.trained(bench.built(name, network, **options), 20, size.batch, kind)
        steps = max(20, round(15 * size.seconds / (pace[-1].seconds - pace[4].seconds)))
        objective = bench.built(name, network, **options)
        last = bench.trained(objective, steps, size.batch, kind)[-1]
        assert isinstance(last.averaged, Field)
        y = bench.dataset.labels(size.samples)
        began = now(bench.device)
        x = diffode.sample(last.averaged.eval(), size.samples, y=y, batch=500).x.cpu()
        spent = now(bench.device) - began
        space, panel = bench.panel.features[0], bench.panel
        distance = frechet(space(x), panel.features_of(space))
        floor = frechet(space(panel.real), panel.features_of(space))
        _picture(bench, last.averaged, bench.out / f"{name}-{network}.png")
        count = sum(p.numel() for p in objective.parameters())
        peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else 0
        seen = steps * size.batch / last.seconds
        figures = [f"{steps:,}", f"{last.seconds:.0f}", f"{seen:,.0f}", f"{len(x) / spent:,.0f}"]
        ends = [f"{peak:,.0f}" if on_gpu else "", f"{distance}", f"{floor}"]
        row = [name, network, f"{count:,}", kind, f"{size.batch}", *figures, *ends]
        bench.rows.append(row)
        return f"{seen:,.0f} images/s learned; Frechet {distance}, real data {floor}"

    return check


def _dit(size: Size) -> dict[str, Any]:
    """A DiT of about the U-Net's cost: six times its width, 8 blocks for the usual width of 64."""
    return {"width": 6 * size.width, "depth": max(1, size.width // 8)}


def _picture(bench: Bench, trained: Field, path: Path) -> None:
    """Ten samples of each class, a row for each."""
    assert bench.dataset.classes is not None
    y = torch.arange(bench.dataset.classes).repeat_interleave(ROW)
    image_grid(diffode.sample(trained, len(y), y=y).x.cpu(), path, columns=ROW)
