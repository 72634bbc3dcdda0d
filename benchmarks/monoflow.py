"""MonoFlow and GANs on planar sets and digits: the tables of docs/monoflow.md.

    python -m benchmarks.monoflow --out runs/monoflow
    python -m benchmarks.monoflow --out runs/monoflow --table

Fresh samples throughout, 2,000 each. W2 is the exact Wasserstein-2 distance (optimal assignment)
to 2,000 held-out points with equal numbers from every component; its floor is that of real draws,
the median of three, against the same held-out points. High quality: within three standard
deviations of a component or an arc. Cells are kept, so a stopped run goes on where it was.
"""

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from diffode.data import load
from diffode.data.toys import EIGHT_GAUSSIANS, MOONS, eight_gaussians, moons
from diffode.files import write_text
from diffode.metrics import floor, nearest, quality
from diffode.rng import Rng
from diffode.runs.run import fit
from diffode.sampling.drawing import sample
from diffode.viz import samples_picture

COUNT = 2000
PLANAR = {
    "eight-gaussians": (eight_gaussians, EIGHT_GAUSSIANS, 8),
    "moons": (moons, MOONS, 2),
}
# name of a row: recipe, data, options
ROWS: dict[str, tuple[str, str, dict[str, object]]] = {
    "march": ("monoflow", "eight-gaussians", {}),
    "march, moons": ("monoflow", "moons", {}),
    "march, digits": ("monoflow", "digits", {}),
    "pool": ("monoflow-pool", "eight-gaussians", {}),
    "pool, moons": ("monoflow-pool", "moons", {}),
    "gan logit": ("gan", "eight-gaussians", {"h": "logit"}),
    "gan hinge": ("gan", "eight-gaussians", {"h": "hinge"}),
    "gan vanilla": ("gan", "eight-gaussians", {"h": "vanilla"}),
    "gan logit, digits": ("gan", "digits", {}),
}
LITTLE: dict[str, object] = {"noise_first": 0.15, "noise_last": 0.14, "stages": 50, "steps": 4000}
# what does not work, and h and filters to compare, one seed each
ONCE: dict[str, tuple[str, str, dict[str, object]]] = {
    "march, h = ns": ("monoflow", "eight-gaussians", {"h": "ns"}),
    "march, h = vanilla": ("monoflow", "eight-gaussians", {"h": "vanilla"}),
    "march, little noise": ("monoflow", "eight-gaussians", LITTLE),
    "march, little noise, h = vanilla": (
        "monoflow",
        "eight-gaussians",
        LITTLE | {"h": "vanilla"},
    ),
    "static critic": ("monoflow-pool", "eight-gaussians", {"timed": False}),
    "gradient penalty": ("monoflow-pool", "eight-gaussians", {"penalty": 0.1}),
    "gan, 10 generator steps of -h": (
        "gan",
        "eight-gaussians",
        {"generator_steps": 10, "steps": 1200},
    ),
    "gan, 10 steps of regression": (
        "gan",
        "eight-gaussians",
        {"generator_steps": 10, "steps": 1200, "regression": True},
    ),
    "gan regression, kappa 1": ("gan", "eight-gaussians", {"regression": True}),
    "gan regression, kappa 1.5": ("gan", "eight-gaussians", {"regression": True, "kappa": 1.5}),
    "gan regression, kappa 0.5": ("gan", "eight-gaussians", {"regression": True, "kappa": 0.5}),
}


def w2(a: Tensor, b: Tensor) -> float:
    """The Wasserstein-2 distance of two samples of one size."""
    cost = torch.cdist(a.double(), b.double()).square().numpy()
    rows, columns = linear_sum_assignment(cost)
    return math.sqrt(float(cost[rows, columns].mean()))


def planar(x: Tensor, data: str, seed: int) -> dict[str, float]:
    """The figures of samples of a planar set."""
    draw, law, components = PLANAR[data]
    points, labels = draw(3 * COUNT, Rng(1000 + seed))
    assert labels is not None
    held = torch.cat([points[labels == k][: COUNT // components] for k in range(components)])
    real = [draw(COUNT, Rng(2000 + 10 * seed + k))[0] for k in range(3)]
    floors = [w2(r, held) for r in real]
    distance, nodes = torch.cdist(x.double(), law.means).min(1)
    good = distance < 3 * law.std
    modes = nodes * components // len(law.means)
    shares = torch.bincount(modes[good], minlength=components) / len(x)
    return {
        "W2": w2(x, held),
        "floor": statistics.median(floors),
        "good": float(good.double().mean()),
        "least": float(shares.min()),
        "modes": int((shares > 0.02).sum()),
    }


def digits(x: Tensor) -> dict[str, float]:
    """The figures of samples of the digits."""
    data = load("digits")
    copies = (nearest(x, data.train)[0] < 0.5).double().mean()
    return quality(x, data.train, data.test).asdict() | {
        "floor": floor(data.train, data.test).frechet,
        "copies": float(copies),
    }


def cell(row: str, seed: int, out: Path) -> None:
    """Train and measure one row with one seed, unless that was done."""
    path = out / f"{row.replace(' ', '-').replace(',', '')}-{seed}.json"
    if path.exists():
        return
    name, data, options = (ROWS | ONCE)[row]
    began = time.process_time()
    run = fit(name, data, seed=seed, **options)
    seconds = time.process_time() - began
    solution = sample(run.field, COUNT, seed=100 + seed)
    x = solution.x
    if data == "digits":
        figures = digits(x)
        samples_picture(x[:100], path.with_suffix(".png"))
    else:
        figures = planar(x, data, seed)
    figures |= {"cpu seconds": seconds, "nfe": solution.nfe}
    if name == "monoflow-pool":
        other = sample(run.field, COUNT, "dopri5", seed=100 + seed, rtol=1e-3, atol=1e-3)
        figures |= {"W2 dopri5": planar(other.x, data, seed)["W2"], "nfe dopri5": other.nfe}
    write_text(path, json.dumps(figures, indent=2))


def table(out: Path) -> str:
    """Medians over seeds as Markdown."""
    lines = [
        "| what | seeds | W2 or Frechet (floor) | / floor | high quality or precision "
        "| least share or recall | modes or copies | evaluations | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS | ONCE:
        stem = row.replace(" ", "-").replace(",", "")
        found = [out / f"{stem}-{seed}.json" for seed in range(3)]
        cells = [json.loads(path.read_text()) for path in found if path.exists()]
        if not cells:
            continue
        images = "frechet" in cells[0]
        keys = (
            ("frechet", "precision", "recall", "copies")
            if images
            else (
                "W2",
                "good",
                "least",
                "modes",
            )
        )

        def median(key: str, cells: list[dict[str, float]] = cells) -> float:
            return statistics.median(c[key] for c in cells)

        error, good, least, count = map(median, keys)
        ratio = statistics.median(c[keys[0]] / c["floor"] for c in cells)
        lines.append(
            f"| {row} | {len(cells)} | {error:.3f} ({median('floor'):.3f}) | {ratio:.2f} "
            f"| {good:.3f} | {least:.3f} | {count:g} | {median('nfe'):g} "
            f"| {median('cpu seconds'):.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/monoflow"))
    parser.add_argument("--rows", nargs="*", choices=list(ROWS | ONCE), default=None)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for seed in [] if options.table else options.seeds:
        for row in options.rows or (ROWS | ONCE):
            if row in ROWS or seed == 0:
                cell(row, seed, options.out)
    if not any(options.out.glob("*.json")):
        parser.exit(2, f"nothing is measured in {options.out} yet; leave out --table\n")
    print(table(options.out))


if __name__ == "__main__":
    main()
