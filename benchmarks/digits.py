"""Every recipe on the digits, same network and budget: the table in docs/benchmarks.md.

    python -m benchmarks.digits --out runs/benchmark
    python -m benchmarks.digits --out runs/benchmark --table

Cells are trained once each and kept, so a stopped run goes on where it was, and several runs may
share a folder.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

from diffode import recipes
from diffode.data import load
from diffode.files import write_text
from diffode.metrics import floor, quality
from diffode.runs.run import fit
from diffode.sampling.drawing import sample
from diffode.viz import samples_picture
from tests.judge import classifier

FIELDS = [name for name in recipes.names() if name not in ("monoflow", "monoflow-pool", "gan")]


def cell(name: str, seed: int, out: Path) -> None:
    """Train and measure one recipe with one seed, unless that was done."""
    path = out / f"{name}-{seed}.json"
    if path.exists():
        return
    digits = load("digits")
    run = fit(name, "digits", seed=seed)
    x = sample(run.field, 2000, "heun", nfe=35, seed=100 + seed, batch=500).x
    labels = classifier().predict(x.flatten(1).numpy())
    shares = torch.from_numpy(labels).bincount(minlength=10) / len(x)
    figures = quality(x, digits.train, digits.test).asdict() | {
        "beyond": float((x.flatten(1).abs() > 2).any(1).double().mean()),
        "rarest": float(shares.min()),
        "commonest": float(shares.max()),
        "seconds": run.seconds,
    }
    samples_picture(x[:100], out / f"{name}-{seed}.png")
    write_text(path, json.dumps(figures, indent=2))


def table(out: Path) -> str:
    """The medians over seeds, and the range of the Frechet distance, as Markdown."""
    digits = load("digits")
    real = floor(digits.train, digits.test)
    lines = [
        "| field | seeds | Frechet (range) | / floor | precision | recall | nearest / real "
        "| beyond 2 | digit shares |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in FIELDS:
        cells = [json.loads(p.read_text()) for p in sorted(out.glob(f"{name}-*.json"))]
        if not cells:
            continue

        def middle(key: str, cells: list[dict[str, float]] = cells) -> float:
            return statistics.median(c[key] for c in cells)

        low, high = (f(c["frechet"] for c in cells) for f in (min, max))
        lines.append(
            f"| {name} | {len(cells)} | {middle('frechet'):.3f} ({low:.3f} to {high:.3f}) "
            f"| {middle('frechet') / real.frechet:.2f} | {middle('precision'):.3f} "
            f"| {middle('recall'):.3f} | {middle('nearest') / real.nearest:.2f} "
            f"| {100 * middle('beyond'):.2f} % | {100 * min(c['rarest'] for c in cells):.1f} to "
            f"{100 * max(c['commonest'] for c in cells):.1f} % |"
        )
    lines.append(
        f"| *real data* | | {real.frechet:.3f} | 1 | {real.precision:.3f} | {real.recall:.3f} "
        "| 1 | | |"
    )
    return "\n".join(lines)


LIMITS = {"ddpm": 2.0, "subvp": 2.0, "ve": 2.0}  # of Frechet over the floor; 1.5 for the others


def failures(out: Path) -> list[str]:
    """The recipes whose medians miss the figures that are promised, and which."""
    digits = load("digits")
    real = floor(digits.train, digits.test)
    found = []
    for name in FIELDS:
        cells = [json.loads(p.read_text()) for p in sorted(out.glob(f"{name}-*.json"))]
        if not cells:
            continue
        q = {key: statistics.median(c[key] for c in cells) for key in cells[0]}
        claims = {"frechet": q["frechet"] <= LIMITS.get(name, 1.5) * real.frechet}
        if name not in LIMITS:
            claims |= {
                "precision": q["precision"] >= 0.85,
                "recall": q["recall"] >= 0.80,
                "nearest": 0.85 <= q["nearest"] / real.nearest <= 1.2,
                "beyond": q["beyond"] <= 0.01,
                "shares": q["rarest"] >= 0.04 and q["commonest"] <= 0.18,
            }
        found += [f"{name}: {claim}" for claim, holds in claims.items() if not holds]
    return found


def main() -> None:
    """Run the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--fields", nargs="*", default=FIELDS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for seed in [] if options.table else options.seeds:
        for name in options.fields:
            cell(name, seed, options.out)
    print(table(options.out))
    if unknown := [name for name in options.fields if not any(options.out.glob(f"{name}-*.json"))]:
        parser.exit(2, f"not measured in {options.out}: {', '.join(unknown)}; leave out --table\n")
    missed = failures(options.out)
    print("\n".join(["missed:", *missed]) if missed else "all figures are met")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
