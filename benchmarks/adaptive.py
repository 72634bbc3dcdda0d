"""Adaptive solvers on exact fields: what a tolerance delivers, and what it costs.

    python -m benchmarks.adaptive                    # every table
    python -m benchmarks.adaptive --only tolerances  # or clocks, stiff, overhead

Errors are those of x at the data's end, the root of the mean square over samples and dimensions,
against dopri8 at 1e-11. NFE is the mean over samples; methods that move the batch as one spend
the same on each.
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torchdiffeq import odeint

from benchmarks.laws import LAWS, DiagonalMixture
from diffode.fields import (
    VE,
    VP,
    Empirical,
    Field,
    Karras,
    Mixture,
    PoissonField,
    Rectified,
    SubVP,
)
from diffode.fields.poisson import Radius
from diffode.fields.reschedule import Clock
from diffode.priors import StudentT
from diffode.rng import Rng
from diffode.solvers import Solution, Solver, get_solver
from diffode.solvers.adaptive import METHODS, Adaptive
from diffode.solvers.counted import CountedField
from diffode.solvers.ode import ADAPTIVE_RK

ROWS = 256
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6)
LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
NAMES = (*METHODS, *ADAPTIVE_RK, "scipy_solver")
CLOCKS: dict[Literal["native", "auto"], str] = {"native": "own", "auto": "angle"}


class Shipped(Solver):
    """torchdiffeq's dopri5 as it comes, told to step on the end: errors averaged over rows."""

    name, adaptive, batch_coupled = "torchdiffeq as it comes", True, True

    def __init__(self, tolerance: float, clock: str) -> None:
        self.tolerance, self.clock = tolerance, clock

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the state at the last time."""
        tol, options = self.tolerance, {"step_t": times[1:]}
        path = odeint(lambda t, z: f.velocity(z, t), x, times, rtol=tol, atol=tol, options=options)
        yield path[-1]


class Turning(Field):
    """Rotations, most of them slow and one in fifty fast: a velocity and no more."""

    span, prior, event_shape = (0.0, 1.0), None, (2,)

    def __init__(self, rate: Tensor) -> None:
        super().__init__()
        self.register_buffer("rate", rate)

    rate: Tensor

    def rows(self, index: Tensor) -> Field:
        """The rotations of these rows."""
        return Turning(self.rate[index])

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """A quarter turn times the rate."""
        return self.rate[:, None] * x.flip(-1) * x.new_tensor([-1.0, 1.0])


class Bed:
    """A field, points at the start of its span, and where they go."""

    def __init__(self, name: str, field: Field, x: Tensor) -> None:
        self.name, self.field, self.x = name, field, x
        self.times = torch.tensor(field.span, dtype=torch.float64)
        self.end = get_solver("dopri8", rtol=1e-11, atol=1e-11)(field, x, self.times).x

    def run(self, solver: Solver) -> tuple[Solution, float]:
        """The solution and its error."""
        solution = solver(self.field, self.x, self.times)
        assert not solution.status.any(), f"{solver.name} stopped on {self.name}"
        return solution, float((solution.x - self.end).square().mean().sqrt())


def beds() -> list[Bed]:
    """Eight components on a circle, on every schedule; eight charges for Poisson flows."""
    law = LAWS["2d"]()
    out = []
    for schedule in (VP(), SubVP(), VE(), Karras(), Rectified()):
        field = DiagonalMixture(law, schedule)
        assert field.prior is not None
        x = field.prior.sample((ROWS, 2), Rng(5), dtype=torch.float64)
        out.append(Bed(type(schedule).__name__, field, x))
    forms: dict[str, Radius] = {"plane": "plane", "bound": "fixed"}
    for dof, (form, radius) in itertools.product((1.0, 128.0), forms.items()):
        charges = Empirical(law.means, Karras(), StudentT(dof))
        x, bound = PoissonField(charges, radius=radius).start(ROWS, Rng(5))
        out.append(Bed(f"Poisson D={dof:g}, {form}", bound, x.double()))
    return out


def solver(name: str, tolerance: float, clock: Clock | Literal["auto"]) -> Solver:
    """An adaptive solver of this name."""
    if name == Shipped.name:
        return Shipped(tolerance, clock)
    if name in METHODS:
        return Adaptive(name, rtol=tolerance, atol=tolerance, clock=clock)
    return get_solver(name, rtol=tolerance, atol=tolerance, clock=clock)


def header(*columns: str) -> None:
    """The first two lines of a table in Markdown."""
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def mean_nfe(solution: Solution) -> float:
    """Evaluations for each sample, on average."""
    return float(solution.nfe_per_row.double().mean())


def tolerances() -> None:
    """What each tolerance delivers: NFE and error / tolerance, on every field and clock."""
    every = beds()
    worst = dict.fromkeys(itertools.product(NAMES, TOLERANCES), 0.0)
    print("\n## NFE (RMSE / tolerance)\n")
    header("field", "clock", "method", *(f"{tol:.0e}" for tol in TOLERANCES))
    for bed, clock, name in itertools.product(every, CLOCKS, NAMES):
        cells = []
        for tol in TOLERANCES:
            solution, error = bed.run(solver(name, tol, clock))
            cells.append(f"{mean_nfe(solution):.0f} ({error / tol:.2g})")
            worst[name, tol] = max(worst[name, tol], error / tol)
        print(f"| {bed.name} | {CLOCKS[clock]} | {name} | {' | '.join(cells)} |", flush=True)
    print("\n## The worst RMSE / tolerance of these\n")
    header("method", *(f"{tol:.0e}" for tol in TOLERANCES))
    for name in NAMES:
        print(f"| {name} | {' | '.join(f'{worst[name, tol]:.2g}' for tol in TOLERANCES)} |")
    assert max(worst.values()) <= 10


def costs(bed: Bed, make: Callable[[float], Solver]) -> list[str]:
    """Evaluations (calls) at the loosest tolerance from which the error stays below each level."""
    runs = [bed.run(make(10 ** (-k / 4))) for k in range(4, 29)]
    cells = []
    for level in LEVELS:
        first = max((i + 1 for i, (_, error) in enumerate(runs) if error > level), default=0)
        (before, above), (best, below) = runs[max(0, first - 1)], runs[first]
        share = math.log(above / level) / math.log(above / below) if first else 1.0
        calls = before.nfe ** (1 - share) * best.nfe**share
        mean = mean_nfe(before) ** (1 - share) * mean_nfe(best) ** share
        cells.append(f"{mean:.0f} ({calls:.0f})")
    return cells


def clocks() -> None:
    """Evaluations for equal errors, in EDM's own clock and in the angle."""
    print("\n## Evaluations (calls of the field) for an RMSE, Karras' schedule\n")
    header("law", "solver", "clock", *(f"{level:.0e}" for level in LEVELS))
    for law in ("2d", "held/cloud16-3d", "held/16d"):
        field = DiagonalMixture(LAWS[law](), Karras())
        assert field.prior is not None
        x = field.prior.sample((ROWS, *field.event_shape), Rng(5), dtype=torch.float64)
        bed = Bed(law, field, x)
        for name, clock in itertools.product((Shipped.name, "dopri5", *METHODS), CLOCKS):
            cells = costs(bed, partial(solver, name, clock=clock))
            print(f"| {law} | {name} | {CLOCKS[clock]} | {' | '.join(cells)} |", flush=True)


