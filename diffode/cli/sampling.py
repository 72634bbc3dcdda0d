"""``diffode sample``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, cast

import torch
import typer

from diffode.cli.outcome import deliver
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.devices import choose
from diffode.files import require_writable
from diffode.options import counted
from diffode.runs.loading import load
from diffode.runs.run import CONFIG, Plan, home
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample
from diffode.viz import samples_picture


def command(
    run: Path,
    n: int,
    solver: str | None,
    nfe: int | None,
    steps: int | None,
    seed: int,
    label: int | None,
    grid: str | None,
    assignments: list[str],
    weights: str,
    device: str,
    out: Path,
) -> None:
    """Draw samples of a run and write them."""
    if out.suffix not in (".png", ".npz"):
        raise ValueError(f"got --out {out}; wanted a name that ends in .png or .npz")
    if weights not in ("ema", "raw"):
        raise ValueError(f"got --weights {weights}; wanted ema or raw")
    require_writable(out.parent)
    objective = load(run, cast(Literal["ema", "raw"], weights)).to(choose(device))
    spec = objective.spec
    assert spec is not None
    y = None
    if label is not None:
        if spec.classes is None:
            raise ValueError(f"got --label {label}, but this run was trained without labels")
        if not 0 <= label < spec.classes:
            raise ValueError(f"got --label {label}; this run has labels 0 to {spec.classes - 1}")
        y = torch.full((n,), label)
    options, fitted = pairs(assignments), grid is not None and grid.endswith(".json")
    if solver is None and not fitted and (home(run) / CONFIG).exists():
        solver = Plan.read(home(run)).solver
    chosen = None
    if solver is not None or options or not fitted:
        chosen = solver_for(objective.field, solver, options)
    with progress_bar("sample", n) as bar:
        drawn = sample(
            objective.field,
            n,
            chosen,
            nfe,
            steps,
            seed,
            y,
            batch=250,
            grid=grid,
            progress=bar.advance,
        )
    write = None if out.suffix == ".npz" else partial(samples_picture, drawn.x.cpu())
    deliver(out, "samples", drawn.status, drawn.nfe_per_row, write, x=drawn.x, q=drawn.q)
    said = f"{counted(n, 'sample')}, {counted(drawn.nfe, 'evaluation')} each"
    typer.echo(f"wrote {out} ({said})")
