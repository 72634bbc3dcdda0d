"""``diffode eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import typer
from torch import Tensor

from diffode import __version__, admission
from diffode.cli.comparisons import Evaluate
from diffode.cli.guiding import guided_target
from diffode.cli.likelihood import BATCH
from diffode.cli.outcome import require_sound
from diffode.cli.progress import progress_bar
from diffode.cli.shared import named, pairs
from diffode.cli.signals import Ended
from diffode.data import Dataset, source_of
from diffode.data.points import write_arrays
from diffode.data.rows import some_rows
from diffode.data.scaling import data_units
from diffode.fields.base import Field
from diffode.files import require_writable
from diffode.likelihood.card import LikelihoodCard, likelihood_card
from diffode.likelihood.dequantisation import Quantisation, prepared
from diffode.likelihood.transport import Transport
from diffode.metrics.panel import Panel
from diffode.runs.evaluation import Evaluation, evaluated
from diffode.runs.guiding import Guidance
from diffode.runs.identity import identity
from diffode.runs.keys import key_of, key_of_values
from diffode.runs.shards import Drawn, draw
from diffode.runs.targets import Target
from diffode.sampling.choosing import solver_for
from diffode.solvers import Solver, get_solver
from diffode.solvers.status import refusal

POINTS = 200  # whose likelihood is measured
FORMAT = 3  # of samples that are kept; raised where the same settings give others


def command(asked: Evaluate) -> None:
    """Draw samples of a run, measure them, and write the table."""
    if asked.levels is not None and not asked.likelihood:
        raise ValueError("got --levels without --likelihood, which they are for")
    if asked.guidance is not None and asked.likelihood:
        raise ValueError(
            "got --likelihood and --guidance; a likelihood is of the field as it was trained: "
            "leave one of the two away"
        )
    target, guidance = guided_target(asked)
    if guidance is not None and target.classes is None:
        why = f"{target.name} does not say how many labels it has (classes)"
        guidance.require_labels(target.field, why)
    field, labels = target.field.eval(), target.classes is not None
    told = None if asked.levels is None else Quantisation.parse(asked.levels, field.scaling)
    dataset = _dataset(target, asked.data)
    if target.folder is None and asked.out is None:
        raise ValueError(f"{target.name} is no run with a folder of its own; give --out FOLDER")
    chosen = solver_for(field, asked.solver or target.solver, pairs(asked.assignments))
    if asked.likelihood:
        get_solver("dopri5").check(Transport(field, None))
    spaces, own = named("feature", asked.features), named("metric", asked.metric) or []
    panel = Panel(dataset, asked.n, spaces, labels=labels, metrics=own)
    y = dataset.labels(panel.count) if labels else None
    drawing = _drawing(asked, target, chosen, y, guidance)
    home = target.folder or asked.out or Path()
    parts = require_writable(home / "eval" / "parts" / drawing)
    name = f"{chosen.name}-{'own' if asked.nfe is None else asked.nfe}"
    key = _measuring(asked, drawing, panel)
    folder = require_writable(asked.out or home / "eval" / f"{name}-{key}")
    drawn = _drawn(asked, field, chosen, y, panel.count, parts)
    if drawn is None:
        return
    arrays = {"x": drawn.x, "y": drawn.y, "q": drawn.q}
    require_sound(folder / "samples.npz", "samples", drawn.status, drawn.nfe_per_row, **arrays)
    metrics = evaluated(drawn, panel)
    card, refused = _card(asked, target, dataset, told) if asked.likelihood else (None, "")
    settings = _settings(asked, target, dataset, chosen, drawn)
    settings["guidance"] = None if guidance is None else guidance.asdict()
    by_class = panel.by_class(drawn.x, drawn.y)
    title = target.title(dataset) + ("" if guidance is None else f", {guidance}")
    result = Evaluation(title, settings, panel, metrics, card, by_class)
    _finish(result, drawn, folder)
    if refused:
        raise ValueError(refused)


def _drawing(
    asked: Evaluate, target: Target, solver: Solver, y: Tensor | None, guidance: Guidance | None
) -> str:
    """The key of all that decides the samples."""
    others = [] if guidance is None else guidance.others
    about: list[object] = [__version__, FORMAT, *identity(target, y, others), solver.name]
    about += [pairs(asked.assignments), asked.nfe, asked.seed, asked.weights]
    about.append(None if y is None else key_of_values(y))
    if code := admission.origins({"solver": asked.solver or target.solver}):
        about.append(code)
    about += [] if guidance is None else [guidance.key]
    return key_of(about)


def _measuring(asked: Evaluate, drawing: str, panel: Panel) -> str:
    """The key of all that decides the figures of these samples."""
    about = [drawing, panel.count, [str(f) for f in panel.features], asked.likelihood]
    about += [panel.own_metrics] if asked.metric else []
    if asked.data is not None:
        about += [source_of(asked.data), key_of_values(panel.dataset.test)]
    return key_of(about)


def _drawn(
    asked: Evaluate, field: Field, solver: Solver, y: Tensor | None, n: int, parts: Path
) -> Drawn | None:
    """The samples, drawn now or before; None on all processes but the first."""
    try:
        with progress_bar("sample", n) as bar:
            settings: dict[str, Any] = {"seed": asked.seed, "y": y, "progress": bar.advance}
            return draw(field, n, solver, asked.nfe, parts, **settings)
    except (KeyboardInterrupt, Ended):
        typer.echo("stopped; the samples so far are kept, give the same command again to go on")
        raise


def _settings(
    asked: Evaluate, target: Target, dataset: Dataset, solver: Solver, drawn: Drawn
) -> dict[str, Any]:
    """How the samples came about, for JSON."""
    plan, file = target.plan, target.checkpoint
    return {
        "run": target.name,
        "field": target.name if plan is None else plan.field,
        "data": asked.data or (dataset.name if plan is None else plan.data),
        "checkpoint": target.name if file is None else file.stem,
        "weights": "own" if file is None else asked.weights,
        "solver": repr(solver),
        "solver_options": pairs(asked.assignments),
        "nfe_allowed": asked.nfe,
        "nfe": drawn.nfe,
        "network_calls": drawn.network_calls,
        "unfinished": drawn.unfinished,
        "shortfall": drawn.shortfall(),
        "seed": asked.seed,
        "labels": drawn.y is not None,
        "latents": target.latent,
        "seconds": drawn.seconds,
        "versions": {"torch": torch.__version__},
    }


def show_evaluation(result: Evaluation) -> None:
    """Print the table of an evaluation, the figure to look at first on top, and its notes."""
    panel = result.panel
    with progress_bar("measure real data", 2) as bar:
        for done in range(2):
            _ = panel.gaussian if done else panel.floor  # kept once known
            bar.advance(done + 1)
    typer.echo(result.table(result.title).text())
    if result.by_class:
        typer.echo(result.class_table().text())
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
    asked: Evaluate, target: Target, dataset: Dataset, told: Quantisation | None
) -> tuple[LikelihoodCard | None, str]:
    """The likelihood card of some test points, of all classes, and why it cannot be trusted."""
    y = dataset.test_labels
    rows = some_rows(len(dataset.test), POINTS, y)
    x = data_units(dataset.test[rows], dataset.scaling)
    y = None if target.classes is None or y is None else y[rows]
    settings: dict[str, Any] = {"batch": BATCH, "seed": asked.seed}
    try:
        x, levels, law = prepared(target.field, dataset, x, y, asked.seed, levels=told)
        settings |= {"levels": levels, "terminal": law}
        with progress_bar("likelihood", 2 * len(x)) as bar:
            card = likelihood_card(target.field, x, y=y, progress=bar.advance, **settings)
    except ValueError as error:
        return None, str(error)
    r = card.result
    return card, refusal(r.status, r.nfe_per_row, "points of the likelihood")


def _dataset(target: Target, place: str | None) -> Dataset:
    """The data to measure samples against.

    Raises:
        ValueError: data of another shape, or of other classes.
    """
    dataset = target.dataset(place)
    target.require_fits(dataset, place or dataset.name, target.classes is not None)
    return dataset
