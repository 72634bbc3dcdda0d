"""``diffode sample``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import typer

from diffode.cli.classes import classes_to_draw
from diffode.cli.commands import Sample
from diffode.cli.outcome import deliver
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.data.scaling import model_units
from diffode.files import require_writable
from diffode.options import counted
from diffode.runs.costs import each_took
from diffode.runs.guiding import Guidance, guidance_of
from diffode.runs.targets import Target, resolve
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample
from diffode.solvers import Solution, Solver
from diffode.viz import samples_picture


def command(asked: Sample) -> None:
    """Draw samples of a run and write them."""
    if asked.out.suffix not in (".png", ".npz"):
        raise ValueError(f"got --out {asked.out}; wanted a name that ends in .png or .npz")
    require_writable(asked.out.parent)
    guidance = guidance_of(
        asked.guidance, asked.interval, asked.weak, asked.trust, asked.classifier
    )
    target = resolve(asked.target, asked.weights, asked.device, trust=asked.trust)
    guided = target if guidance is None else guidance.of(target)
    known = replace(target, classes=guided.classes)  # whether labels are needed, guidance says
    n, y = classes_to_draw(asked.label, asked.per_class, asked.n, known)
    target = guided
    if guidance is not None:
        guidance.require_labels(y is not None, "give --label, or --per-class for all of them")
    options, fitted = pairs(asked.assignments), (asked.grid or "").endswith(".json")
    solver, chosen = asked.solver or (None if fitted else target.solver), None
    if solver is not None or options:
        chosen = solver_for(target.field, solver, options)
    with progress_bar("sample", n) as bar:
        drawn = sample(
            target.field,
            n,
            chosen,
            asked.nfe,
            asked.steps,
            asked.seed,
            y,
            batch=250,
            grid=asked.grid,
            progress=bar.advance,
            temperature=asked.temperature,
        )
    title = _title(asked, target, chosen, drawn, guidance)
    x = model_units(drawn.x.cpu(), target.field.scaling)
    picture = partial(samples_picture, x, title=title, y=y, names=target.class_names)
    write = None if asked.out.suffix == ".npz" else picture
    arrays = {"x": drawn.x, "y": y, "q": drawn.q}
    deliver(asked.out, "samples", drawn.status, drawn.nfe_per_row, write, **arrays)
    typer.echo(
        f"wrote {asked.out} ({counted(n, 'sample')}, {each_took(drawn.nfe, drawn.network_calls)})"
    )


def _title(
    asked: Sample,
    target: Target,
    solver: Solver | None,
    drawn: Solution,
    guidance: Guidance | None,
) -> str:
    """What a picture says of its samples: where they come from, and how."""
    how = [] if solver is None else [repr(solver)]
    how += [] if asked.grid is None else [f"grid {asked.grid}"]
    how += [] if asked.temperature == 1 else [f"temperature {asked.temperature:g}"]
    how += [] if guidance is None else [str(guidance)]
    how += [each_took(drawn.nfe, drawn.network_calls), f"seed {asked.seed}"]
    return f"{target.called}\n{', '.join(how)}; nothing selected"
