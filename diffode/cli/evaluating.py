"""``diffode eval``."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import typer

from diffode.cli.comparisons import Evaluate
from diffode.cli.likelihood import BATCH
from diffode.cli.outcome import require_sound
from diffode.cli.progress import progress_bar
from diffode.cli.shared import named, pairs
from diffode.cli.signals import Ended
from diffode.data import Dataset, source_of
from diffode.data.points import write_arrays
from diffode.data.rows import some_rows
from diffode.fields.base import Field
from diffode.files import require_writable
from diffode.likelihood.card import LikelihoodCard, likelihood_card
from diffode.likelihood.dequantisation import Quantisation, prepared
from diffode.likelihood.transport import Transport
from diffode.metrics.panel import Panel
from diffode.runs.evaluation import Evaluation, evaluated
from diffode.runs.keys import key_of, key_of_values
from diffode.runs.shards import Drawn, draw
from diffode.runs.targets import Target, resolve
from diffode.sampling.choosing import solver_for
from diffode.solvers import get_solver
from diffode.solvers.fitted import PROBES, probe_of
from diffode.solvers.status import refusal

POINTS = 200  # whose likelihood is measured


def command(asked: Evaluate) -> None:
    """Draw samples of a run, measure them, and write the table."""
    if asked.levels is not None and not asked.likelihood:
        raise ValueError("got --levels without --likelihood, which they are for")
    told = None if asked.levels is None else Quantisation.parse(asked.levels)
    _place(asked.device)
    target = resolve(asked.target, asked.weights, asked.device, trust=asked.trust)
    field, classes, nfe, seed = target.field.eval(), target.classes, asked.nfe, asked.seed
    dataset = _dataset(target, asked.data)
    if target.folder is None and asked.out is None:
        raise ValueError(f"{target.name} is no run with a folder of its own; give --out FOLDER")
    options = pairs(asked.assignments)
    chosen = solver_for(field, asked.solver or target.solver, options)
    if asked.likelihood:
        get_solver("dopri5").check(Transport(field, None))
    spaces = named("feature", asked.features)
    own = named("metric", asked.metric) or []
    panel = Panel(dataset, asked.n, spaces, labels=classes is not None, metrics=own)
    y = None if classes is None else dataset.labels(panel.count)
    state = key_of_values(*field.state_dict().values())
    classed = None if y is None else key_of_values(y)
    drawn_by: list[object] = [
        state,
        repr(field),
        chosen.name,
        options,
        nfe,
        seed,
        asked.weights,
        classed,
    ]
    if target.checkpoint is None:  # code, which may change while its tensors do not
        drawn_by.append(probe_of(field, None if y is None else y[:1].expand(PROBES)))
    drawing = key_of(drawn_by)
    about = [drawing, panel.count, [str(f) for f in panel.features], asked.likelihood]
    about += [panel.own_metrics] if own else []
    if asked.data is not None:
        about += [source_of(asked.data), key_of_values(dataset.test)]
    name = f"{chosen.name}-{'own' if nfe is None else nfe}-{key_of(about)}"
    home = target.folder or asked.out or Path()
    parts = require_writable(home / "eval" / "parts" / drawing)
    folder = require_writable(asked.out or home / "eval" / name)
    try:
        with progress_bar("sample", panel.count) as bar:
            drawn = draw(
                field, panel.count, chosen, nfe, parts, seed=seed, y=y, progress=bar.advance
            )
    except (KeyboardInterrupt, Ended):
        typer.echo("stopped; the samples so far are kept, give the same command again to go on")
        raise
    if drawn is None:
        return
    arrays = {"x": drawn.x, "y": drawn.y, "q": drawn.q}
    require_sound(folder / "samples.npz", "samples", drawn.status, drawn.nfe_per_row, **arrays)
    metrics = evaluated(drawn, panel)
    card, refused = None, ""
    if asked.likelihood:
        try:
            card = _card(field, dataset, classes, seed, told)
            result = card.result
            refused = refusal(result.status, result.nfe_per_row, "points of the likelihood")
        except ValueError as error:
            refused = str(error)
    settings = {
        "run": target.name,
        "field": target.name if target.plan is None else target.plan.field,
        "data": asked.data or (target.plan.data if target.plan else dataset.name),
        "checkpoint": target.name if target.checkpoint is None else target.checkpoint.stem,
        "weights": "own" if target.checkpoint is None else asked.weights,
        "solver": repr(chosen),
        "solver_options": options,
        "nfe_allowed": nfe,
        "nfe": drawn.nfe,
        "unfinished": drawn.unfinished,
        "shortfall": drawn.shortfall(),
        "seed": seed,
        "labels": y is not None,
        "seconds": drawn.seconds,
        "versions": {"torch": torch.__version__},
    }
    _finish(Evaluation(target.title(dataset), settings, panel, metrics, card), drawn, folder)
    if refused:
        raise ValueError(refused)


def show_evaluation(result: Evaluation) -> None:
    """Print the table of an evaluation, the figure to look at first on top, and its notes."""
    panel = result.panel
    with progress_bar("measure real data", 2) as bar:
        for done in range(2):
            _ = panel.gaussian if done else panel.floor  # kept once known
            bar.advance(done + 1)
    typer.echo(result.table(result.title).text())
    for note in result.notes():
        typer.echo(note)


def _finish(result: Evaluation, drawn: Drawn, folder: Path) -> None:
    show_evaluation(result)
    if result.card is not None:
        typer.echo(str(result.card))
    arrays = {"x": drawn.x, "y": drawn.y, "q": drawn.q, "status": drawn.status}
    write_arrays(folder / "samples.npz", **arrays)
    for path in (folder / "samples.npz", *result.write(folder)):
        typer.echo(f"wrote {path}")


def _card(
    field: Field, dataset: Dataset, classes: int | None, seed: int, told: Quantisation | None
) -> LikelihoodCard:
    """The likelihood card of some test points, of all classes."""
    y = dataset.test_labels
    rows = some_rows(len(dataset.test), POINTS, y)
    x, y = dataset.test[rows], None if classes is None or y is None else y[rows]
    x, levels, terminal = prepared(field, dataset, x, y, seed, levels=told)
    with progress_bar("likelihood", 2 * len(x)) as bar:
        return likelihood_card(
            field,
            x,
            y=y,
            levels=levels,
            terminal=terminal,
            batch=BATCH,
            seed=seed,
            progress=bar.advance,
        )


def _dataset(target: Target, place: str | None) -> Dataset:
    """The data to measure samples against.

    Raises:
        ValueError: data of another shape, or of other classes.
    """
    dataset, field = target.dataset(place), target.field
    what = place or dataset.name
    if dataset.event_shape != field.event_shape:
        raise ValueError(
            f"{target.name} makes samples of shape {field.event_shape}, {what} has "
            f"{dataset.event_shape}; give the data that it was trained on"
        )
    if target.classes is not None and not 0 < (dataset.classes or 0) <= target.classes:
        raise ValueError(
            f"{target.name} draws {target.classes} classes, {what} has {dataset.classes}; give "
            "data of the classes that it was trained on"
        )
    return dataset


def _place(device: str) -> None:
    """Give each of torchrun's processes a GPU of its own."""
    local = os.environ.get("LOCAL_RANK")
    if local is not None and device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(local) % torch.cuda.device_count())
