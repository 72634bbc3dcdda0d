"""What a comparison would train and draw, before anything is done."""

from __future__ import annotations

from pathlib import Path

from diffode.bench.cells import Cell, cells_of, own_steps
from diffode.bench.config import BenchConfig
from diffode.bench.models import model_of, plan_of
from diffode.bench.sets import datasets_of
from diffode.bench.untrained import guidances_of, opened, taken
from diffode.data import Dataset
from diffode.runs.guiding import Guidance
from diffode.runs.run import untrained
from diffode.tables import Table


def outline(config: BenchConfig, trust: bool = False) -> tuple[Table, str]:
    """The cells of a comparison, a row for each solver of a field, and how many there are.

    Arguments:
        config: what to compare.
        trust: whether code that runs among its TARGETs name may be run.

    Raises:
        ValueError: a configuration that cannot be carried out.
    """
    rows, count = [], 0
    targets, guided = opened(config, trust), guidances_of(config, trust)
    for name, dataset in datasets_of(config, {}).items():
        every = [_cells(config, field, name, dataset, guided) for field in config.fields]
        for target in targets:
            model = taken(config, target, name, dataset, config.seeds[0], Path())
            steps = own_steps(config, target.field, target.name, guided, dataset)
            every.append(list(cells_of(config, model, steps, guided)))
        for cells in every:
            by_solver: dict[str, list[Cell]] = {}
            for cell in cells:
                by_solver.setdefault(cell.label, []).append(cell)
            rows += [_row(cells, config.seeds) for cells in by_solver.values()]
            count += sum(map(len, by_solver.values())) * len(config.seeds)
    trainings = len(config.data) * len(config.fields) * len(config.seeds)
    unit = "network calls" if config.guidance else "evaluations"
    head = ["data", "field", "solver", f"{unit} at most", "tolerances", "seeds"]
    return Table(head, rows), (
        f"{trainings} trainings, {count} cells of at most {config.samples} samples each"
    )


def _cells(
    config: BenchConfig, field: str, name: str, dataset: Dataset, guided: list[Guidance]
) -> list[Cell]:
    """The cells of one training."""
    plan = plan_of(config, field, name, config.seeds[0])
    steps = own_steps(config, untrained(plan, dataset).field, field, guided, dataset)
    return list(cells_of(config, model_of(plan, "", Path()), steps, guided))


def _row(cells: list[Cell], seeds: list[int]) -> tuple[str, ...]:
    model = cells[0].model
    nfe = ", ".join(str(cell.nfe) for cell in cells if cell.nfe is not None)
    tolerances = ", ".join(f"{cell.tolerance:g}" for cell in cells if cell.tolerance is not None)
    return model.data, model.name, cells[0].label, nfe, tolerances, ", ".join(map(str, seeds))
