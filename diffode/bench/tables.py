"""What the reports of a comparison say of each data set: tables, written in whatever format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffode.analysis.budget import ErrorBudget, budget_tables
from diffode.bench.results import Results
from diffode.bench.rows import Mean, Row, allowances, at, network_calls, notes, rows
from diffode.markup import words
from diffode.tables import Table


@dataclass(frozen=True)
class Section:
    """What every report says of one data set.

    Attributes:
        data: its name.
        about: what was measured, and against what.
        metric: the one of the first table.
        floor: of that metric, for real data.
        unit: what columns count, evaluations or network calls.
        most: the most of a column.
        by_cost: the metric of each field and solver.
        everything: all metrics at the most.
        trainings: what decides each training.
        notes: what the tables leave out, a sentence each.
        budgets: the error budgets, if they were asked for.
        bounds: what theory allows, if it is known.
        unbudgeted: why fields have no error budget.
    """

    data: str
    about: str
    metric: str
    floor: str
    unit: str
    most: int
    by_cost: Table
    everything: Table
    trainings: Table
    notes: list[str]
    budgets: list[ErrorBudget]
    bounds: Table | None
    unbudgeted: str


def sections(results: Results) -> list[Section]:
    """A section for each data set."""
    table = rows(results)
    return [_section(results, table, data) for data in results.references]


def _section(results: Results, table: Sequence[Row], data: str) -> Section:
    reference = results.references[data]
    metric, columns = reference["headline"], allowances(table, data) or [1]
    known = results.budgets.get(data, [])
    return Section(
        data=data,
        about=_about(reference["about"]),
        metric=metric,
        floor=_floor(reference, metric) or "none",
        unit=results.unit,
        most=columns[-1],
        by_cost=_by_cost(results, table, data, columns),
        everything=_everything(results, table, data, columns[-1]),
        trainings=_trainings(results, data),
        notes=notes(table, data),
        budgets=[ErrorBudget.fromdict(b) for b in known if "refused" not in b],
        bounds=_bounds(known),
        unbudgeted="; ".join(f"{b['name']}: {b['refused']}" for b in known if "refused" in b),
    )


def _about(about: dict[str, Any]) -> str:
    plain = {
        k.replace("_", " "): f"{v:.4g}" if isinstance(v, float) else v
        for k, v in about.items()
        if v is not None and not isinstance(v, (dict, list))
    }
    return "; ".join(f"{k}: {v}" for k, v in plain.items())


def _floor(reference: dict[str, Any], metric: str) -> str:
    known = reference["floor"]
    return str(Mean.of(*([v] for v in known[metric]))) if metric in known else ""


def _solvers(table: Sequence[Row], data: str) -> dict[str, list[str]]:
    """The solvers of each field, both in order."""
    known: dict[str, dict[str, None]] = {}
    for row in table:
        if row.data == data:
            known.setdefault(row.field, {})[row.solver] = None
    return {field: list(solvers) for field, solvers in known.items()}


def _by_cost(results: Results, table: Sequence[Row], data: str, columns: Sequence[int]) -> Table:
    metric = results.references[data]["headline"]
    better = {m["name"]: m["better"] for m in results.metrics[data]}[metric]
    lines: list[list[str]] = []
    marks: dict[tuple[int, int], str] = {}
    for field, solvers in _solvers(table, data).items():
        found = [[at(table, data, field, s, nfe) for nfe in columns] for s in solvers]
        for j, column in enumerate(zip(*found, strict=True), 2):
            best = _best(column, metric, better) if len(solvers) > 1 else []
            marks |= {(len(lines) + k, j): "best" for k in best}
        for solver, line in zip(solvers, found, strict=True):
            lines.append([field, solver, *("" if r is None else r.said(metric) for r in line)])
    return Table(["field", "solver", *map(str, columns)], lines, marks=marks, grouped=True)


def _best(column: Sequence[Row | None], metric: str, better: str) -> list[int]:
    """Which of a column are the best, or within its interval."""
    known = {k: r.metrics[metric] for k, r in enumerate(column) if r and metric in r.metrics}
    if not known:
        return []
    top = (max if better == "high" else min)(known.values(), key=lambda m: m.value)
    return [k for k, m in known.items() if abs(m.value - top.value) <= max(top.half, 0.0)]


def _everything(results: Results, table: Sequence[Row], data: str, nfe: int) -> Table:
    """Every metric of every field with the first solver, beside real data, by guidance."""
    names = [m["name"] for m in results.metrics[data]]
    reference = results.references[data]
    lines = [["real data", *(_floor(reference, name) for name in names)]]
    for field, solvers in _solvers(table, data).items():
        first = solvers[0].partition(", ")[0]
        for solver in solvers:
            name, _, guidance = solver.partition(", ")
            found = at(table, data, field, solver, nfe)
            if found is not None and name == first:
                lines.append([", ".join(filter(None, (field, guidance))), *map(found.said, names)])
    return Table(["", *names], lines, marks={(0, 0): "reference"})


def _trainings(results: Results, data: str) -> Table:
    """What decides each training, for the first seed."""
    head = ["field", "training", "prior alpha", "sigma", "noise", "parameters", "steps", "samples",
            "seconds", "peak MB", "straightness"]  # fmt: skip
    lines: dict[str, list[str]] = {}
    for model in results.models.values():
        plan = model["plan"]
        if plan["data"] == data and plan["field"] not in lines and "refused" not in model:
            lines[plan["field"]] = _training(model)
    return Table(head, list(lines.values()))


def _training(model: dict[str, Any]) -> list[str]:
    alpha, sigma, straight = model.get("alpha"), model.get("sigma"), model["straightness"]
    spent = [
        f"{model['steps']:,}",
        f"{model['samples']:,}",
        f"{model['seconds']:.0f}",
        f"{model['peak_memory'] / 1e6:.0f}",
    ]
    return [
        model["plan"]["field"],
        model["budget"],
        f"{alpha[0]:.4g}" if alpha else "",
        f"{sigma[0]:.4g} to {sigma[1]:.4g}" if sigma else "",
        model.get("noise", model["prior"]),
        f"{model['parameters']:,}",
        *(spent if model["steps"] else [""] * len(spent)),
        f"{straight[0]:.3f}" if straight else "",
    ]


def _bounds(budgets: Sequence[dict[str, Any]]) -> Table | None:
    """Theory's bound beside what it bounds, for fields that have both."""
    lines = [
        [b["name"], *(f"{v:.3g}" for v in (k["measured"], k["value"], k["value"] / k["measured"])),
         f"{k['exponent']:.2f}"]
        for b in budgets
        if (k := b.get("bound"))
    ]  # fmt: skip
    return Table(["field", "measured", "bound", "looser by", "exponent"], lines) if lines else None


