"""``diffode likelihood``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import typer
from torch import Tensor

from diffode.cli.commands import Likelihood
from diffode.cli.outcome import require_sound, warn
from diffode.cli.points import opened, read_points, write_arrays
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.cli.sources import data_of
from diffode.data import Dataset
from diffode.data.rows import some_rows
from diffode.fields.base import AffineField, Field
from diffode.files import require_writable, write_text
from diffode.likelihood.card import LikelihoodCard, likelihood_card
from diffode.likelihood.dequantisation import (
    Quantisation,
    dequantise,
    law_at_prior,
    quantisation_of,
)
from diffode.likelihood.divergence import Trace, check
from diffode.likelihood.transport import Transport
from diffode.rng import Rng
from diffode.runs.run import CONFIG, home
from diffode.solvers import get_solver

BATCH = 20
SPLITS = ("test", "train")


def command(asked: Likelihood) -> None:
    """Print the likelihood card of a run on points that it was not trained on."""
    check(cast(Trace, asked.trace))
    if asked.as_is and asked.levels is not None:
        raise ValueError("got --as-is and --levels; give one of the two")
    told = None if asked.levels is None else Quantisation.parse(asked.levels)
    for name, path, suffix in (("--out", asked.out, ".json"), ("--values", asked.values, ".npz")):
        if path is not None:
            if path.suffix != suffix:
                raise ValueError(f"got {name} {path}; wanted a name that ends in {suffix}")
            require_writable(path.parent)
    chosen = get_solver(asked.solver, **pairs(asked.assignments))
    objective, classes = opened(asked.run, asked.weights, asked.device)
    field = objective.field
    chosen.check(Transport(field, None))
    dataset = _dataset(asked.run, asked.data)
    x, y, rows = _points(dataset, asked.data, asked.n, asked.seed, field.event_shape, classes)
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
    if asked.out is not None:
        figures = _figures(card, asked.run, asked.data, asked.seed)
        write_text(asked.out, json.dumps(figures, indent=2) + "\n")
        typer.echo(f"wrote {asked.out}")
    if asked.values is not None:
        write_arrays(asked.values, x=x, **numbers, status=r.status)
        typer.echo(f"wrote {asked.values} ({len(x)} points)")
    warn(r.shortfall())


def prepared(
    field: Field,
    dataset: Dataset | None,
    x: Tensor,
    y: Tensor | None,
    seed: int,
    as_is: bool = False,
    levels: Quantisation | None = None,
) -> tuple[Tensor, Quantisation | None, Callable[[Tensor], Tensor] | None]:
    """Points dequantised where they take few values, those values, and the true law at t_prior.

    Arguments:
        field: what their likelihood is measured by.
        dataset: what it was trained on, if that is known.
        x, y: the points and their labels.
        seed: of the dequantisation.
        as_is: do not dequantise.
        levels: the values that the data take; None looks for them.

    Raises:
        ValueError: data that do not take the given levels.
    """
    if levels is None and not as_is:
        levels = quantisation_of(x if dataset is None else dataset.train)
        levels = levels if levels is not None and levels.hold(x) else None
    if levels is not None:
        x = dequantise(x, levels, Rng(seed))
    terminal = None
    if dataset is not None and isinstance(field, AffineField):
        labels = dataset.train_labels if y is not None else None
        terminal = law_at_prior(field, dataset.train, labels, y)
    return x, levels, terminal


def _dataset(run: Path, data: str) -> Dataset | None:
    """What the run was trained on; None where it is gone and a file's points are asked for."""
    if data in SPLITS:
        return data_of(run)[1]
    try:
        return data_of(run)[1] if (home(run) / CONFIG).exists() else None
    except (OSError, ValueError) as error:
        warn(f"what this run was trained on is not used: {error}")
        return None


def _points(
    dataset: Dataset | None,
    data: str,
    n: int,
    seed: int,
    event_shape: tuple[int, ...],
    classes: int | None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """At most n points of a split or a file, each class in its share; their labels and rows."""
    if dataset is None or data not in SPLITS:
        x, y = read_points(Path(data), event_shape, classes)
    else:
        first = data == "test"
        x = dataset.test if first else dataset.train
        y = dataset.test_labels if first else dataset.train_labels
    rows = some_rows(len(x), n, y, seed)
    return x[rows], None if y is None or classes is None else y[rows], rows


def _figures(card: LikelihoodCard, run: Path, data: str, seed: int) -> dict[str, object]:
    """The card's figures for JSON, which knows no infinity, with what they belong to."""
    figures = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v
        for k, v in card.figures().items()
    }
    return {"run": str(run), "data": data, "seed": seed, **figures}
