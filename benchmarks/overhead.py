"""What a solver costs beside the network: ratios to a bare Euler loop, written out by hand.

    python -m benchmarks.overhead

The 3 x 128 MLP in the plane at batches 1 and 512, and a U-Net on 8x8 images; 20 steps, one
thread. Time is that of the processor. All variants are interleaved, and the lower quartile of each
one's rounds counts, which a busy machine moves least. Other libraries take part where they are
installed: diffusers and azula call the bare network with numbers computed beforehand,
torchdiffeq and flow_matching the field's ``velocity``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import diffode
from diffode.fields import AffineField, Learned
from diffode.solvers import get_solver, grid

STEPS = 20
Run = Callable[[], object]
BEDS: dict[str, tuple[tuple[int, ...], dict[str, Any], int, int]] = {
    "MLP 3 x 128, 2-D, batch 1": ((2,), {"width": 128, "depth": 3}, 1, 1),
    "MLP 3 x 128, 2-D, batch 512": ((2,), {"width": 128, "depth": 3}, 512, 3),
    "U-Net, 1 x 8 x 8, batch 128": ((1, 8, 8), {"network": "unet"}, 128, 20),
}  # shape, network, batch, and how many times fewer rounds


class Bare:
    """EDM's denoiser of a network, its coefficients computed beforehand as Python numbers."""

    def __init__(self, field: Learned, times: Tensor, batch: int) -> None:
        self.network, sigma = field.network, times[:-1]
        rows = field.mean.expand(len(sigma), *field.event_shape)
        c = field.prediction.coefficients(rows, torch.ones_like(sigma), sigma, sigma)
        self.numbers = list(zip(*(v.tolist() for v in (c.skip, c.out, c.in_)), strict=True))
        self.conds = [v.expand(batch, -1).contiguous() for v in c.cond.float()]
        self.sigma, self.asked = times.tolist(), 0

    def denoised(self, x: Tensor, k: int) -> Tensor:
        """E[x_0 | x] at the k-th level."""
        skip, out, in_ = self.numbers[k]
        return skip * x + out * self.network(in_ * x, self.conds[k], None)

    def next(self, x: Tensor) -> Tensor:
        """E[x_0 | x] at one level after the other, whatever a caller asks for."""
        self.asked = (self.asked + 1) % len(self.numbers)
        return self.denoised(x, self.asked)

    def euler(self, x: Tensor) -> Tensor:
        """The loop that all else is compared with."""
        for k in range(len(self.numbers)):
            now, later = self.sigma[k], self.sigma[k + 1]
            x = x + ((later - now) / now) * (x - self.denoised(x, k))
        return x


class Plain(torch.nn.Module):
    """A network as anybody writes it, which does not embed the levels of a solve beforehand."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, cond: Tensor, y: Tensor | None = None) -> Tensor:
        """What the network says."""
        out: Tensor = self.inner(x, cond, y)
        return out


def variants(field: AffineField, x: Tensor) -> dict[str, Run]:
    """What is timed, each with 20 evaluations of the network."""
    assert isinstance(field, Learned)
    times = grid(field, STEPS, "f1.5")
    bare, moments = Bare(field, times, len(x)), list(times[:-1])
    out: dict[str, Run] = {
        "bare Euler loop": partial(bare.euler, x),
        "network alone": lambda: [field.network(x, c, None) for c in bare.conds],
        "posterior": lambda: [field.posterior(x, t) for t in moments],
        "velocity": lambda: [field.velocity(x, t) for t in moments],
    }
    for name in ("trig", "ddim", "dpm++", "unipc"):
        out[name] = partial(get_solver(name), field, x, times)
    plain = Learned(
        Plain(field.network), field.schedule, field.prediction, field.noise, *field.moments
    )
    for name in ("trig", "ddim"):
        out[f"{name}, plain network"] = partial(get_solver(name), plain, x, times)
    for peer in (_torchdiffeq, _flow_matching, _diffusers, _azula):
        try:
            out |= peer(field, bare, x, times)
        except ImportError as missing:
            print(f"left out: {missing}")
    return out


def _torchdiffeq(field: Learned, bare: Bare, x: Tensor, times: Tensor) -> dict[str, Run]:
    from torchdiffeq import odeint

    def rate(t: Tensor, state: Tensor) -> Tensor:
        return field.velocity(state, t)

    return {"torchdiffeq euler": partial(odeint, rate, x, times, method="euler")}


def _flow_matching(field: Learned, bare: Bare, x: Tensor, times: Tensor) -> dict[str, Run]:
    from flow_matching.solver import ODESolver
    from flow_matching.utils import ModelWrapper

    class Wrapped(ModelWrapper):  # type: ignore[misc]
        def forward(self, x: Tensor, t: Tensor, **extras: object) -> Tensor:
            return field.velocity(x, t)

    solver = ODESolver(velocity_model=Wrapped(field))
    options = {"time_grid": times, "method": "euler", "step_size": None}
    return {"flow_matching euler": partial(solver.sample, x_init=x, **options)}


def _diffusers(field: Learned, bare: Bare, x: Tensor, times: Tensor) -> dict[str, Run]:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(prediction_type="sample", clip_sample=False)

    def run() -> Tensor:
        state = x
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            state = scheduler.step(bare.next(state), t, state).prev_sample
        return state

    return {"diffusers DDIM": run}


def _azula(field: Learned, bare: Bare, x: Tensor, times: Tensor) -> dict[str, Run]:
    from azula.denoise import DiracPosterior
    from azula.noise import VESchedule
    from azula.sample import DDIMSampler, zABSampler

    class Denoiser(torch.nn.Module):
        schedule = VESchedule()

        def forward(self, x: Tensor, t: Tensor) -> DiracPosterior:
            return DiracPosterior(bare.next(x))

    made = {
        "azula DDIM": DDIMSampler(Denoiser(), steps=STEPS, silent=True),
        "azula zAB3": zABSampler(Denoiser(), order=3, steps=STEPS, silent=True),
    }
    return {name: partial(sampler, x) for name, sampler in made.items()}


def measure(todo: dict[str, Run], rounds: int) -> dict[str, float]:
    """The processor's seconds of each variant for one evaluation."""
    seconds: dict[str, list[float]] = {name: [] for name in todo}
    for run in todo.values():
        run()
    for _ in range(rounds):
        for name, run in todo.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.quantiles(v, n=4)[0] / STEPS for name, v in seconds.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What a solver costs beside the network.")
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for title, (shape, options, batch, fewer) in BEDS.items():
        field = diffode.build("edm", shape, **options).field.eval().requires_grad_(False)
        assert isinstance(field, AffineField)
        x = field.start(batch, diffode.Rng(0)).x
        with torch.no_grad():
            found = measure(variants(field, x), max(rounds // fewer, 5))
        print(f"\n{title}\n\n| variant | microseconds a step | / bare Euler loop |")
        print("|---|---|---|")
        for key, value in found.items():
            print(f"| {key} | {value * 1e6:.0f} | {value / found['bare Euler loop']:.3f} |")


if __name__ == "__main__":
    main()
