"""``diffode edit``."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import typer
from torch import Tensor

from diffode.cli.classes import named_labels, require_labels
from diffode.cli.encoding import settings_of
from diffode.cli.moves import Edit
from diffode.cli.outcome import deliver, warn
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.data.points import read_points, unlike
from diffode.data.scaling import model_units
from diffode.files import require_writable
from diffode.options import counted
from diffode.runs.costs import each_took
from diffode.runs.guiding import Guidance, guidance_of
from diffode.runs.targets import Target, resolve
from diffode.sampling.choosing import solver_for
from diffode.sampling.editing import edit, time_at
from diffode.viz import samples_picture
from diffode.viz.text import class_name

_LABELS = "give --label, and for --deterministic a file that has labels (y)"


def command(asked: Edit) -> None:
    """Write what becomes of a file's points."""
    if asked.out.suffix not in (".png", ".npz"):
        raise ValueError(f"got --out {asked.out}; wanted a name that ends in .png or .npz")
    if asked.deterministic and asked.seed is not None:
        raise ValueError("got --deterministic and --seed; nothing is drawn without noise")
    require_writable(asked.out.parent)
    guidance = guidance_of(
        asked.guidance, asked.interval, asked.weak, asked.trust, asked.classifier
    )
    target = resolve(asked.target, asked.weights, asked.device, trust=asked.trust)
    target = target if guidance is None else guidance.of(target)
    field = target.field
    time_at(field, asked.strength)
    named = None if asked.label is None else named_labels(asked.label, target)
    given, own = read_points(asked.file, field.event_shape, target.classes, field.scaling)
    warn(unlike(asked.file, given, field.scaling))
    x, y_source, y = _rows(given, own, named)
    known = y is not None and (y_source is not None or not asked.deterministic)
    if guidance is not None:
        guidance.require_labels(known, _LABELS)
    if not known:
        require_labels(target, _LABELS)
    told: dict[str, Any] = (
        {"y_source": y_source} if asked.deterministic else {"seed": asked.seed or 0}
    )
    with progress_bar("edit", len(x)) as bar:
        found = edit(
            field,
            x,
            asked.strength,
            y,
            deterministic=asked.deterministic,
            progress=bar.advance,
            **told,
            **_moves(asked, target),
        )
    took = each_took(found.nfe, found.network_calls)
    shown = model_units(torch.cat((given.to(found.x), found.x)).cpu(), field.scaling)
    row = torch.arange(len(shown)) // len(given)
    heads = ["given", *(["edited"] if named is None else _names(named, target))]
    title = _title(asked, target, guidance, took)
    picture = partial(samples_picture, shown, title=title, y=row, names=heads)
    write = None if asked.out.suffix == ".npz" else picture
    deliver(asked.out, "points", found.status, found.nfe_per_row, write, x=found.x, y=y)
    typer.echo(f"wrote {asked.out} ({counted(len(x), 'point')}, {took})")


def _title(asked: Edit, target: Target, guidance: Guidance | None, took: str) -> str:
    """What a picture says of its points: where they come from, and what was done to them."""
    how = [f"strength {asked.strength:g}", *([] if guidance is None else [str(guidance)]), took]
    how += ["deterministic" if asked.deterministic else f"seed {asked.seed or 0}"]
    return f"{target.called}, points of {asked.file.name}\n{', '.join(how)}"


def _rows(
    x: Tensor, own: Tensor | None, named: list[int] | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The points to edit, their labels and those to end with: all points for each class."""
    if named is None:
        return x, own, own
    many = len(named)
    y = torch.tensor(named).repeat_interleave(len(x))
    return x.repeat(many, *[1] * (x.ndim - 1)), None if own is None else own.repeat(many), y


def _names(named: list[int], target: Target) -> list[str]:
    return [class_name(label, target.class_names) for label in named]


def _moves(asked: Edit, target: Target) -> dict[str, Any]:
    """How points are moved: as by encode and decode, or from the noise as by sample."""
    options = pairs(asked.assignments)
    moves = settings_of(asked, target.field, options, back=True)
    if not asked.deterministic:
        moves["solver"] = solver_for(target.field, asked.solver or target.solver, options)
    return moves
