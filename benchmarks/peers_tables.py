"""The tables of the solver comparison, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable

Cell = dict[str, float]
Cells = dict[str, dict[str, Cell | None]]
Both = tuple[Cells, Cells]  # ours, the peers'

METRICS = {"rmse": "RMSE", "kept": "RMSE without flips", "median": "median sample error"}
LOG_Z = "RK45 in log z"
HEUN = "k-diffusion heun karras"
FEW, MANY = (5, 8, 10, 15, 20), (50, 100)


def best(cells: Cells, nfe: str, metric: str) -> tuple[str, Cell] | None:
    """The sampler with the least error at this number of calls, and its cell."""
    found = [(name, row[nfe]) for name, row in cells.items() if row.get(nfe) is not None]
    named = [(name, cell) for name, cell in found if cell is not None]
    return min(named, key=lambda pair: pair[1][metric]) if named else None


def ratio(both: Both, spec: str, nfe: str, metric: str) -> float | None:
    """The best peer's error over ours, above 1 where ours is the smaller."""
    ours, theirs = both
    mine, peer = ours[spec].get(nfe), best(theirs, nfe, metric)
    if mine is None or peer is None:
        return None
    return max(peer[1][metric], 1e-15) / max(mine[metric], 1e-15)


def geometric(values: Iterable[float | None]) -> float:
    """The geometric mean of what there is."""
    logs = [math.log(v) for v in values if v is not None]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def mean_ratio(beds: list[Both], spec: str, nfe: Iterable[int], metric: str) -> float:
    """The geometric mean over beds and numbers of calls of best peer / ours."""
    return geometric(ratio(both, spec, str(n), metric) for both in beds for n in nfe)


def single(beds: list[Both], spec: str, metric: str) -> tuple[str, float]:
    """The one peer setting that is best over these beds at few calls, and its error over ours."""
    found = []
    for name in set.intersection(*(set(theirs) for _, theirs in beds)):
        logs = []
        for ours, theirs in beds:
            for n in map(str, FEW):
                mine, cell = ours[spec].get(n), theirs[name].get(n)
                if mine is not None:
                    logs.append(math.log((cell or {metric: 1e3})[metric] / mine[metric]))
        if logs:
            found.append((sum(logs) / len(logs), name))
    value, name = min(found, default=(math.nan, "none"))
    return name, math.exp(value)


def leaders(beds: list[Cells], count: int = 3) -> list[str]:
    """The peers of least mean log RMSE over these beds at few calls."""
    if not beds:
        return []
    means = []
    for name in set.intersection(*(set(theirs) for theirs in beds)):
        cells = [theirs[name].get(str(n)) for theirs in beds for n in FEW]
        if all(cells):
            means.append((geometric(cell["rmse"] for cell in cells if cell), name))
    return [name for _, name in sorted(means)[:count]]


def bed_table(name: str, both: Both) -> str:
    """One bed: the best peer, the peers that are best somewhere, and ours, at every budget."""
    ours, theirs = both
    nfe = sorted({int(n) for row in ours.values() for n in row})
    lines = [f"### {name}", "", f"| | {' | '.join(f'NFE {n}' for n in nfe)} |"]
    lines.append("|---" * (len(nfe) + 1) + "|")
    for metric, title in METRICS.items():
        row, labels = [], []
        for n in map(str, nfe):
            found = best(theirs, n, metric)
            row.append("-" if found is None else _value(found[1], metric))
            labels.append("-" if found is None else found[0])
        lines.append(f"| best peer, {title} | {' | '.join(row)} |")
        lines.append(f"| *which* | {' | '.join(labels)} |")
        for spec, cells in ours.items():
            row = []
            for n in map(str, nfe):
                mine, factor = cells.get(n), ratio(both, spec, n, metric)
                row.append(
                    "-"
                    if mine is None or factor is None
                    else f"{_value(mine, metric)} (x{factor:.2f})"
                )
            lines.append(f"| {spec}, {title} | {' | '.join(row)} |")
    return "\n".join(lines)


def calls_for(row: dict[str, Cell | None], error: float) -> int | None:
    """The fewest calls with which a sampler's RMSE is at most this."""
    found = [cell["calls"] for cell in row.values() if cell and cell["rmse"] <= error]
    return int(min(found)) if found else None


def poisson_table(cells: dict[str, Both]) -> str:
    """The calls that PFGM's and PFGM++'s own samplers need for our RMSE."""
    lines = [
        "| bed | solver | calls | RMSE | RK45 in log z needs | Heun on Karras needs |",
        "|---|---|---|---|---|---|",
    ]
    for name, (ours, theirs) in cells.items():
        for spec, row in ours.items():
            for nfe, mine in row.items():
                if mine is not None:
                    needs = [
                        str(calls_for(theirs.get(peer, {}), mine["rmse"]) or "more than measured")
                        for peer in (LOG_Z, HEUN)
                    ]
                    lines.append(
                        f"| {name} | {spec} | {nfe} | {mine['rmse']:.1e} | {' | '.join(needs)} |"
                    )
    return "\n".join(lines)


def _value(cell: Cell, metric: str) -> str:
    flips = f", {cell['flips']:.0f} flips" if metric == "kept" and cell["flips"] else ""
    return f"{cell[metric]:.1e}{flips}"


def summary(cells: dict[str, Both]) -> str:
    """Geometric means of best peer / ours for groups of beds, and the best one-setting peer."""
    specs = sorted({spec for ours, _ in cells.values() for spec in ours})
    groups: dict[str, list[str]] = {}
    for name in cells:
        kind, path = name.split("/")[0], name.split("/")[-1]
        if kind not in ("held", "fresh", "network"):
            kind = "Poisson" if path.startswith("pfgm") else "six"
        groups.setdefault(kind, []).append(name)
        if kind != "network":
            groups.setdefault(f"{kind}, {path}", []).append(name)
    lines = [
        "| beds | solver | calls | " + " | ".join(METRICS.values()) + " | best single peer (RMSE)"
        " / ours |",
        "|---" * (len(METRICS) + 4) + "|",
    ]
    for group, names in groups.items():
        for spec in specs:
            both = [cells[n] for n in names if spec in cells[n][0]]
            if not both:
                continue
            for calls, label in ((FEW, "5-20"), (MANY, "50-100")):
                means = [f"{mean_ratio(both, spec, calls, m):.2f}" for m in METRICS]
                one = ""
                if calls is FEW and not group.startswith("network"):
                    peer, factor = single(both, spec, "rmse")
                    one = f"{factor:.2f} ({peer})"
                count = f"{group} ({len(both)})"
                lines.append(f"| {count} | {spec} | {label} | {' | '.join(means)} | {one} |")
    return "\n".join(lines)


def report(cells: dict[str, Both]) -> str:
    """Every table."""
    if not cells:
        return "nothing measured yet"
    tables = [bed_table(name, both) for name, both in cells.items()]
    poisson = {name: both for name, both in cells.items() if LOG_Z in both[1]}
    if poisson:
        tables += ["### Poisson: calls for equal RMSE", poisson_table(poisson)]
    return "\n\n".join([*tables, "### Best peer / ours, geometric means", "", summary(cells)])
