"""Intervals and autoguidance on a network: a table of docs/appendix/guidance.md.

    python -m benchmarks.guidance_remedies --out runs/guidance-digits

A field `edm` of the digits, trained with labels as long as is usual, is guided at all levels of
noise, in an interval of them, and away from the same recipe trained for 100 steps. Each row is the
mean over the samples of some seeds. Cells are kept, so a stopped run goes on where it was.
"""

import argparse
import json
from pathlib import Path

import torch

import diffode
from benchmarks.guidance_digits import FIGURES, measured, panel
from diffode.data import load
from diffode.fields import AffineField, classifier_free
from diffode.files import write_text
from diffode.tables import Table
from diffode.training.checkpoint import newest

SEEDS = (0, 1)
WEIGHTS = (2.0, 4.0)
INTERVALS = ((0.2, 1.0), (0.2, 5.0), (0.5, 2.0), (1.0, 5.0))
SHORT = 100  # steps of the weaker run
WAYS = [
    ("as it is", 1.0),
    ("the weaker run as it is", 1.0),
    *(
        (way, weight)
        for weight in WEIGHTS
        for way in ("all", *(f"{lo:g} to {hi:g}" for lo, hi in INTERVALS), "all, weaker run")
    ),
]


def field(out: Path, name: str, steps: int | None = None) -> AffineField:
    """The field of a run below `out`, trained where it is missing."""
    if newest(out / name) is None:
        given = {} if steps is None else {"steps": steps}
        diffode.fit("edm", "digits", labels=True, device="cpu", out=out / name, **given)
    return diffode.load(out / name).field


def guided(out: Path, way: str, weight: float) -> AffineField:
    """The field of a row of the table."""
    strong = field(out, "edm")
    if "weaker run" in way:
        weak = field(out, "edm-weaker", SHORT)
        return weak if way.startswith("the") else classifier_free(strong, weight, weak=weak)
    named = {f"{lo:g} to {hi:g}": (lo, hi) for lo, hi in INTERVALS}
    return classifier_free(strong, weight, interval=named.get(way))


def cell(out: Path, way: str, weight: float) -> None:
    """Draw and measure the samples of a row, a seed at a time, unless that was done."""
    path = out / f"remedy-{way.replace(' ', '-')}-{weight:g}.json"
    if path.exists():
        return
    drawn_from, y, found = guided(out, way, weight), load("digits").labels(panel().count), []
    for seed in SEEDS:
        drawn = diffode.sample(drawn_from, len(y), y=y, seed=seed, batch=500)
        found.append(measured(drawn.x, y) | {"calls": float(drawn.network_calls)})
    mean = {name: sum(f[name] for f in found) / len(found) for name in found[0]}
    write_text(path, json.dumps(mean) + "\n")
    print(f"{way}, w = {weight:g}: {path.read_text().strip()}", flush=True)


def table(out: Path) -> Table:
    """The figures of all cells."""
    lines = []
    for way, weight in WAYS:
        path = out / f"remedy-{way.replace(' ', '-')}-{weight:g}.json"
        figures = json.loads(path.read_text())
        told = f"{100 * figures['of their label']:.1f} %"
        shown = [told, *(f"{figures[name]:.3f}" for name in FIGURES)]
        lines.append([f"{weight:g}", way, f"{figures['calls']:.0f}", *shown])
    return Table(["w", "where rho is in", "network calls", "of their label", *FIGURES], lines)


def main() -> None:
    """Fill the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/guidance-digits"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for way, weight in WAYS:
        cell(options.out, way, weight)
    print(table(options.out).markdown())


if __name__ == "__main__":
    main()
