"""Where tensors live, and whether sums on a device keep their order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from diffode.inputs import quoted
from diffode.processes import take_gpu


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
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    take_gpu()
    return torch.device("cuda")


@contextmanager
def deterministic(on: bool = True) -> Iterator[None]:
    """Let torch use algorithms alone whose results are the same each time, while a block runs.

    It is torch's own switch, `torch.use_deterministic_algorithms`, with what belongs to it: cuDNN
    chooses its algorithms by no measurement, and cuBLAS has a workspace of a fixed size, which
    must be known before CUDA is first used. On a CPU no result changes.

    Arguments:
        on: False changes nothing.

    Raises:
        ValueError: something in the block has no such algorithm on its device.
    """
    if not on:
        yield
        return
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled()
    hard = not torch.is_deterministic_algorithms_warn_only_enabled()
    flags = cudnn.deterministic, cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        said = str(error).partition(" does not have a deterministic implementation")
        if not said[1]:
            raise
        raise ValueError(
            f"{said[0]} of torch {torch.__version__} has no deterministic form on this device; "
            "leave deterministic away, or compute on the CPU"
        ) from None
    finally:
        torch.use_deterministic_algorithms(before, warn_only=before and not hard)
        cudnn.deterministic, cudnn.benchmark = flags
