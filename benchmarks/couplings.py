"""Couplings of data and noise beside independent pairs: the table in docs/reflow.md.

    python -m benchmarks.couplings --out runs/couplings

Straightness and defect are those of 2,000 paths of 50 Heun steps. The target's variance is the
mean square of target less velocity on held-out pairs, coupled as in training: what no field can
know of its target, and the error of the network. Cells are kept, so a stopped run goes on.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from diffode.data import load
from diffode.files import write_text
from diffode.metrics import straightness, straightness_defect, wasserstein2
from diffode.rng import Rng
from diffode.runs.run import Run, fit
from diffode.sampling.drawing import sample
from diffode.training.batches import Batch, Batches
from diffode.training.coupling import Paired, Whole

SETS = ("moons", "eight-gaussians")
KINDS = ("independent", "ot", "sinkhorn")
STEPS = (1, 2, 4, 8)
FIGURES = ("straightness", "defect", "variance", *(f"W2 at {k}" for k in STEPS), "seconds")
WIDTHS = (4, 3, 3, *(3 for _ in STEPS), 0)


def variance(run: Run, batches: int = 20, size: int = 512) -> float:
    """The mean square of target less velocity over the coordinates, on held-out pairs."""
    objective, test, total = run.objective, Batch(run.dataset.test), 0.0
    held = Batches(test, size, 99)
    if objective.coupling != "independent":
        held = Whole(held, objective.couple)
    for step in range(batches):
        rows = torch.arange(size)
        batch, rng = held.at(step, rows), Rng(99, step=step)
        n = batch.n if isinstance(batch, Paired) else rng.normal("noise", batch.x.shape)
        t = rng.spread("time", size)
        x_t = (1 - t)[:, None] * batch.x + t[:, None] * n
        with torch.no_grad():
            error = n - batch.x - run.field.velocity(x_t.float(), t)
        total += float(error.square().mean()) / batches
    return total


def cell(data: str, kind: str, seed: int, out: Path) -> None:
    """Train and measure one field, unless that was done."""
    path = out / f"{data}-{kind}-{seed}.json"
    if path.exists():
        return
    began = time.process_time()
    run = fit("rectified", data, seed=seed, coupling=kind, device="cpu")
    seconds = time.process_time() - began
    drawn = sample(run.field, 2000, "heun", steps=50, seed=seed, path=True, final="none")
    figures = {
        "straightness": float(straightness(drawn.path).value),
        "defect": float(straightness_defect(drawn.path, drawn.times).value),
        "variance": variance(run),
        "seconds": seconds,
    }
    test = run.dataset.test[:2000]
    for k in STEPS:
        x = sample(run.field, 2000, "euler", steps=k, seed=seed, grid="native", final="none").x
        figures[f"W2 at {k}"] = float(wasserstein2(x, test).value)
    write_text(path, json.dumps(figures))


def table(out: Path) -> str:
    """The means over seeds, as Markdown."""
    lines = [f"| data | coupling | seeds | {' | '.join(FIGURES)} |", "|---" * 11 + "|"]
    for data in SETS:
        rows = load(data).train
        real = float(wasserstein2(rows[:2000], load(data).test[:2000]).value)
        lines.append(f"| {data} | *real data* | | | | | {' | '.join([f'{real:.3f}'] * 4)} | |")
        for kind in KINDS:
            paths = sorted(out.glob(f"{data}-{kind}-*.json"))
            cells = [json.loads(path.read_text()) for path in paths]
            means = [
                f"{statistics.mean(c[key] for c in cells):.{width}f}"
                for key, width in zip(FIGURES, WIDTHS, strict=True)
                if cells
            ]
            lines.append(f"| {data} | {kind} | {len(cells)} | {' | '.join(means)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/couplings"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for data in SETS:
            for kind in KINDS:
                cell(data, kind, seed, options.out)
    print(table(options.out))


if __name__ == "__main__":
    main()
