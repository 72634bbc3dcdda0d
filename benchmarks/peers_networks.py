"""Trained runs as test beds: the reference is the network's own converged solution."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import diffode
from benchmarks.beds import CACHE, Bed, errors
from benchmarks.peers_problem import End
from diffode.fields.affine import AffineField
from diffode.rng import Rng
from diffode.solvers import get_solver, grid

ROWS = 512
STEPS = (400, 800)


@cache
def network_bed(run: Path, rows: int = ROWS) -> Bed:
    """The field of a trained run, with starting points in float64."""
    field = diffode.load(run).field
    start = field.start(rows, Rng(2024))
    assert isinstance(start.field, AffineField)
    start.field.requires_grad_(False)
    return Bed(f"network/{run.name}", start.field, None, start.x.double())


def solve(bed: Bed, t: float, steps: int) -> Tensor:
    """The state x at time t by this many steps of the default solver, in float64."""
    first = bed.field.span[0]
    solver = get_solver()
    if t == bed.field.span[1]:
        times = grid(bed.field, steps, solver.grid)
    else:
        times = torch.linspace(first, t, steps + 1, dtype=torch.float64)
    with torch.no_grad():
        return solver(bed.field, bed.x, times).x


@cache
def state(bed: Bed, rho: float) -> Tensor:
    """The state y at a noise-to-signal ratio near the prior's, where samplers start."""
    t = float(bed.field.schedule.time(torch.tensor(rho, dtype=torch.float64)))
    first = bed.field.span[0]
    if abs(t / first - 1) < 1e-12:
        return bed.y(bed.x, first)
    return bed.y(solve(bed, t, 16), t)


def reference(bed: Bed, denoised: bool) -> Tensor:
    """The converged end point: y at t_data, or E[x_0 | x] there, shape (B, *event)."""
    y, x0, _ = _ends(bed)
    return x0 if denoised else y


def convergence(bed: Bed) -> float:
    """The root mean square distance between the references of 400 and of 800 steps."""
    return _ends(bed)[2]


@cache
def _ends(bed: Bed) -> tuple[Tensor, Tensor, float]:
    digest = hashlib.sha256(
        repr((bed.field.schedule, bed.field.noise, get_solver(), STEPS)).encode()
    )
    for tensor in (bed.x, *bed.field.parameters()):
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    path = CACHE / f"{bed.name.replace('/', '-')}-{digest.hexdigest()[:12]}.npz"
    if not path.exists():
        last = bed.field.span[1]
        fewer, more = (solve(bed, last, steps) for steps in STEPS)
        with torch.no_grad():
            x0 = bed.field.denoise(more, last)
        gap = float((bed.y(fewer, last) - bed.y(more, last)).square().mean().sqrt())
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, y=bed.y(more, last).numpy(), x0=x0.numpy(), gap=gap)
    with np.load(path) as kept:
        return torch.from_numpy(kept["y"]), torch.from_numpy(kept["x0"]), float(kept["gap"])


def score(bed: Bed, end: End) -> tuple[float, float, int, float]:
    """The distances of an end point from the network's own solution."""
    return errors(end.y, reference(bed, denoised=end.rho < 0.5 * bed.rho_data))
