"""Claims of the PFGM and PFGM++ papers at this scale, on digits: did each hold?

    python -m benchmarks.claims --out runs/digits
    python -m benchmarks.claims --out runs/digits --table

Models are those of the standing comparison where it has them (same folder, same keys). Frechet is
in pixel space against the held-out digits, as many samples as there are training digits, medians
over seeds.

1. PFGM's RK45 needs fewer evaluations than VP's and VE's at equal quality (PFGM, table 1): dopri5
   in the clock of each paper (log z, t, log sigma) and in this package's own.
2. Euler's step-size robustness (PFGM, section 4.2): Frechet by the number of equal steps in the
   same clocks.
3. A weak network hurts VE and VP more than PFGM (PFGM, section 4.2): a residual MLP of 1 x 64.
4. Smaller D is more robust (PFGM++, section 5): to alpha-noise, x <- x + alpha sigma e after each
   of 18 Heun steps, and to weights rounded to few bits.
"""

import argparse
import copy
import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from diffode import __version__
from diffode.bench.config import make_config
from diffode.bench.models import Model, model_of, plan_of, train_model
from diffode.data import load
from diffode.fields.affine import AffineField
from diffode.files import write_text
from diffode.metrics import frechet, precision_recall
from diffode.rng import Rng
from diffode.runs.dataset import load_data
from diffode.runs.keys import key_of, key_of_values
from diffode.runs.suited import suited
from diffode.sampling.drawing import sample
from diffode.solvers import get_solver, grid

SEEDS = [0, 1, 2]
CLOCKS = {"poisson": "logsnr", "vp": "native", "ve": "native"}  # of the papers; ve's is log sigma
TOLERANCES = [0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5]
EULER = [5, 10, 20, 50, 100, 200]
DOFS = [4, 32, 128, 2048]
ALPHAS = [0.0, 0.1, 0.2, 0.3]
BITS = [8, 6, 5, 4]
WEAK = {"width": 64, "depth": 1}
DIGITS = load("digits")
COUNT = len(DIGITS.train)


def model(field: str, seed: int, out: Path, **options: float) -> Model:
    """A training on the digits, done if it was not."""
    chosen = {} if field == "edm" else {k: v for k, v in options.items() if k == "dof"}
    train = {k: v for k, v in options.items() if k != "dof"}
    config = make_config(
        fields=[field], data=["digits"], options={field: chosen}, train=train, device="cpu"
    )
    plan = suited(plan_of(config, field, "digits", seed), DIGITS)
    found = model_of(plan, key_of_values(DIGITS.train, DIGITS.train_labels), out)
    train_model(found, load_data(plan))
    return found


def figures(x: Tensor) -> dict[str, float]:
    """Frechet distance to the held-out digits, and precision."""
    if not bool(x.isfinite().all()):
        return {"frechet": float("inf"), "precision": 0.0}
    return {
        "frechet": frechet(x, DIGITS.test).value,
        "precision": precision_recall(x, DIGITS.train)["precision"].value,
    }


def rk45(field: AffineField, clock: str, seed: int) -> list[dict[str, float]]:
    """Figures of dopri5 at each tolerance."""
    found = []
    for tolerance in TOLERANCES:
        s = sample(field, COUNT, "dopri5", seed=seed, rtol=tolerance, atol=tolerance, clock=clock)
        found.append({"tolerance": tolerance, "nfe": s.nfe, **figures(s.x)})
    return found


def euler(field: AffineField, clock: str, seed: int) -> list[dict[str, float]]:
    """Figures of Euler at each number of equal steps in a clock."""
    return [
        {
            "steps": steps,
            **figures(
                sample(field, COUNT, "euler", steps=steps, seed=seed, grid=clock, clock=clock).x
            ),
        }
        for steps in EULER
    ]


def noisy(field: AffineField, alpha: float, seed: int) -> dict[str, float]:
    """Figures of 18 Heun steps with noise of alpha sigma injected after each but the last."""
    times, solver = grid(field, 18, "karras"), get_solver("heun")
    moved_x, moved = field.start(COUNT, Rng(seed))
    assert isinstance(moved, AffineField)
    x = moved_x
    with torch.no_grad():
        for k in range(18):
            x = solver(moved, x, times[k : k + 2]).x
            if k < 17:
                noise = Rng(seed).at(k).normal("injected", x.shape, x.dtype)
                x = x + alpha * float(field.schedule.sigma(times[k + 1])) * noise
        x = moved.denoise(x, times[-1])
    return figures(x)


def rounded(field: AffineField, bits: int, seed: int) -> dict[str, float]:
    """Figures of the default solver with each weight matrix rounded to 2^bits equal steps."""
    coarse = copy.deepcopy(field)
    with torch.no_grad():
        for p in coarse.parameters():
            if p.ndim > 1:
                unit = p.abs().max() / (2 ** (bits - 1) - 1)
                p.copy_((p / unit).round() * unit)
    return figures(sample(coarse, COUNT, seed=seed).x)


