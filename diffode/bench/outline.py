"""What a comparison would train and draw, before anything is done."""

from __future__ import annotations

from pathlib import Path

from diffode.bench.cells import Cell, cells_of, own_steps
from diffode.bench.config import BenchConfig
from diffode.bench.models import model_of, plan_of
from diffode.data import Dataset
from diffode.runs.run import load_data
from diffode.tables import Table


def outline(config: BenchConfig) -> tuple[Table, str]:
    """The cells of a comparison, a row for each solver of a field, and how many there are.

    Raises:
        ValueError: a configuration that cannot be carried out.
    """
    rows, count = [], 0
    for name in config.data:
        dataset = load_data(plan_of(config, config.fields[0], name, 0))
        for field in config.fields:
            by_solver: dict[str, list[Cell]] = {}
            for cell in _cells(config, field, name, dataset):
                by_solver.setdefault(cell.label, []).append(cell)
            rows += [_row(cells, config.seeds) for cells in by_solver.values()]
            count += sum(map(len, by_solver.values())) * len(config.seeds)
    trainings = len(config.data) * len(config.fields) * len(config.seeds)
    unit = "network calls" if config.guidance else "evaluations"
    head = ["data", "field", "solver", f"{unit} at most", "tolerances", "seeds"]
    return Table(head, rows), (
        f"{trainings} trainings, {count} cells of at most {config.samples} samples each"
    )


def _cells(config: BenchConfig, field: str, name: str, dataset: Dataset) -> list[Cell]:
    """The cells of one training."""
    plan = plan_of(config, field, name, config.seeds[0])
    steps = own_steps(config, plan, dataset)
    return list(cells_of(config, model_of(plan, "", Path()), steps))


def _row(cells: list[Cell], seeds: list[int]) -> tuple[str, ...]:
    plan = cells[0].model.plan
    nfe = ", ".join(str(cell.nfe) for cell in cells if cell.nfe is not None)
    tolerances = ", ".join(f"{cell.tolerance:g}" for cell in cells if cell.tolerance is not None)
    return plan.data, plan.field, cells[0].label, nfe, tolerances, ", ".join(map(str, seeds))
