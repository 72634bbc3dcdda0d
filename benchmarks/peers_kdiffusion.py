"""k-diffusion's deterministic samplers on its Karras, exponential and flow spacings."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers_problem import End, Peer, Problem

CALLS = {"euler": 1, "lms": 1, "dpmpp_2m": 1, "heun": 2, "dpm_2": 2}  # a step; the last takes 1


def sampling(directory: Path) -> ModuleType:
    """k_diffusion.sampling alone, without the packages that only its training needs."""
    package, utils = ModuleType("k_diffusion"), ModuleType("k_diffusion.utils")
    package.__path__ = [str(directory)]
    utils.append_dims = lambda x, dims: x.reshape(*x.shape, *[1] * (dims - x.ndim))  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    stubs = {"k_diffusion": package, "k_diffusion.utils": utils}
    if importlib.util.find_spec("torchsde") is None:  # of the stochastic samplers alone
        stubs["torchsde"] = ModuleType("torchsde")
    sys.modules.update(stubs)
    try:
        return importlib.import_module("k_diffusion.sampling")
    finally:
        for name in stubs:
            del sys.modules[name]


def sigmas(library: Any, grid: str, steps: int, p: Problem) -> Tensor:  # noqa: ANN401
    """The noise levels of a run, 0 at the end."""
    if grid == "karras":
        return library.get_sigmas_karras(steps, p.rho_data, p.rho_max).double()
    if grid == "exponential":
        return library.get_sigmas_exponential(steps, p.rho_data, p.rho_max).double()
    s = torch.linspace(0.999, 0.001, steps, dtype=torch.float64)
    return torch.cat([s / (1 - s), s.new_zeros(1)])


def solve(library: Any, name: str, grid: str, p: Problem, nfe: int) -> End | None:  # noqa: ANN401
    """One run with at most ``nfe`` calls."""
    steps = (nfe + CALLS[name] - 1) // CALLS[name]

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        return p.posterior(x, 1.0, sigma[0])[0]

    levels = sigmas(library, grid, steps, p)
    x = p.start(1.0, float(levels[0]))
    sampler = getattr(library, f"sample_{name}")
    return End(sampler(model, x, levels, disable=True), 0.0)


def peers(directory: Path) -> list[Peer]:
    """Every sampler on every spacing."""
    library = sampling(directory)
    found = []
    for name in CALLS:
        for grid in ("karras", "exponential", "flow"):
            kinds = ("rect",) if grid == "flow" else ("vp", "edm", "rect")
            run = partial(solve, library, name, grid)
            found.append(Peer(f"k-diffusion {name} {grid}", kinds, run))
    return found