def stiff() -> None:
    """Row-evaluations where one sample in fifty is stiff; what a sample owes to the others."""
    d = torch.float64
    weights = torch.tensor([0.98, 0.01, 0.01], dtype=d)
    means = torch.tensor([[0.0, 0.0], [2.0, 1.0], [-2.0, 1.0]], dtype=d)
    mixture = Mixture(weights, means, torch.tensor([0.6, 0.002, 0.002], dtype=d), Karras())
    x = Rng(3).normal("x", (1000, 2), d)
    rate = torch.where(torch.arange(1000) % 50 == 0, 60.0, 2.0).to(d)
    fields = [
        Bed("mixture, 2 % in narrow components", mixture, mixture.span[0] * x),
        Bed("rotations, 2 % of them 30 times as fast", Turning(rate), x),
    ]
    print("\n## Row-evaluations of 1,000 samples, 2 % of them stiff (RMSE)\n")
    header("field", "solver", *(f"{tol:.0e}" for tol in TOLERANCES), "alone - in the batch")
    for bed, name in itertools.product(fields, ("dopri5", *METHODS)):
        cells = []
        for tol in TOLERANCES:
            chosen = solver(name, tol, "auto")
            whole, error = bed.run(chosen)
            cells.append(f"{int(whole.nfe_per_row.sum()):,} ({error:.0e})")
        gap = max(
            float((chosen(bed.field.rows(i), bed.x[i], bed.times).x - whole.x[i]).abs().max())
            for i in torch.arange(0, 1000, 20)[:, None]
        )
        print(f"| {bed.name} | {name} | {' | '.join(cells)} | {gap:.0e} |", flush=True)


def overhead() -> None:
    """What a call of the field costs beside the field, batch 512 in 2 dimensions."""
    field = Turning(torch.full((512,), 40.0, dtype=torch.float64))
    x = Rng(1).normal("x", (512, 2), torch.float64)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    print("\n## Overhead of a call of the field, microseconds of CPU\n")
    for name in (Shipped.name, "dopri5", *METHODS):
        chosen, costs = solver(name, 1e-6, "auto"), []
        for _ in range(5):
            begin = time.process_time()
            calls = chosen(field, x, times).nfe
            middle = time.process_time()
            for _ in range(calls):
                field.velocity(x, times[0])
            costs.append((2 * middle - begin - time.process_time()) / calls * 1e6)
        print(f"* {name}: {statistics.median(costs):.0f}")


TABLES = {f.__name__: f for f in (tolerances, clocks, stiff, overhead)}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TABLES)
    chosen = parser.parse_args().only
    torch.set_num_threads(1)
    with torch.no_grad():
        for name, table in TABLES.items():
            if chosen in (None, name):
                table()


if __name__ == "__main__":
    main()
