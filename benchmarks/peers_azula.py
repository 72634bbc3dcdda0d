"""azula's Adams-Bashforth samplers on its schedules: the model's own, log, Karras, rectified."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from azula import sample
from azula.denoise import DiracPosterior
from azula.noise import RectifiedSchedule, Schedule
from torch import Tensor

from benchmarks.peers_problem import End, Peer, Problem

SAMPLERS = {
    "zAB": sample.zABSampler,
    "vAB": sample.vABSampler,
    "zEAB": sample.zEABSampler,
    "xEAB": sample.xEABSampler,
}


class Native(Schedule):
    """The model's own schedule, its span carried to t = 1 -> 0."""

    def __init__(self, p: Problem) -> None:
        self.schedule, (self.first, self.last) = p.schedule, p.schedule.span

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma at azula's time t."""
        time = self.last + t * (self.first - self.last)
        return self.schedule.alpha(time), self.schedule.sigma(time)


class Spaced(Schedule):
    """Alpha = 1 and sigma^(1/power) uniform in t (log sigma for power 0)."""

    def __init__(self, p: Problem, power: float) -> None:
        self.low, self.high, self.power = p.rho_data, p.rho_max, power

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma at azula's time t."""
        if self.power:
            low, high = self.low ** (1 / self.power), self.high ** (1 / self.power)
            sigma = (low + t * (high - low)) ** self.power
        else:
            sigma = self.low * torch.exp(t * math.log(self.high / self.low))
        return torch.ones_like(t), sigma


class Denoiser:
    """The model as azula calls it."""

    def __init__(self, p: Problem, schedule: Schedule) -> None:
        self.p, self.schedule = p, schedule

    def __call__(self, x: Tensor, t: Tensor) -> DiracPosterior:
        """The conditional mean of the data at azula's time t."""
        alpha, sigma = self.schedule(t)
        return DiracPosterior(self.p.posterior(x, alpha, sigma)[0])


def schedule_of(grid: str, p: Problem) -> Schedule:
    """The schedule of a named grid."""
    if grid == "native":
        return RectifiedSchedule() if p.kind == "rect" else Native(p)
    return Spaced(p, 7.0 if grid == "karras" else 0.0)


def solve(sampler: Any, order: int, grid: str, p: Problem, nfe: int) -> End | None:  # noqa: ANN401
    """One run of ``nfe`` steps."""
    schedule = schedule_of(grid, p)
    run = sampler(Denoiser(p, schedule), order=order, steps=nfe, silent=True, dtype=torch.float64)
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    (alpha, alpha_end), (sigma, sigma_end) = (v.tolist() for v in schedule(ends))
    x = run(p.start(alpha, sigma))
    return End(x / alpha_end, sigma_end / alpha_end)


def peers() -> list[Peer]:
    """Every sampler, orders 2 to 4, on every grid."""
    found = []
    for name, sampler in SAMPLERS.items():
        for order in (2, 3, 4):
            for grid in ("native", "log", "karras"):
                kinds = ("vp", "rect") if grid == "native" else ("vp", "edm", "rect")
                label = f"azula {name}{order} {grid}"
                found.append(Peer(label, kinds, partial(solve, sampler, order, grid)))
    return found
