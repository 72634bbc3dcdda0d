"""``diffode sample``."""

from __future__ import annotations

from functools import partial

import torch
import typer

from diffode.cli.commands import Sample
from diffode.cli.outcome import deliver
from diffode.cli.points import opened
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.files import require_writable
from diffode.options import counted
from diffode.runs.run import CONFIG, Plan, home
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample
from diffode.viz import samples_picture


def command(asked: Sample) -> None:
    """Draw samples of a run and write them."""
    if asked.out.suffix not in (".png", ".npz"):
        raise ValueError(f"got --out {asked.out}; wanted a name that ends in .png or .npz")
    require_writable(asked.out.parent)
    objective, classes = opened(asked.run, asked.weights, asked.device)
    y = None
    if asked.label is not None:
        if classes is None:
            raise ValueError(f"got --label {asked.label}, but this run was trained without labels")
        if not 0 <= asked.label < classes:
            raise ValueError(f"got --label {asked.label}; this run has labels 0 to {classes - 1}")
        y = torch.full((asked.n,), asked.label)
    options, solver = pairs(asked.assignments), asked.solver
    fitted = asked.grid is not None and asked.grid.endswith(".json")
    if solver is None and not fitted and (home(asked.run) / CONFIG).exists():
        solver = Plan.read(home(asked.run)).solver
    chosen = None
    if solver is not None or options or not fitted:
        chosen = solver_for(objective.field, solver, options)
    with progress_bar("sample", asked.n) as bar:
        drawn = sample(
            objective.field,
            asked.n,
            chosen,
            asked.nfe,
            asked.steps,
            asked.seed,
            y,
            batch=250,
            grid=asked.grid,
            progress=bar.advance,
        )
    write = None if asked.out.suffix == ".npz" else partial(samples_picture, drawn.x.cpu())
    deliver(asked.out, "samples", drawn.status, drawn.nfe_per_row, write, x=drawn.x, q=drawn.q)
    said = f"{counted(asked.n, 'sample')}, {counted(drawn.nfe, 'evaluation')} each"
    typer.echo(f"wrote {asked.out} ({said})")