def markdown(results: Results) -> str:
    """The report as Markdown, a section for each data set."""
    return "\n\n".join(part for section in sections(results) for part in _parts(section))


def _parts(section: Section) -> list[str]:
    metric, floor = section.metric, section.floor
    parts = [
        f"## {words(section.data)}",
        words(f"{metric} by {section.unit}. Real data: {floor}. {section.about}."),
        section.by_cost.markdown(),
        *([words("; ".join(section.notes) + ".")] if section.notes else []),
        f"All metrics at {section.most} {section.unit}:",
        section.everything.markdown(),
        "Trainings:",
        section.trainings.markdown(),
    ]
    parts += [words(f"No error budget: {section.unbudgeted}.")] if section.unbudgeted else []
    if section.budgets:
        moved, scores = budget_tables(section.budgets)
        parts += ["Paired end points, RMS (share gone elsewhere):", moved.markdown()]
        parts += ["Signed changes of the sliced W2; parts may cancel:", scores.markdown()]
    if section.bounds is not None:
        parts += ["Gronwall's bound on the distance of end points:", section.bounds.markdown()]
    return parts


def cells_table(results: Results) -> Table:
    """Every cell as a row, its metrics and their standard errors in columns."""
    names = list(dict.fromkeys(m["name"] for known in results.metrics.values() for m in known))
    keys = ["data", "field", "seed", "solver", "allowed", "tolerance", "nfe", "network_calls",
            "nfe_max", "count", "unfinished", "seconds", "peak_memory", "device", "model",
            "refused"]  # fmt: skip
    lines = []
    for cell in results.cells:
        pairs = [cell.get("metrics", {}).get(n, ("", "")) for n in names]
        calls = {"network_calls": network_calls(cell)} if "nfe" in cell else {}
        values = [*((cell | calls).get(k) for k in keys), *(v for pair in pairs for v in pair)]
        lines.append(["" if v is None else str(v) for v in values])
    return Table([*keys, *(f"{n}{tail}" for n in names for tail in ("", " stderr"))], lines)
