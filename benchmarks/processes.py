"""What several processes of one machine gain: samples and training steps a second, beside one.

    python -m benchmarks.processes
    python -m benchmarks.processes --processes 4 --samples 8000

torchrun starts one process and several in turn, each with one thread, and each draws the same
samples of a U-Net on 8x8 images and trains the same steps of it. The start is not in the times.
Each figure is the median over the rounds. *Elapsed* is the ratio by the clock; where other work
runs on the machine, or two of its cores are one, that says little. *Not shared* is another ratio
of the same processes: the time in which each of them does all of the work, over that in which they
share it. It is what sharing gains where each process has a core to itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch

import diffode
from diffode.data import load
from diffode.files import is_main_process
from diffode.processes import apart
from diffode.sharing import all_of, sharing
from diffode.tables import Table
from diffode.training import data_stats

NFE, STEPS, BATCH = 10, 20, 128
Timed = list[float]
Block = Callable[[], AbstractContextManager[None]]


def timed(work: Callable[[], object]) -> float:
    """Seconds by the clock, from when all processes are ready until all are done."""
    all_of(None)
    began = time.perf_counter()
    work()
    all_of(None)
    return time.perf_counter() - began


def worker(samples: int, out: Path) -> None:
    """The work of one process, shared and not shared; the first writes what it took."""
    torch.set_num_threads(1)
    x = load("digits").train
    objective = diffode.build("edm", (1, 8, 8), stats=data_stats(x), network="unet")
    field = objective.field.eval()

    def drawing() -> None:
        diffode.sample(field, samples, nfe=NFE, batch=250)

    def training(steps: int = STEPS) -> None:
        list(diffode.train(objective, x, steps=steps, batch=BATCH, device="cpu"))

    def inside(block: Block, work: Callable[[], None]) -> None:
        with block():
            work()

    diffode.sample(field, 10, nfe=NFE)
    training(2)
    pairs = {"samples": (drawing, sharing), "steps": (training, nullcontext)}
    found = {
        name: [timed(partial(inside, block, work)), timed(partial(inside, apart, work))]
        for name, (work, block) in pairs.items()
    }
    if is_main_process():
        out.write_text(json.dumps(found))


def measured(processes: int, samples: int) -> dict[str, Timed]:
    """The seconds that so many processes take for the same work, shared and not."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command = [sys.executable, *launch, str(processes), "-m", "benchmarks.processes"]
        command += ["--samples", str(samples), "--worker", str(out)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found: dict[str, Timed] = json.loads(out.read_text())
    return found


def table(processes: int, samples: int, rounds: int) -> Table:
    """The table of all rounds, one process and several in turn."""
    runs: dict[int, list[dict[str, Timed]]] = {1: [], processes: []}
    for _ in range(rounds):
        for count, found in runs.items():
            found.append(measured(count, samples))
    rows = []
    for name, amount in (("samples", samples), ("steps", STEPS)):
        one, many = ([run[name] for run in runs[count]] for count in runs)
        elapsed = [statistics.median(shared for shared, _ in found) for found in (one, many)]
        gains = [alone / shared for shared, alone in many]
        rows.append(
            [
                f"{amount} {name}",
                *(f"{amount / seconds:.1f} /s" for seconds in elapsed),
                f"{elapsed[0] / elapsed[1]:.2f}",
                f"{statistics.median(gains):.2f}",
                f"{min(gains):.2f} to {max(gains):.2f}",
            ]
        )
    head = ["work", "1 process", f"{processes} processes", "elapsed", "not shared", "its range"]
    return Table(head, rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker is not None:
        worker(asked.samples, asked.worker)
    else:
        print(table(asked.processes, asked.samples, asked.rounds).text())


if __name__ == "__main__":
    main()
