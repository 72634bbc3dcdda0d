"""Flow maps at 1, 2 and 4 evaluations: of an exact field, of a Poisson flow and of a run.

    python -m benchmarks.flowmaps points      # eight-gaussians, against the exact map
    python -m benchmarks.flowmaps poisson     # the same data, PFGM in bound form
    python -m benchmarks.flowmaps digits      # a run of edm on digits, trained first

An error of points is the root mean square over 4,096 points of the prior of the distance between
where a student and where the exact flow takes them. Sliced distances of independent draws cannot
tell students apart here: those of two draws of the law itself differ by .13.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffode import fit_grid, sample
from diffode.data import load as load_data
from diffode.data.stats import Stats, data_stats
from diffode.data.toys import TOYS
from diffode.fields import AffineField, Karras, Mixture, PoissonField
from diffode.metrics import quality
from diffode.priors import Normal, Spherical, StudentT
from diffode.rng import Rng
from diffode.runs.building import build
from diffode.runs.distilling import Distillation
from diffode.runs.paths import Drawing, saved_paths
from diffode.runs.run import execute, fit
from diffode.runs.targets import Target, resolve
from diffode.tables import Table
from diffode.training.flowmaps import MapLearning
from diffode.training.jumps import Teacher
from diffode.training.trainer import train

NFE = (1, 2, 4)
ROWS = 4096
OBJECTIVES = ("pairs", "lagrangian", "progressive", "progressive from data")
DIGITS = (
    "pairs 1",
    "pairs 2",
    "lagrangian 1",
    "lagrangian 1 from data",
    "progressive 1 from data",
    "progressive from data",
)
FROM_DATA = {"steps": 800, "batch": 256, "lr": 1e-3, "ema": 0.998, "full": 0.4}


def law(noise: Spherical) -> tuple[AffineField, Tensor, Stats]:
    """The exact field of eight-gaussians, points of it, and their statistics."""
    made = TOYS["eight-gaussians"].law
    count = len(made.weights)
    stds = torch.full((count,), made.std)
    field: AffineField = Mixture(made.weights, made.means.float(), stds, Karras(), noise)
    if isinstance(noise, StudentT):
        field = PoissonField(field)
    x = made.sample(100_000, Rng(3))[0]
    mean, std = field.moments
    stats = data_stats(x.float())
    return field, x.float(), replace(stats, mean=mean.float(), std=std)


def student(
    field: AffineField, x: Tensor, stats: Stats, kind: str, steps: int, seed: int, folder: Path
) -> tuple[AffineField, float]:
    """A student of an exact field, and the CPU seconds that it took, its paths included."""
    began = time.process_time()
    of = "poisson" if isinstance(field, PoissonField) else "edm"
    objective, from_data = kind.removesuffix(" from data"), kind.endswith("from data")
    sizes = {"width": 128, "depth": 3}
    made = build("flowmap", (2,), None, stats, seed, objective=objective, of=of, **sizes)
    assert isinstance(made, MapLearning)
    samples: Any = x
    if objective == "pairs":
        paths = Drawing(folder, "exact", 16384, 32, 10**9 + seed)
        samples, angles = saved_paths(field, paths)
        made.follow(Teacher(field, angles))
    elif not from_data:
        made.follow(Teacher(field))
    how = {"steps": steps, "batch": 512, "lr": 6e-3, "seed": seed, "device": "cpu"}
    *_, last = train(made, samples, **how)
    assert isinstance(last.averaged, AffineField)
    return last.averaged, time.process_time() - began


Draw = Callable[[int, int, int], Tensor]  # samples, by their number, evaluations and seed


def drawing_of(field: Any, fitted: bool = False) -> Draw:  # noqa: ANN401
    """How a field is sampled: by itself, or by trig on a grid that is fitted for that."""

    def draw(rows: int, nfe: int, seed: int) -> Tensor:
        grid = fit_grid(field, "trig", nfe, 128) if fitted else None
        return sample(field, rows, nfe=None if fitted else nfe, seed=seed, batch=512, grid=grid).x

    return draw


def each(field: Any, cell: Callable[[int], str], fitted: bool = False) -> list[str]:  # noqa: ANN401
    """A cell at each number of evaluations, "-" where there is none."""
    known = NFE[:1] if getattr(field, "lands_only", False) else NFE[fitted:]
    return [cell(nfe) if nfe in known else "-" for nfe in NFE]


def errors(field: AffineField, exact: Tensor, fitted: bool = False) -> list[str]:
    """The error at each number of evaluations, and its median."""
    draw = drawing_of(field, fitted)

    def cell(nfe: int) -> str:
        gap = (draw(len(exact), nfe, 5) - exact).square().sum(1).sqrt()
        return f"{float(gap.square().mean().sqrt()):.3f} ({float(gap.median()):.3f})"

    return each(field, cell, fitted)


def points(noise: Spherical, kinds: Sequence[str], steps: int, seed: int) -> Table:
    """The table of students of an exact field."""
    field, x, stats = law(noise)
    exact = sample(field, ROWS, nfe=200, seed=5).x
    rows = [("default solver", "", "", *errors(field, exact))]
    if field.prior is not None and not field.is_bound and isinstance(noise, Normal):
        rows.append(("trig on fitted grids", "", "", *errors(field, exact, fitted=True)))
    table = Table(("", "steps", "CPU s", *map(str, NFE)), rows)
    for row in rows:
        print(*row, flush=True)
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            made, seconds = student(field, x, stats, kind, steps, seed, Path(folder))
        row = (kind, str(steps), f"{seconds:.0f}", *errors(made, exact))
        print(*row, flush=True)
        rows.append(row)
    return table


def fidelity(field: Any, fitted: bool = False, counts: Sequence[int] | None = None) -> list[str]:  # noqa: ANN401
    """Frechet distance, precision and recall of 2,000 digits at each number of evaluations."""
    data, draw = load_data("digits"), drawing_of(field, fitted)

    def cell(nfe: int) -> str:
        q = quality(draw(2000, nfe, 0), data.train, data.test)
        return f"{q.frechet:.2f} / {q.precision:.3f} / {q.recall:.3f}"

    return each(field, cell, fitted) if counts is None else [cell(nfe) for nfe in counts]


def digits(
    kinds: Sequence[str], run: Path, seed: int, steps: int | None, beside: bool = True
) -> Table:
    """The table of students of a run on digits, beside solvers of the run itself."""
    if not run.exists():
        fit("edm", "digits", steps=700, out=run, seed=seed, device="cpu")
    target = resolve(run)
    target.field.requires_grad_(False)
    rows = []
    if beside:
        rows.append(("teacher, default solver", "", "", *fidelity(target.field)))
        rows.append(("teacher, trig on fitted grids", "", "", *fidelity(target.field, True)))
        rows.append(("teacher at 35", "", "", "", "", *fidelity(target.field, counts=(35,))))
    table = Table(("", "steps", "CPU s", *map(str, NFE)), rows)
    for row in rows:
        print(*row, flush=True)
    for kind in kinds:
        made, taken, seconds = digits_student(kind, target, seed, steps, run.with_name("paths"))
        row = (kind, str(taken), f"{seconds:.0f}", *fidelity(made))
        print(*row, flush=True)
        rows.append(row)
    return table


def digits_student(
    kind: str, target: Target, seed: int, steps: int | None, folder: Path
) -> tuple[Any, int, float]:
    """A student of a run by a kind as "pairs 1", its steps, and the CPU seconds that it took."""
    objective, _, rest = kind.partition(" ")
    began, how = time.process_time(), {"device": "cpu", **({"steps": steps} if steps else {})}
    if rest == "from data":
        done = fit("flowmap", "digits", objective=objective, seed=seed, **{**FROM_DATA, **how})
        return done.field, len(done.losses), time.process_time() - began
    from_data = rest.endswith("from data")
    distillation = replace(Distillation.of(target), from_data=from_data)
    plan = distillation.plan(int(rest[0]), objective, seed, how)
    drawing = None
    if objective == "pairs":
        drawing = Drawing(folder, distillation.key, 8192, 12, 10**9 + seed)
    done = execute(plan, lesson=distillation.lesson(plan, drawing, lambda rows: None))
    return done.field, len(done.losses), time.process_time() - began


def main() -> None:
    """Make what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("points", "poisson", "digits"))
    parser.add_argument("--only", action="append", help="an objective; several times for more")
    parser.add_argument("--steps", type=int, help="of training; for points 2,000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, default=Path("runs/flowmaps/teacher"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "digits":
        kinds = asked.only or DIGITS
        table = digits(kinds, asked.run, asked.seed, asked.steps, beside=not asked.only)
    else:
        noise: Spherical = Normal() if asked.what == "points" else StudentT(1.0)
        table = points(noise, asked.only or OBJECTIVES, asked.steps or 2000, asked.seed)
    print(table.markdown())


if __name__ == "__main__":
    main()
