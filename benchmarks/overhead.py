"""What a solver costs beside the network: ratios to as many calls of ``posterior``.

    python -m benchmarks.overhead

A 2-D MLP at batch 512 and a U-Net on 8x8 images, 20 steps, one thread; all variants are
interleaved and medians of the rounds are compared. flow_matching's and torchdiffeq's Euler run on
``velocity`` where they are installed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import diffode
from diffode.fields import AffineField, Learned
from diffode.solvers import get_solver, grid

STEPS = 20


def variants(field: AffineField, x: Tensor) -> dict[str, Callable[[], object]]:
    """What is timed, each with 20 evaluations of the network."""
    times = grid(field, STEPS, "f1.5")
    moments = list(times[:-1])
    assert isinstance(field, Learned)
    alone = field.output(x, moments[3]).coefficients
    cond = alone.cond.expand(len(x), -1).float()

    def network() -> None:
        for _ in moments:
            field.network(x, cond, None)

    def posterior() -> None:
        for t in moments:
            field.posterior(x, t)

    def velocity() -> None:
        for t in moments:
            field.velocity(x, t)

    out: dict[str, Callable[[], object]] = {
        "posterior": posterior,
        "network alone": network,
        "velocity": velocity,
    }
    for name in ("trig", "ddim", "dpm++", "unipc"):
        out[name] = partial(get_solver(name), field, x, times)
    from torchdiffeq import odeint

    def rate(t: Tensor, state: Tensor) -> Tensor:
        return field.velocity(state, t)

    out["torchdiffeq euler"] = lambda: odeint(rate, x, times, method="euler")
    try:
        from flow_matching.solver import ODESolver
        from flow_matching.utils import ModelWrapper
    except ImportError:
        return out

    class Wrapped(ModelWrapper):  # type: ignore[misc]
        def forward(self, x: Tensor, t: Tensor, **extras: object) -> Tensor:
            return field.velocity(x, t)

    meta = ODESolver(velocity_model=Wrapped(field))
    out["flow_matching euler"] = lambda: meta.sample(
        x_init=x, time_grid=times, method="euler", step_size=None
    )
    return out


def measure(todo: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each variant for one evaluation."""
    seconds: dict[str, list[float]] = {name: [] for name in todo}
    for run in todo.values():
        run()
    for _ in range(rounds):
        for name, run in todo.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(v) / STEPS for name, v in seconds.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What a solver costs beside the network.")
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    beds = {
        "MLP 3 x 128, 2-D, batch 512": ("edm", (2,), {"width": 128, "depth": 3}, 512, rounds),
        "U-Net, 1 x 8 x 8, batch 128": ("edm", (1, 8, 8), {"network": "unet"}, 128, rounds // 8),
    }
    for title, (name, shape, options, batch, count) in beds.items():
        field = diffode.build(name, shape, **options).field.eval().requires_grad_(False)
        assert isinstance(field, AffineField)
        x = field.start(batch, diffode.Rng(0)).x
        with torch.no_grad():
            found = measure(variants(field, x), max(count, 5))
        base = found["posterior"]
        print(f"\n{title}\n\n| variant | microseconds a step | / posterior | / network |")
        print("|---|---|---|---|")
        for key, value in found.items():
            ratio = value / found["network alone"]
            print(f"| {key} | {value * 1e6:.0f} | {value / base:.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
