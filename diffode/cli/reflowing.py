"""``diffode reflow``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from torch import Tensor

from diffode.cli.progress import progress_bar
from diffode.cli.reflows import Reflow
from diffode.cli.shared import pairs
from diffode.cli.signals import Ended
from diffode.cli.training import Job, assessed, finish, trained
from diffode.data import source_of
from diffode.fields.affine import AffineField
from diffode.files import is_main_process, require_writable
from diffode.metrics.panel import Panel
from diffode.runs.identity import identity
from diffode.runs.keys import key_of
from diffode.runs.plan import CONFIG
from diffode.runs.reflow import (
    Bend,
    begin,
    bend,
    make_pairs,
    require_teacher,
    student_plan,
    write_record,
)
from diffode.runs.targets import Target, resolve
from diffode.sampling.choosing import solver_for
from diffode.sharing import agreed, all_of
from diffode.solvers import Solver


def command(asked: Reflow) -> None:
    """Make the pairs, train on them, and say how straight the paths were and are."""
    given = {key: getattr(asked, key) for key in ("steps", "batch")}
    options = pairs(asked.assignments, {k: v for k, v in given.items() if v is not None})
    target = resolve(asked.run, asked.weights, asked.device, trust=asked.trust)
    if target.plan is None or target.folder is None:
        raise ValueError(f"{target.name} is no run; reflow goes on from what diffode train wrote")
    teacher = require_teacher(target.field.eval().requires_grad_(False))
    solver = solver_for(teacher, asked.solver or target.solver, {})
    dataset, labelled = target.dataset(asked.data), target.classes is not None
    target.require_fits(dataset, asked.data or dataset.name, labelled)
    folder = asked.out or target.folder.with_name(f"{target.folder.name}-reflow")
    options |= {"device": asked.device}
    plan = student_plan(target.plan, asked.seed, labelled, options)
    if asked.data is not None:
        plan = replace(plan, data=asked.data, source=source_of(asked.data), reading={})
    y = dataset.labels(asked.pairs) if labelled else None
    decides = _decides(asked, target, repr(solver))
    if is_main_process():
        begin(require_writable(folder), decides)
    all_of(None)  # wait for what the first has written
    record = begin(folder, decides)
    resume = agreed((folder / CONFIG).exists())
    _draw(asked, teacher, solver, folder, y)
    before = bend(teacher, y) if "before" not in record else Bend(**record["before"])
    if is_main_process():
        write_record(folder, record | {"before": before._asdict()})
    job = Job(plan, folder, resume=resume)
    run = trained(job, dataset)
    if not is_main_process():
        return
    student = require_teacher(run.field.eval().requires_grad_(False))
    after = bend(student, y)
    write_record(folder, record | {"before": before._asdict(), "after": after._asdict()})
    said = (
        f"straightness {before.straightness:.4f} -> {after.straightness:.4f}, defect "
        f"{before.defect:.4g} -> {after.defect:.4g} (50 steps, on the straight path)"
    )
    how = f"learned from {asked.pairs} pairs of {target.name}, made with {solver!r}"
    panel = Panel(dataset, asked.samples, labels=labelled)
    finish(run, assessed(run, panel, asked.samples, job), folder, (said, how))
    typer.echo(said)


def _draw(
    asked: Reflow, teacher: AffineField, solver: Solver, folder: Path, y: Tensor | None
) -> None:
    """Make the pairs that are not there yet, with a line of progress."""
    try:
        with progress_bar("make pairs", asked.pairs) as bar:
            given: dict[str, Any] = {"seed": asked.seed, "y": y, "progress": bar.advance}
            make_pairs(teacher, asked.pairs, solver, asked.nfe, folder, **given)
    except (KeyboardInterrupt, Ended):
        typer.echo("stopped; the pairs so far are kept, give the same command again to go on")
        raise
    all_of(None)  # wait for the file, which the first process writes


def _decides(asked: Reflow, target: Target, solver: str) -> dict[str, Any]:
    """What decides the pairs."""
    file = None if target.checkpoint is None else target.checkpoint.stem
    return {
        "run": key_of(identity(target)),
        "checkpoint": file,
        "weights": asked.weights,
        "pairs": asked.pairs,
        "seed": asked.seed,
        "solver": solver,
        "nfe": asked.nfe,
    }
