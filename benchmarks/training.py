"""What a training costs beside its network: ratios to a bare loop, written out by hand.

    python -m benchmarks.training

EDM's loss on the same network and batch: MLPs in the plane, an MLP and a U-Net on 8x8 images. The
bare loop draws rows and noise by torch's generator, computes the loss, its gradient, a clipped
step of AdamW and the moving average; `diffode.train` does so with draws that belong to (seed,
step, row), checks of loss and gradient, rates and logs. One thread, time of the processor, rounds
of 10 steps in turn, medians and quartiles.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.compare import spread
from diffode import build, train
from diffode.data import load
from diffode.training import data_stats

ROUND = 10  # steps
BEDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "MLP 3 x 128, moons, batch 512": ("moons", {"width": 128, "depth": 3}, 512),
    "MLP 3 x 512, moons, batch 512": ("moons", {"width": 512, "depth": 3}, 512),
    "MLP 4 x 512, digits, batch 128": ("digits", {}, 128),
    "U-Net, digits, batch 128": ("digits", {"network": "unet"}, 128),
}  # data, options of the network, batch
FIELDS = ("edm", "poisson")


def bare(network: nn.Module, x: Tensor, batch: int) -> Iterator[None]:
    """EDM's training of a network, in as few lines as it takes."""
    scale = float(x.std())
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0, fused=True)
    average = copy.deepcopy(network)
    weights = list(average.parameters()), list(network.parameters())
    while True:
        x_0 = x[torch.randint(len(x), (batch,))]
        sigma = torch.exp(1.2 * torch.randn(batch, *(1,) * (x.ndim - 1)) - 1.2)
        size = (scale**2 + sigma**2).sqrt()
        noisy = x_0 + sigma * torch.randn_like(x_0)
        target = (x_0 - scale**2 / size**2 * noisy) * size / (scale * sigma)
        cond = (sigma.log() / 4).flatten()[:, None]
        loss = (network(noisy / size, cond, None) - target).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(weights[1], 1.0)
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(*weights, 1e-3)
        yield


def bed(name: str, rounds: int) -> str:
    """A row of the table: the ratios of the fields to the bare loop."""
    data, options, batch = BEDS[name]
    x = load(data).train
    options = {**options, "stats": data_stats(x)}
    runs: list[Callable[[], object]] = []
    steps = ROUND * (rounds + 1) + 1
    network = build("edm", x.shape[1:], **options).field.network.train()
    runs.append(bare(network, x, batch).__next__)
    for field in FIELDS:
        objective = build(field, x.shape[1:], **options)
        runs.append(train(objective, x, steps=steps, batch=batch, device="cpu").__next__)
    seconds = [[taken(run) for run in runs] for _ in range(rounds + 1)][1:]
    cells = []
    for k in range(1, len(runs)):
        cells.append(spread([row[k] / row[0] for row in seconds]))
    step = statistics.median(row[0] for row in seconds) / ROUND
    return f"| {name} | {1e3 * step:.2f} | {' | '.join(cells)} |"


def taken(run: Callable[[], object]) -> float:
    """Seconds of the processor for a round."""
    began = time.process_time()
    for _ in range(ROUND):
        run()
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| network | bare, ms | {' | '.join(FIELDS)} |")
    print("|---" * (2 + len(FIELDS)) + "|")
    for name in BEDS:
        print(bed(name, options.rounds), flush=True)


if __name__ == "__main__":
    main()
