"""The default solver on guided fields, against the solvers that guided models are drawn with.

    python -m benchmarks.guided
    python -m benchmarks.guided --networks runs/edm-labelled runs/vp-labelled

Labelled mixtures and trained networks under guidance; the error is the RMS distance from the
converged end of the same guided flow, at equal evaluations. The peers are this project's own
multistep methods, with the grids that serve them best. A figure is (error of the best of them,
chosen anew for each bed and number of evaluations) / (error of the default).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import diffode
from diffode.fields import VP, AffineField, Karras, Mixture, Rectified, classifier_free
from diffode.fields.schedules import Schedule
from diffode.rng import Rng
from diffode.solvers import get_solver, grid

PEERS = (
    ("dpm++", "t2"),
    ("dpm++", "karras"),
    ("unipc", "t2"),
    ("deis", "t2"),
    ("ddim", "t2"),
)
NFE = (5, 8, 10, 15, 20, 30, 50)
ASKED = ((1.0, None), (2.0, None), (4.0, None), (7.5, None), (4.0, (0.2, 3.0)))
SCHEDULES = {"edm": Karras, "vp": VP, "rectified": Rectified}
LAWS = ((2, 6, 3), (8, 8, 3), (64, 6, 4))  # coordinates, classes, components of each


class Case(NamedTuple):
    """A field that can be guided, starting points and their labels."""

    name: str
    field: AffineField
    x: Tensor
    y: Tensor


def labelled(
    law: tuple[int, int, int], schedule: Schedule, seed: int, scale: float = 1.0
) -> Mixture:
    """A mixture of isotropic Gaussians about normal means.

    Arguments:
        law: the numbers of coordinates, of classes and of components of each.
        schedule: its path.
        seed: of the draw.
        scale: of means and standard deviations.
    """
    dim, classes, each = law
    rng, count = Rng(seed), classes * each
    means = rng.normal("means", (count, dim), torch.float64)
    stds = 0.08 + 0.25 * rng.uniform("stds", (count,))
    weights, labels = 0.3 + rng.uniform("weights", (count,)), torch.arange(count) % classes
    return Mixture(weights / weights.sum(), scale * means, scale * stds, schedule, None, labels)


def mixtures(rows: int, seed: int) -> Iterator[Case]:
    """Labelled mixtures of isotropic Gaussians about normal means, on each schedule."""
    for law in LAWS:
        for name, schedule in SCHEDULES.items():
            field = labelled(law, schedule(), seed)
            assert field.prior is not None
            x = field.prior.sample((rows, law[0]), Rng(seed + 1), dtype=torch.float64)
            yield Case(f"{law[0]}d/{name}", field, x, torch.arange(rows) % law[1])


def networks(runs: list[Path], rows: int, seed: int) -> Iterator[Case]:
    """Trained runs with labels."""
    for run in runs:
        field = diffode.load(run).field.double().requires_grad_(False)
        assert isinstance(field, AffineField) and field.classes is not None
        y = torch.arange(rows) % field.classes
        start = field.start(rows, Rng(seed), y)
        assert isinstance(start.field, AffineField)
        yield Case(run.name, start.field, start.x.double(), y)


def errors(case: Case, weight: float, interval: tuple[float, float] | None) -> list[list[float]]:
    """The RMSE at each number of evaluations: of the default, and of each peer."""
    field = classifier_free(case.field, weight, interval)
    fine = get_solver("ab", form="trig", variable="fraction", order=3)
    steps = 500
    if interval is not None:
        fine, steps = get_solver("trig", order=2, corrected=False), 1500
    own = get_solver()
    with torch.no_grad():
        end = fine(field, case.x, grid(field, steps, "mixed"), case.y).x
        found = []
        for solver, kind in ((own, own.grid), *((get_solver(n), g) for n, g in PEERS)):
            ends = [solver(field, case.x, grid(field, n, kind), case.y).x for n in NFE]
            found.append([float((x - end).square().mean().sqrt()) for x in ends])
    return found


def table(cases: list[Case]) -> Iterator[str]:
    """The lines of a table for some fields."""
    yield f"| | {' | '.join(map(str, NFE))} | all | least | {' | '.join(map(' '.join, PEERS))} |"
    yield "|---" * (len(NFE) + len(PEERS) + 3) + "|"
    for weight, interval in ASKED:
        ratios, each = [], []
        for case in cases:
            own, *others = errors(case, weight, interval)
            best = [min(e) for e in zip(*others, strict=True)]
            ratios.append([b / o for b, o in zip(best, own, strict=True)])
            each.append([geometric([p / o for p, o in zip(e, own, strict=True)]) for e in others])
        means = [geometric(column) for column in zip(*ratios, strict=True)]
        least = min(v for row in ratios for v in row[1:])
        singles = [geometric(column) for column in zip(*each, strict=True)]
        name = f"w = {weight:g}" + ("" if interval is None else f", rho in {interval}")
        cells = [f"{v:.2f}" for v in (*means, geometric(means), least, *singles)]
        yield f"| {name} | {' | '.join(cells)} |"


def geometric(values: list[float] | tuple[float, ...]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def report(networks_of: list[Path], rows: int, seed: int) -> Iterator[str]:
    """The table of the mixtures, and that of the networks."""
    kinds = {
        "Labelled mixtures": mixtures(rows, seed),
        "Networks": networks(networks_of, rows, seed),
    }
    for title, found in kinds.items():
        if cases := list(found):
            yield f"{title}: {', '.join(case.name for case in cases)}\n"
            yield from table(cases)
            yield ""


def print_report(
    about: str | None, report: Callable[[list[Path], int, int], Iterator[str]], seed: int
) -> None:
    """Print the lines of a report on labelled models, by what the command line says.

    Arguments:
        about: the docstring of the benchmark.
        report: of runs, the starting points of each model, and the seed.
        seed: the usual one.
    """
    parser = argparse.ArgumentParser(description=(about or "").split("\n")[0])
    parser.add_argument("--networks", nargs="*", type=Path, default=[], help="runs with labels")
    parser.add_argument("--rows", type=int, default=64, help="starting points of each model")
    parser.add_argument("--seed", type=int, default=seed)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for line in report(options.networks, options.rows, options.seed):
        print(line, flush=True)


def main() -> None:
    """Print the tables."""
    print_report(__doc__, report, seed=2026)


if __name__ == "__main__":
    main()
