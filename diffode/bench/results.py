"""The results of a comparison: what reports are made from, on disk and merged."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffode.files import write_text

RESULTS = "results.json"
FORMAT = 1


@dataclass(frozen=True)
class Results:
    """All that a report is made from.

    Attributes:
        config: the comparison as it was asked for, complete.
        command: the command line that makes it.
        references: of each data set, what it was measured against, and the floor.
        metrics: of each data set, the metrics in order, with what they are and what is better.
        models: what is known of each training, by its key.
        cells: the figures of each cell.
        folders: where pictures lie.
        budgets: the error budgets of each data set, if they were asked for.
    """

    config: dict[str, Any]
    command: str
    references: dict[str, dict[str, Any]]
    metrics: dict[str, list[dict[str, str]]]
    models: dict[str, dict[str, Any]]
    cells: list[dict[str, Any]]
    folders: list[Path] = field(default_factory=list)
    budgets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write results.json."""
        stored = {k: v for k, v in vars(self).items() if k != "folders"}
        write_text(folder / RESULTS, json.dumps({"format": FORMAT, **stored}, indent=1) + "\n")


def read_results(folder: str | Path) -> Results:
    """The results that a comparison left.

    Raises:
        ValueError: no results there, or those of another format.
    """
    path = Path(folder) / RESULTS
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.pop("format") != FORMAT:
            raise ValueError
        return Results(**stored, folders=[Path(folder)])
    except (OSError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"{folder} has no {RESULTS} that this version reads; give the folder of a finished "
            "diffode bench"
        ) from None


def merge(parts: list[Results]) -> Results:
    """The results of several comparisons as one.

    Raises:
        ValueError: the same data set measured against different references, or two figures for
            one cell.
    """
    first = parts[0]
    references, metrics = dict(first.references), dict(first.metrics)
    models, cells = dict(first.models), list(first.cells)
    budgets = {name: list(known) for name, known in first.budgets.items()}
    for part in parts[1:]:
        for name, reference in part.references.items():
            known = references.setdefault(name, reference)
            metrics.setdefault(name, part.metrics[name])
            for key in known["about"].keys() | reference["about"].keys():
                mine, other = known["about"].get(key), reference["about"].get(key)
                if mine != other:
                    raise ValueError(
                        f"cannot merge: {name} was measured with {key} {mine} in "
                        f"{first.folders[0]} and {other} in {part.folders[0]}; run both against "
                        "one reference"
                    )
        taken = {_place(c) for c in cells}
        for cell in part.cells:
            if _place(cell) in taken:
                raise ValueError(
                    f"cannot merge: {' '.join(map(str, _place(cell)))} is in "
                    f"{first.folders[0]} and in {part.folders[0]}; leave one out"
                )
        models |= part.models
        for name, more in part.budgets.items():
            budgets[name] = [*budgets.get(name, []), *more]
        cells += part.cells
    command = "\n".join(dict.fromkeys(p.command for p in parts))
    folders = [folder for part in parts for folder in part.folders]
    configs = {str(p.folders[0]): p.config for p in parts}
    return Results(configs, command, references, metrics, models, cells, folders, budgets)


def _place(cell: dict[str, Any]) -> tuple[Any, ...]:
    keys = ("data", "field", "seed", "solver", "allowed", "tolerance")
    return tuple(cell[k] for k in keys)
