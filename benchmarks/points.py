"""The default network of points beside the one before it: the table in docs/benchmarks.md.

    python -m benchmarks.points --out runs/points

Cells are trained once each and kept, so a stopped run goes on where it was.
"""

import argparse
import json
import statistics
import time
from functools import cache
from pathlib import Path

import torch

from diffode.files import write_text
from diffode.metrics import Panel
from diffode.runs.run import fit
from diffode.sampling.drawing import sample

SIZES = {
    "128 x 3, 1,400 steps": {"width": 128, "depth": 3, "steps": 1400},
    "512 x 4, 700 steps": {"width": 512, "depth": 4, "steps": 700},
}
SETS = ("eight-gaussians", "moons", "checkerboard")
FIELDS = ("edm", "poisson", "rectified")
FIGURES = ("W2", "precision", "coverage")
panel = cache(Panel)


def cell(data: str, field: str, sizes: str, seed: int, out: Path) -> None:
    """Train and measure one network, unless that was done."""
    path = out / f"{data}-{field}-{SIZES[sizes]['width']}-{seed}.json"
    if path.exists():
        return
    began = time.process_time()
    run = fit(field, data, seed=seed, device="cpu", **SIZES[sizes])
    seconds = time.process_time() - began
    measured = panel(data).measure(sample(run.field, 2000, seed=seed, batch=250).x)
    figures = {key: measured[key].value for key in FIGURES} | {"seconds": seconds}
    write_text(path, json.dumps(figures))


def table(out: Path) -> str:
    """The means over seeds, as Markdown."""
    lines = [
        "| data | field | network | seeds | W2 | precision | coverage | CPU s |",
        "|---" * 8 + "|",
    ]
    for data in SETS:
        floor = panel(data).floor
        real = " | ".join(f"{floor[key].value:.3f}" for key in FIGURES)
        lines.append(f"| {data} | *real data* | | | {real} | |")
        for field in FIELDS:
            lines += [_row(data, field, sizes, out) for sizes in SIZES]
    return "\n".join(lines)


def _row(data: str, field: str, sizes: str, out: Path) -> str:
    paths = sorted(out.glob(f"{data}-{field}-{SIZES[sizes]['width']}-*.json"))
    cells = [json.loads(path.read_text()) for path in paths]
    means = [statistics.mean(c[key] for c in cells) for key in FIGURES] if cells else []
    seconds = f"{statistics.mean(c['seconds'] for c in cells):.0f}" if cells else ""
    row = [data, field, sizes, str(len(cells)), *(f"{mean:.3f}" for mean in means), seconds]
    return f"| {' | '.join(row)} |"


def main() -> None:
    """Run the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/points"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for data in SETS:
            for field in FIELDS:
                for sizes in SIZES:
                    cell(data, field, sizes, seed, options.out)
    print(table(options.out))


if __name__ == "__main__":
    main()
