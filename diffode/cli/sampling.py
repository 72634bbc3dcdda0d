"""``diffode sample``."""

from __future__ import annotations

from functools import partial

import torch
import typer

from diffode.cli.commands import Sample
from diffode.cli.outcome import deliver
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.files import require_writable
from diffode.options import counted
from diffode.runs.targets import Target, resolve
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample
from diffode.viz import samples_picture


def command(asked: Sample) -> None:
    """Draw samples of a run and write them."""
    if asked.out.suffix not in (".png", ".npz"):
        raise ValueError(f"got --out {asked.out}; wanted a name that ends in .png or .npz")
    require_writable(asked.out.parent)
    target = resolve(asked.target, asked.weights, asked.device, trust=asked.trust)
    y = None if asked.label is None else torch.full((asked.n,), _known(asked.label, target))
    options, fitted = pairs(asked.assignments), (asked.grid or "").endswith(".json")
    solver, chosen = asked.solver or (None if fitted else target.solver), None
    if solver is not None or options:
        chosen = solver_for(target.field, solver, options)
    with progress_bar("sample", asked.n) as bar:
        drawn = sample(
            target.field,
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


def _known(label: int, target: Target) -> int:
    """A label that a trained field knows; a field of the user's own says so itself.

    Raises:
        ValueError: one that it does not.
    """
    if target.classes is None and target.checkpoint is not None:
        raise ValueError(f"got --label {label}, but this field knows no labels")
    if target.classes is not None and not 0 <= label < target.classes:
        raise ValueError(f"got --label {label}; this field has labels 0 to {target.classes - 1}")
    return label