SETTINGS = {
    "rk45": [CLOCKS, TOLERANCES],
    "euler": [CLOCKS, EULER],
    "weak": [WEAK],
    "robust": [ALPHAS, BITS],
}


def cells(out: Path) -> Iterator[tuple[str, Path]]:
    """The names and files of all cells; a file's name tells what decides its figures."""
    names = [f"{claim}-{f}" for claim in ("rk45", "euler", "weak") for f in CLOCKS]
    names += [f"robust-{d}" for d in (*DOFS, "inf")]
    for seed in SEEDS:
        for name in names:
            key = key_of([__version__, SETTINGS[name.split("-")[0]]])
            yield f"{name}-{seed}", out / "claims" / f"{name}-{seed}-{key}.json"


def run(name: str, out: Path) -> object:
    """The figures of one cell."""
    claim, what, number = name.split("-")
    seed = int(number)
    if claim == "robust":
        trained = (
            model("edm", seed, out)
            if what == "inf"
            else model("pfgmpp", seed, out, dof=float(what))
        )
        field = trained.field()
        assert isinstance(field, AffineField)
        return {
            "alpha": {a: noisy(field, a, seed) for a in ALPHAS},
            "bits": {b: rounded(field, b, seed) for b in BITS},
        }
    strong = model(what, seed, out).field()
    assert isinstance(strong, AffineField)
    if claim == "weak":
        weak = model(what, seed, out, **WEAK).field()
        return [figures(sample(f, COUNT, "heun", nfe=101, seed=seed).x) for f in (strong, weak)]
    act = rk45 if claim == "rk45" else euler
    clocks = [CLOCKS[what], "theta"] if claim == "rk45" else [CLOCKS[what]]
    return {clock: act(strong, clock, seed) for clock in clocks}


def table(out: Path) -> str:
    """Medians over seeds, as Markdown."""
    known = {n: json.loads(p.read_text()) for n, p in cells(out) if p.exists()}

    def middle(values: list[float]) -> float:
        return statistics.median(values)

    def of(name: str) -> list:
        return [v for k, v in known.items() if k.rsplit("-", 1)[0] == name]

    floor = frechet(DIGITS.train, DIGITS.test).value
    lines = [
        f"Frechet[pixels] of {COUNT} samples to {len(DIGITS.test)} held-out digits "
        f"({key_of_values(DIGITS.test)}); training digits: {floor:.3f}; {len(SEEDS)} seeds",
        "",
    ]
    lines += ["| field | clock | " + " | ".join(f"{t:g}" for t in TOLERANCES) + " |"]
    lines += ["|---" * (len(TOLERANCES) + 2) + "|"]
    for field, own in CLOCKS.items():
        for clock in (own, "theta"):
            runs = [c[clock] for c in of(f"rk45-{field}")]
            row = [
                f"{middle([r[k]['nfe'] for r in runs]):.0f}: "
                f"{middle([r[k]['frechet'] for r in runs]):.3f}"
                for k in range(len(TOLERANCES) if runs else 0)
            ]
            lines.append(f"| {field} | {clock} | " + " | ".join(row) + " |")
    lines += ["", "| field | clock | " + " | ".join(map(str, EULER)) + " |"]
    lines += ["|---" * (len(EULER) + 2) + "|"]
    for field, clock in CLOCKS.items():
        runs = [c[clock] for c in of(f"euler-{field}")]
        row = [
            f"{middle([r[k]['frechet'] for r in runs]):.3f}"
            for k in range(len(EULER) if runs else 0)
        ]
        lines.append(f"| {field} | {clock} | " + " | ".join(row) + " |")
    lines += [
        "",
        "| field | Frechet, 4 x 512 | 1 x 64 | precision, 4 x 512 | 1 x 64 |",
        "|---" * 5 + "|",
    ]
    for field in CLOCKS:
        runs = of(f"weak-{field}")
        row = [
            f"{middle([r[k][key] for r in runs]):.3f}"
            for key in ("frechet", "precision")
            for k in ((0, 1) if runs else ())
        ]
        lines.append(f"| {field} | " + " | ".join(row) + " |")
    head = [f"alpha {a:g}" for a in ALPHAS] + [f"{b} bits" for b in BITS]
    lines += ["", "| D | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for dof in (*DOFS, "inf"):
        runs = of(f"robust-{dof}")
        row = [
            f"{middle([r[kind][str(v)]['frechet'] for r in runs]):.3f}"
            for kind, values in (("alpha", ALPHAS), ("bits", BITS))
            for v in (values if runs else ())
        ]
        lines.append(f"| {dof} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the cells that are missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name, path in () if options.table else cells(options.out):
        if not path.exists():
            write_text(path, json.dumps(run(name, options.out), indent=1))
    if not any(path.exists() for _, path in cells(options.out)):
        parser.exit(2, f"nothing is measured in {options.out} yet; leave out --table\n")
    print(table(options.out))


if __name__ == "__main__":
    main()
