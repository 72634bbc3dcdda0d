"""``diffode likelihood``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import cast

import typer
from torch import Tensor

from diffode.cli import bounding
from diffode.cli.commands import Likelihood
from diffode.cli.guiding import target_of
from diffode.cli.outcome import require_sound, warn
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.data import Dataset, names
from diffode.data.points import read_points, write_arrays
from diffode.data.rows import some_rows
from diffode.data.scaling import data_units
from diffode.data.source import Samples
from diffode.fields.flowmap import map_in
from diffode.fields.tokens import TokenField
from diffode.files import is_main_process, require_place, write_text
from diffode.interop.pipelines import LATENTS
from diffode.likelihood.card import LikelihoodCard, likelihood_card
from diffode.likelihood.density import density_at_start
from diffode.likelihood.dequantisation import Quantisation, prepared
from diffode.likelihood.divergence import Trace, check
from diffode.likelihood.transport import Transport
from diffode.runs.targets import Target
from diffode.solvers import get_solver

BATCH = 20
SPLITS = ("test", "train")


def command(asked: Likelihood) -> None:
    """Print the likelihood card of a run on points that it was not trained on."""
    check(cast(Trace, asked.trace))
    if asked.as_is and asked.levels is not None:
        raise ValueError("got --as-is and --levels; give one of the two")
    for name, path, suffix in (("--out", asked.out, ".json"), ("--values", asked.values, ".npz")):
        if path is not None:
            if path.suffix != suffix:
                raise ValueError(f"got {name} {path}; wanted a name that ends in {suffix}")
            require_place(path)
    target = target_of(asked)
    field = target.field
    if isinstance(field, TokenField):
        return bounding.command(
            asked, field, *_points(_dataset(target, asked.data), asked, target)
        )
    chosen = get_solver(asked.solver, **pairs(asked.assignments))
    if map_in(field) is not None:
        warn(
            "this is the density of the flow of the map's diagonal, -F(z, s, s), not of the "
            "samples that it draws in a few jumps"
        )
    told = None if asked.levels is None else Quantisation.parse(asked.levels, field.scaling)
    check(cast(Trace, asked.trace), field)
    chosen.check(Transport(field, None))
    density_at_start(field)
    dataset = _dataset(target, asked.data)
    x, y, rows = _points(dataset, asked, target)
    x, levels, terminal = prepared(field, dataset, x, y, asked.seed, asked.as_is, told)
    with progress_bar("likelihood", 2 * len(x)) as bar:
        bar.advance(0)
        card = likelihood_card(
            field,
            x,
            cast(Trace, asked.trace),
            chosen,
            asked.steps,
            y,
            levels,
            terminal,
            BATCH,
            asked.seed,
            asked.probes,
            progress=bar.advance,
        )
    r = card.result
    numbers = {name: getattr(r, name) for name in ("nats", "prior", "divergence", "stderr")}
    numbers |= {"mismatch": card.mismatch, "latent": r.latent, "y": y, "row": rows}
    require_sound(asked.values, "points", r.status, r.nfe_per_row, x=x, **numbers)
    typer.echo(str(card))
    if target.latent:
        typer.echo(f"the points are {LATENTS}: this is no likelihood of images")
    if not is_main_process():
        return
    if asked.out is not None:
        figures = _figures(card, asked) | {"latents": target.latent, "moments_taken": card.taken}
        write_text(asked.out, json.dumps(figures, indent=2) + "\n")
        typer.echo(f"wrote {asked.out}")
    if asked.values is not None:
        write_arrays(asked.values, x=x, **numbers, status=r.status)
        typer.echo(f"wrote {asked.values} ({len(x)} points)")
    warn(r.shortfall())


def _dataset(target: Target, data: str) -> Dataset | None:
    """What the field was trained on; None where it is gone and a file's points are asked for.

    Data by their name are measured against themselves.
    """
    if data in SPLITS:
        return target.dataset()
    if data in names():
        return target.dataset(data)
    try:
        return None if target.plan is None else target.dataset()
    except (OSError, ValueError) as error:
        warn(f"what this run was trained on is not used: {error}")
        return None


def _points(
    dataset: Dataset | None, asked: Likelihood, target: Target
) -> tuple[Tensor, Tensor | None, Tensor]:
    """At most n points of a split or a file, each class in its share; their labels and rows."""
    x: Samples
    field, split = target.field, dataset is not None and asked.data in (*SPLITS, *names())
    if dataset is None or not split:
        x, y = read_points(Path(asked.data), field.event_shape, target.known_labels, field.scaling)
    elif asked.data == "train":
        x, y = dataset.train, dataset.train_labels
    else:
        x, y = dataset.test, dataset.test_labels
    rows = some_rows(len(x), asked.n, y, asked.seed)
    points = data_units(x[rows], dataset.scaling) if dataset and split else x[rows]
    return points, None if y is None or target.known_labels is None else y[rows], rows


def _figures(card: LikelihoodCard, asked: Likelihood) -> dict[str, object]:
    """The card's figures for JSON, which knows no infinity, with what they belong to."""
    figures = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v
        for k, v in card.figures().items()
    }
    return {"run": asked.target, "data": asked.data, "seed": asked.seed, **figures}
