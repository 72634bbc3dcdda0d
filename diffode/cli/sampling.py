"""``diffode sample``."""

from __future__ import annotations

import math
from functools import partial

import typer

from diffode.cli.classes import classes_to_draw
from diffode.cli.commands import Sample
from diffode.cli.guiding import guided_target, require_labels
from diffode.cli.outcome import deliver, require_out, warn
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.data.scaling import model_units
from diffode.interop.pipelines import pixels
from diffode.options import counted
from diffode.processes import place
from diffode.runs.costs import each_took
from diffode.runs.guiding import Guidance
from diffode.runs.targets import Target
from diffode.sampling.choosing import solver_for
from diffode.sampling.drawing import sample
from diffode.solvers import Solution, Solver
from diffode.viz import samples_picture


def command(asked: Sample) -> None:
    """Draw samples of a run and write them."""
    require_out(asked.out, ".png", ".npz")
    target, guidance = guided_target(asked)
    n, y = classes_to_draw(asked.label, asked.per_class, asked.n, target)
    require_labels(target, guidance, y is not None, "give --label, or --per-class for all of them")
    options, fitted = pairs(asked.assignments), (asked.grid or "").endswith(".json")
    solver, chosen = asked.solver or (None if fitted else target.solver), None
    if solver is not None or options:
        chosen = solver_for(target.field, solver, options)
    if place().total > 1 and 1 < n <= asked.batch:
        few = math.ceil(n / place().total)
        warn(
            f"{n} samples are one batch of {asked.batch}, which one process draws while the "
            f"others wait; --batch {few} shares them out"
        )
    with progress_bar("sample", n) as bar:
        drawn = sample(
            target.field,
            n,
            chosen,
            asked.nfe,
            asked.steps,
            asked.seed,
            y,
            batch=asked.batch,
            grid=asked.grid,
            progress=bar.advance,
            temperature=asked.temperature,
        )
    title = _title(asked, target, chosen, drawn, guidance)
    x = model_units(drawn.x, target.field.scaling)
    seen = pixels(target.field, x)
    picture = partial(samples_picture, seen.cpu(), title=title, y=y, names=target.class_names)
    arrays = {"x": drawn.x, "y": y, "q": drawn.q, "pixels": None if seen is x else seen}
    deliver(asked.out, "samples", drawn.status, drawn.nfe_per_row, picture, **arrays)
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
