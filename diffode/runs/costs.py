"""What a training and its samples cost: steps, seconds and memory, and on which machine."""

from __future__ import annotations

import contextlib
import platform
import resource
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from diffode import __version__
from diffode.training import record


def spent(folder: Path) -> dict[str, Any]:
    """The steps and the seconds of a training, from its log, whether it was stopped or not."""
    logged = [(line["step"], line["seconds"]) for line in record.logged(folder)]
    if not logged:
        raise ValueError(f"{folder} has no readable metrics; delete it and run this again")
    paces = [
        (s1 - s0) / (k1 - k0)
        for (k0, s0), (k1, s1) in zip([(0, 0.0), *logged], logged, strict=False)
        if s1 > s0
    ]
    return {"steps": logged[-1][0], "seconds": logged[-1][0] * statistics.mean(paces)}


def each_took(nfe: float, network_calls: float) -> str:
    """What a sample took: its evaluations, and its calls of the network where these are others."""
    said = f"{nfe:g} evaluation{'' if nfe == 1 else 's'} each"
    return said if network_calls == nfe else f"{said}, {network_calls:g} network calls"


def reset_peak_memory() -> None:
    """Start anew what `peak_memory` tells, where the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux alone has it
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest: of the device's allocator, or of this whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine(device: torch.device) -> dict[str, Any]:
    """Where figures come from: device, threads and versions."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "versions": {
            "diffode": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
