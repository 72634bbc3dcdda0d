"""Where tensors live."""

from __future__ import annotations

import torch

from diffode.inputs import quoted


def choose(name: str) -> torch.device:
    """The device of a name: "auto" is CUDA where there is one, else the CPU.

    Schedules and draws are float64, which Apple's MPS lacks, so it is not among them.

    Raises:
        ValueError: another name, or "cuda" without a CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"got device {quoted(name)}; use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("got device 'cuda', but no CUDA device is available; use auto or cpu")
    return torch.device("cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda")
