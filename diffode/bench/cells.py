"""The cells of a comparison: samples of one field by one solver, and their figures.

A cell is a small JSON file, written once it is complete. Its key names everything that decides
its figures, so a stopped comparison computes the cells that are missing and no others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffode import __version__, code
from diffode.bench.affording import affordable
from diffode.bench.config import BenchConfig
from diffode.bench.specs import SolverSpec
from diffode.bench.stored import write_part
from diffode.bench.untrained import Subject
from diffode.data import Dataset
from diffode.data.fingerprint import Fingerprint
from diffode.data.scaling import in_data_of, model_units
from diffode.fields.base import Field
from diffode.fields.flowmap import map_in
from diffode.inputs import file_word
from diffode.metrics.estimates import Estimate
from diffode.metrics.panel import Panel
from diffode.runs.costs import machine, peak_memory, reset_peak_memory
from diffode.runs.guiding import Guidance
from diffode.runs.keys import key_of
from diffode.sampling.drawing import sample
from diffode.solvers import Solution
from diffode.solvers.status import LOST, SPENT, refusal
from diffode.viz import canvas

FORMAT = 4
BATCH = 500  # rows that torchdiffeq's adaptive methods hold to one tolerance together
HELD = 2**23  # numbers in the states that are moved together, so that large images are fewer
OWN = "own"


@dataclass(frozen=True)
class Cell:
    """One field, one solver, one allowance.

    Attributes:
        model: the field, trained or taken as it is.
        solver: how it is sampled; None is the field's own way.
        nfe: the evaluations allowed, for solvers with steps; guided, the calls of the network.
        tolerance: rtol = atol, for adaptive ones that state none.
        guidance: how the field is guided; None is not at all.
    """

    model: Subject
    solver: SolverSpec | None
    nfe: int | None = None
    tolerance: float | None = None
    guidance: Guidance | None = None

    @property
    def label(self) -> str:
        """The solver, and the guidance, as tables name it."""
        name = OWN if self.solver is None else self.solver.text
        return name if self.guidance is None else f"{name}, {self.guidance}"

    @property
    def place(self) -> dict[str, Any]:
        """Where its figures belong."""
        return {
            "data": self.model.data,
            "field": self.model.name,
            "seed": self.model.seed,
            "model": self.model.key,
            "solver": self.label,
            "allowed": self.nfe,
            "tolerance": self.tolerance,
        }

    @property
    def allowance(self) -> str:
        """What it may spend, as file names and progress name it."""
        return f"tol{self.tolerance:g}" if self.nfe is None else f"nfe{self.nfe}"

    def path(self, out: Path, panel: dict[str, Any]) -> Path:
        """The file of its figures."""
        model = self.model
        options = None if self.solver is None else self.solver.key
        spent = [self.nfe, self.tolerance, BATCH]
        guidance = [] if self.guidance is None else [self.guidance.key]
        key = key_of([__version__, FORMAT, model.key, options, *spent, panel, *guidance])
        stem = (
            f"{code.word(model.name)}-{model.seed}-{file_word(self.label)}-{self.allowance}-{key}"
        )
        return out / "cells" / code.word(model.data) / f"{stem}.json"


def cells_of(
    config: BenchConfig,
    model: Subject,
    own_steps: int | None,
    guided: Sequence[Guidance] = (),
) -> Iterator[Cell]:
    """The cells of a model.

    Arguments:
        config: of the comparison.
        model: the field.
        own_steps: the steps of the field's own grid, if it has one: it is sampled on that alone,
            thinned out where fewer evaluations are allowed.
        guided: how it is guided, one after the other; empty is not at all.
    """
    if own_steps is not None:
        for nfe in sorted({min(n, own_steps) for n in (*config.nfe, own_steps)}):
            yield Cell(model, None, nfe)
        return
    guidances: list[Guidance | None] = [*guided] or [None]
    for text, guidance in product(config.solvers, guidances):
        spec = SolverSpec.parse(text)
        if not spec.make().adaptive:
            for nfe in config.nfe:
                yield Cell(model, spec, nfe, guidance=guidance)
        elif any(key in ("rtol", "atol") for key, _ in spec.options):
            yield Cell(model, spec, guidance=guidance)
        else:
            for tolerance in config.tolerances:
                yield Cell(model, spec, None, tolerance, guidance)


def own_steps(
    config: BenchConfig, field: Field, name: str, guided: Sequence[Guidance], dataset: Dataset
) -> int | None:
    """The steps of a field's own grid, if it has one, trained or not.

    Arguments:
        config: of the comparison.
        field: whose grid.
        name: what messages call it.
        guided: how it shall be guided.
        dataset: the data that it is compared on.

    Raises:
        TypeError, ValueError: a field that cannot be guided as the comparison asks for.
    """
    for guidance in guided:
        data = Fingerprint.of(dataset) if guidance.others else None
        guidance.field(field, code.short(name), data)
    if map_in(field) is not None:  # it goes in any number of jumps, and so in each of these
        return max(config.nfe)
    return None if field.sampling_defaults is None else len(field.sampling_defaults.times) - 1


def run_cell(
    cell: Cell, field: Field, panel: Panel, dataset: Dataset, labels: bool
) -> tuple[dict[str, Any], Tensor | None]:
    """The figures of a cell, and its samples unless they were refused.

    Arguments:
        cell: what to do.
        field: its field, on the device.
        panel: what is measured.
        dataset: where labels come from.
        labels: draw with the training split's labels, where a label plays a part.
    """
    figures: dict[str, Any] = cell.place | {"count": panel.count}
    given = dataset.labels(panel.count) if labels else None
    try:
        guided = _guided(cell, field)
        y = None if guided.unconditional else given
        drawn, seconds = _draw(cell, guided, panel.count, y)
    except (TypeError, ValueError) as error:
        return figures | {"refused": " ".join(str(error).split())}, None
    x = drawn.x.cpu()
    rows = drawn.nfe_per_row.double()
    figures |= {
        "nfe": float(rows.mean()),
        "nfe_max": int(rows.max()),
        "network_calls": float(drawn.calls_per_row.mean()),
        "unfinished": int((drawn.status == SPENT).sum()),
        "lost": int((drawn.status == LOST).sum()),
        "seconds": seconds,
        "peak_memory": peak_memory(field.device),
        **machine(field.device),
    }
    if why := refusal(drawn.status, drawn.nfe_per_row, "samples"):
        return figures | {"refused": why}, None
    x = in_data_of(x, field.scaling, dataset.scaling)
    figures |= split(panel.measure(x, y), "metrics")
    return figures, model_units(x, dataset.scaling)


def split(found: dict[str, Estimate], name: str) -> dict[str, Any]:
    """Figures for JSON under a name, and apart from them why some cannot be had."""
    known = {k: [e.value, e.stderr] for k, e in found.items() if not e.refused}
    lacking = {k: e.refused for k, e in found.items() if e.refused}
    return {name: known} | ({"lacking": lacking} if lacking else {})


def _guided(cell: Cell, field: Field) -> Field:
    if cell.guidance is None:
        return field
    return cell.guidance.field(field, code.short(cell.model.name))


def _draw(cell: Cell, field: Field, n: int, y: Tensor | None) -> tuple[Solution, float]:
    more = {} if cell.tolerance is None else {"rtol": cell.tolerance, "atol": cell.tolerance}
    solver = None if cell.solver is None else cell.solver.chosen(**more)
    seed, kind = cell.model.seed, None if cell.solver is None else cell.solver.grid
    how: dict[str, Any] = {"solver": solver, "seed": seed, "grid": kind}
    batch = max(1, min(BATCH, HELD // math.prod(field.event_shape)))
    nfe = cell.nfe and affordable(field, cell.nfe, n, y=y, batch=batch, **how)
    sample(field, 2, nfe=nfe, y=None if y is None else y[:2], **how)  # warm up
    reset_peak_memory()
    if field.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    drawn = sample(field, n, nfe=nfe, y=y, batch=batch, **how)
    if field.device.type == "cuda":
        torch.cuda.synchronize()
    return drawn, time.perf_counter() - began


def write_cell(path: Path, figures: dict[str, Any], picture: bytes | None) -> None:
    """Keep a cell: its picture first, its figures when all else is there."""
    if picture is not None:
        canvas.write(picture, path.with_suffix(".png"))
    write_part(path, figures)
