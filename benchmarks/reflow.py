"""Reflow: how few steps its flows need beside those that they learned from, for docs/reflow.md.

    python -m benchmarks.reflow --out runs/reflow

A rectified flow, and the flows that are learned from its pairs, with and without the filtered
target (kappa), in Euler steps. A filtered step costs a further evaluation: it has fewer steps, so
that both take the same CPU time. Cells are kept, so a stopped run goes on where it was.
"""

import argparse
import json
import statistics
import time
from functools import cache
from pathlib import Path

import torch

from diffode.data import load
from diffode.fields import AffineField
from diffode.files import write_text
from diffode.metrics import Panel, sliced_wasserstein2, wasserstein2
from diffode.runs.pairs import PAIRS
from diffode.runs.reflow import bend, make_pairs
from diffode.runs.run import fit
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample

STEPS = (1, 2, 4, 8, 16)
SETS = {
    "eight-gaussians": {"pairs": 16000, "first": {}, "second": {"steps": 1400, "lr": 4e-3}},
    "digits": {"pairs": 8000, "first": {}, "second": {"steps": 500, "batch": 256}},
}
ROWS = ("1-rectified", "2-rectified", "filtered")
COST = 1.3  # of a filtered step, in plain ones
panel = cache(Panel)


def cell(data: str, seed: int, out: Path) -> None:
    """Train the flows of a seed and measure them, unless that was done."""
    about = SETS[data]
    folder = out / f"{data}-{seed}"
    done = folder / "figures.json"
    if done.exists():
        return
    began = time.process_time()
    first = fit("rectified", data, seed=seed, device="cpu", **about["first"])
    figures = {"1-rectified": measured(first.field, data, seed, time.process_time() - began)}
    teacher = first.field.eval().requires_grad_(False)
    assert isinstance(teacher, AffineField)
    make_pairs(teacher, about["pairs"], solver_for(teacher, None, {}), None, folder, seed=seed)
    for row, kappa in (("2-rectified", 0.0), ("filtered", 1.0)):
        options = about["second"] | {"kappa": kappa}
        options["steps"] = round(options["steps"] / (COST if kappa else 1))
        began = time.process_time()
        second = fit("rectified", data, seed=seed, device="cpu", pairs=folder / PAIRS, **options)
        figures[row] = measured(second.field, data, seed, time.process_time() - began)
    write_text(done, json.dumps(figures))


def measured(field: AffineField, data: str, seed: int, seconds: float) -> dict[str, float]:
    """Straightness, the distance to the data at few Euler steps, and on images precision too."""
    field = field.eval().requires_grad_(False)
    straight, defect = bend(field, seed=seed)
    found = {"straightness": straight, "defect": defect, "seconds": seconds}
    test = load(data).test
    for k in STEPS:
        x = sample(field, 2000, "euler", steps=k, seed=seed + 7, grid="native", final="none").x
        planar = x[0].numel() == 2
        distance = wasserstein2 if planar else sliced_wasserstein2
        found[f"W2 at {k}"] = float(distance(x, test[:2000]).value)
        if not planar:
            found[f"precision at {k}"] = panel(data).measure(x)["precision"].value
    return found


def table(data: str, out: Path) -> str:
    """The means over seeds, as Markdown."""
    cells = [json.loads(p.read_text()) for p in sorted(out.glob(f"{data}-*/figures.json"))]
    lines = [
        f"{data}, {len(cells)} seeds",
        "",
        f"| flow | straightness | defect | {' | '.join(f'at {k}' for k in STEPS)} | CPU s |",
        "|---" * (4 + len(STEPS)) + "|",
    ]
    for row in ROWS if cells else ():
        mean = {k: statistics.mean(c[row][k] for c in cells) for k in cells[0][row]}
        at = [
            f"{mean[f'W2 at {k}']:.3f}"
            + (f" / {mean[f'precision at {k}']:.2f}" if f"precision at {k}" in mean else "")
            for k in STEPS
        ]
        straight = f"{mean['straightness']:.4f} | {mean['defect']:.4f}"
        lines.append(f"| {row} | {straight} | {' | '.join(at)} | {mean['seconds']:.0f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the cells that are missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/reflow"))
    parser.add_argument("--data", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for data in options.data:
            cell(data, seed, options.out)
    for data in options.data:
        print(table(data, options.out))


if __name__ == "__main__":
    main()
