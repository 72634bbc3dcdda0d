"""The results of a comparison as tables: means over seeds with intervals, at fixed evaluations."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student

from diffode.analysis import budget
from diffode.analysis.budget import ErrorBudget
from diffode.bench.results import Results
from diffode.markup import grid, words
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
        allowed: the evaluations allowed, None for an adaptive solver.
        tolerance: of an adaptive solver.
        seeds: how many there are.
        nfe: evaluations spent, the mean over samples and seeds.
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
    seconds: float
    metrics: dict[str, Mean]
    refused: str | None
    lacking: dict[str, str]
    unfinished: int
    picture: str | None


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
        seconds=statistics.mean(c["seconds"] for c in whole) if whole else math.nan,
        metrics={k: Mean.of([v for v, _ in p], [e for _, e in p]) for k, p in pairs.items()},
        refused=_refusal(refused, len(cells)),
        lacking={name: why for c in whole for name, why in c.get("lacking", {}).items()},
        unfinished=sum(c["unfinished"] for c in whole),
        picture=next((c["picture"] for c in cells if c["picture"]), None),
    )


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


def at(table: Sequence[Row], data: str, field: str, solver: str, nfe: int) -> Row | None:
    """The row of at most these evaluations: an adaptive solver's tightest tolerance that fits."""
    fits = [
        row
        for row in table
        if (row.data, row.field, row.solver) == (data, field, solver)
        and not row.refused
        and row.nfe <= nfe
        and (row.allowed is None or row.allowed == nfe or solver == "own")
    ]
    return max(fits, key=lambda row: row.nfe, default=None)


def allowances(table: Sequence[Row], data: str) -> list[int]:
    """The evaluations of a data set's columns."""
    return sorted({r.allowed for r in table if r.data == data and r.allowed and r.solver != "own"})


def markdown(results: Results) -> str:
    """The report as Markdown, a section for each data set."""
    table = rows(results)
    return "\n\n".join(
        section for data in results.references for section in _section(results, table, data)
    )


def _section(results: Results, table: list[Row], data: str) -> list[str]:
    metric, columns = results.references[data]["headline"], allowances(table, data) or [1]
    reference = results.references[data]
    floor = (
        Mean.of(*([v] for v in reference["floor"][metric]))
        if metric in reference["floor"]
        else None
    )
    known = [(r.field, r.solver) for r in table if r.data == data]
    lines = []
    for field, solver in dict.fromkeys(known):
        found = [at(table, data, field, solver, nfe) for nfe in columns]
        lines.append(
            [
                field,
                solver,
                *("" if r is None else str(r.metrics.get(metric, "none")) for r in found),
            ]
        )
    about = ", ".join(
        f"{k.replace('_', ' ')} {f'{v:.4g}' if isinstance(v, float) else v}"
        for k, v in reference["about"].items()
        if not isinstance(v, (dict, list))
    )
    parts = [
        f"## {words(data)}",
        words(f"{metric} by evaluations. Real data: {floor}. {about}."),
        grid(["field", "solver", *map(str, columns)], lines),
        *([words("; ".join(said) + ".")] if (said := notes(table, data)) else []),
        f"All metrics at {columns[-1]} evaluations:",
        grid(*everything(results, table, data, columns[-1])),
        "Trainings:",
        grid(*trainings(results, data)),
    ]
    made, refused = budgets(results, data)
    parts += [words(f"No error budget: {refused}.")] if refused else []
    if made:
        titles = ("Paired end points, RMS (share gone elsewhere):",
                  "Signed changes of the sliced W2; parts may cancel:")  # fmt: skip
        for title, (head, body) in zip(titles, budget.lines(made), strict=True):
            parts += [title, grid(head, body)]
    return parts


def budgets(results: Results, data: str) -> tuple[list[ErrorBudget], str]:
    """The error budgets of a data set, and why fields have none."""
    known = results.budgets.get(data, [])
    refused = [f"{b['name']}: {b['refused']}" for b in known if "refused" in b]
    return [ErrorBudget.fromdict(b) for b in known if "refused" not in b], "; ".join(refused)


def everything(
    results: Results, table: Sequence[Row], data: str, nfe: int
) -> tuple[list[str], list[list[str]]]:
    """Every metric of every field with its usual solver, beside the floor."""
    names = [m["name"] for m in results.metrics[data]]
    floor = results.references[data]["floor"]
    lines = [
        [
            "*real data*",
            *(str(Mean.of(*([v] for v in floor[n]))) if n in floor else "" for n in names),
        ]
    ]
    for field in dict.fromkeys(r.field for r in table if r.data == data):
        solvers = list(
            dict.fromkeys(r.solver for r in table if (r.data, r.field) == (data, field))
        )
        found = at(table, data, field, solvers[0], nfe)
        if found is not None:
            lines.append(
                [field, *(str(found.metrics[n]) if n in found.metrics else "" for n in names)]
            )
    return ["", *names], lines


def trainings(results: Results, data: str) -> tuple[list[str], list[list[str]]]:
    """What decides each training, for the first seed."""
    head = ["field", "budget", "prior alpha", "sigma", "noise", "parameters", "steps", "samples",
            "seconds", "peak MB", "straightness"]  # fmt: skip
    lines: dict[str, list[str]] = {}
    for model in results.models.values():
        plan = model["plan"]
        if plan["data"] != data or plan["field"] in lines or "refused" in model:
            continue
        alpha, sigma = model.get("alpha"), model.get("sigma")
        straight = model["straightness"]
        lines[plan["field"]] = [
            plan["field"],
            model["budget"],
            f"{alpha[0]:.4g}" if alpha else "",
            f"{sigma[0]:.4g} to {sigma[1]:.4g}" if sigma else "",
            model.get("noise", model["prior"]),
            f"{model['parameters']:,}",
            f"{model['steps']:,}",
            f"{model['samples']:,}",
            f"{model['seconds']:.0f}",
            f"{model['peak_memory'] / 1e6:.0f}",
            f"{straight[0]:.3f}" if straight else "",
        ]
    return head, list(lines.values())


def comma_separated(results: Results) -> str:
    """Every cell as a line of CSV, its metrics and their standard errors in columns."""
    names = list(dict.fromkeys(m["name"] for known in results.metrics.values() for m in known))
    keys = ["data", "field", "seed", "solver", "allowed", "tolerance", "nfe", "nfe_max", "count",
            "unfinished", "seconds", "peak_memory", "device", "model", "refused"]  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, *(f"{n}{tail}" for n in names for tail in ("", " stderr"))])
    for cell in results.cells:
        pairs = [cell.get("metrics", {}).get(n, ("", "")) for n in names]
        writer.writerow([*(cell.get(k, "") for k in keys), *(v for pair in pairs for v in pair)])
    return text.getvalue()
