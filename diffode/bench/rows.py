"""The cells of a comparison, gathered over seeds: means with intervals, at fixed evaluations."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student

from diffode.bench.results import Results
from diffode.metrics.estimates import figure

INTERVAL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and the half width of its 95 % interval.

    It is 1.96 standard errors of the metric, or Student's interval over the seeds, whichever is
    wider: few seeds may agree by chance.
    """

    value: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float], stderrs: Sequence[float]) -> Mean:
        """The mean of one value for each seed."""
        n = len(values)
        own = 1.96 * math.sqrt(math.fsum(e * e for e in stderrs)) / n
        if n == 1:
            return cls(values[0], own)
        quantile = float(student.ppf((1 + INTERVAL) / 2, n - 1))
        over = quantile * statistics.stdev(values) / math.sqrt(n)
        return cls(statistics.mean(values), over if math.isnan(own) else max(own, over))

    def __str__(self) -> str:
        if math.isnan(self.half):
            return f"{self.value:.3g}"
        return f"{figure(self.value, self.half)} ± {figure(self.half, self.half)}"


@dataclass(frozen=True)
class Row:
    """The cells that differ in their seed alone.

    Attributes:
        data, field, solver: whose they are.
        allowed: the network calls allowed, None for an adaptive solver.
        tolerance: of an adaptive solver.
        seeds: how many there are.
        nfe: evaluations spent, the mean over samples and seeds.
        calls: the network calls in them, as many where nothing is guided.
        seconds: for all samples of a cell, the mean over seeds.
        metrics: by name.
        refused: why there are none.
        lacking: why some cannot be had, by name.
        unfinished: how many samples did not reach the end of the span, all seeds together.
        picture: the place of the first seed's samples.
    """

    data: str
    field: str
    solver: str
    allowed: int | None
    tolerance: float | None
    seeds: int
    nfe: float
    calls: float
    seconds: float
    metrics: dict[str, Mean]
    refused: str | None
    lacking: dict[str, str]
    unfinished: int
    picture: str | None

    def said(self, metric: str) -> str:
        """A figure with its interval, "none" where it cannot be had, empty if nobody asked."""
        if metric in self.metrics:
            return str(self.metrics[metric])
        return "none" if metric in self.lacking else ""


def rows(results: Results) -> list[Row]:
    """One row for each field, solver and allowance, in the order of the cells."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for cell in results.cells:
        key = tuple(cell[k] for k in ("data", "field", "solver", "allowed", "tolerance"))
        groups[key].append(cell)
    return [_row(key, cells) for key, cells in groups.items()]


def _row(key: tuple[Any, ...], cells: list[dict[str, Any]]) -> Row:
    refused = [c["refused"] for c in cells if "refused" in c]
    whole = [c for c in cells if "refused" not in c]
    measured = [] if refused else [c["metrics"] for c in whole]
    names = [name for name in measured[0] if all(name in m for m in measured)] if measured else []
    pairs = {name: [c["metrics"][name] for c in whole] for name in names}
    data, field, solver, allowed, tolerance = key
    return Row(
        data,
        field,
        solver,
        allowed,
        tolerance,
        seeds=len(cells),
        nfe=statistics.mean(c["nfe"] for c in whole) if whole else math.nan,
        calls=statistics.mean(map(network_calls, whole)) if whole else math.nan,
        seconds=statistics.mean(c["seconds"] for c in whole) if whole else math.nan,
        metrics={k: Mean.of([v for v, _ in p], [e for _, e in p]) for k, p in pairs.items()},
        refused=_refusal(refused, len(cells)),
        lacking={name: why for c in whole for name, why in c.get("lacking", {}).items()},
        unfinished=sum(c["unfinished"] for c in whole),
        picture=next((c["picture"] for c in cells if c["picture"]), None),
    )


def network_calls(cell: dict[str, Any]) -> float:
    """The network calls of a cell's samples, the mean; older versions guided nothing."""
    calls: float = cell.get("network_calls", cell["nfe"])
    return calls


def _refusal(reasons: Sequence[str], cells: int) -> str | None:
    if not reasons:
        return None
    return reasons[0] + (f" ({len(reasons)} of {cells} seeds)" if len(reasons) < cells else "")


def notes(table: Sequence[Row], data: str) -> list[str]:
    """What tables leave out: solvers that refused, and samples that did not reach their end."""
    known = [r for r in table if r.data == data]
    said = [f"not possible: {r.field} with {r.solver}: {r.refused}" for r in known if r.refused]
    said += [
        f"{r.unfinished} samples of {r.field} with {r.solver} did not reach the end"
        for r in known
        if r.unfinished
    ]
    said += [
        f"no {name} of {r.field} with {r.solver}: {why}"
        for r in known
        for name, why in r.lacking.items()
    ]
    return list(dict.fromkeys(said))


def at(table: Sequence[Row], data: str, field: str, solver: str, calls: int) -> Row | None:
    """The row of at most these network calls: an adaptive solver's tightest tolerance that fits.

    Where nothing is guided they are evaluations.
    """
    fits = [
        row
        for row in table
        if (row.data, row.field, row.solver) == (data, field, solver)
        and not row.refused
        and row.calls <= calls
        and (row.allowed is None or row.allowed == calls or solver == "own")
    ]
    return max(fits, key=lambda row: row.calls, default=None)


def allowances(table: Sequence[Row], data: str) -> list[int]:
    """The network calls of a data set's columns."""
    return sorted({r.allowed for r in table if r.data == data and r.allowed and r.solver != "own"})
