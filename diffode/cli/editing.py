"""``diffode edit``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import typer
from torch import Tensor

from diffode.cli.classes import named_labels
from diffode.cli.encoding import moves_of
from diffode.cli.guiding import guided_target, require_labels
from diffode.cli.moves import Edit
from diffode.cli.outcome import deliver, require_out
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.cli.units import points_in
from diffode.data.scaling import model_units
from diffode.fields.affine import AffineField
from diffode.interop.pipelines import is_latent, pixels
from diffode.options import counted
from diffode.runs.costs import each_took
from diffode.runs.guiding import Guidance
from diffode.runs.targets import Target
from diffode.sampling.editing import edit, require_flow, time_at
from diffode.solvers import Solution
from diffode.viz import samples_picture
from diffode.viz.text import class_name

_LABELS = "give --label, and for --deterministic --source-label or a file that has labels (y)"


class Points(NamedTuple):
    """The points of a file, as often as they are edited.

    Attributes:
        given: as the file has them, shape (M, *event).
        x: all of them for each class, shape (B, *event).
        y_source, y: their labels and those to end with, shape (B,), or None; or "none" for
            points that are encoded without a label.
        heads: what a picture calls each edit of them all.
    """

    given: Tensor
    x: Tensor
    y_source: Tensor | Literal["none"] | None
    y: Tensor | None
    heads: list[str]


def command(asked: Edit) -> None:
    """Write what becomes of a file's points."""
    require_out(asked.out, ".png", ".npz", file=asked.file)
    if asked.deterministic and asked.seed is not None:
        raise ValueError("got --deterministic and --seed; nothing is drawn without noise")
    if asked.source_label is not None and not asked.deterministic:
        raise ValueError("got --source-label without --deterministic, which alone encodes points")
    target, guidance = guided_target(asked)
    _require_noise(asked, target)
    time_at(target.field, asked.strength)
    points = _points(asked, target)
    known = points.y is not None and (
        isinstance(points.y_source, Tensor) or not asked.deterministic
    )
    require_labels(target, guidance, known, _LABELS)
    found = _edited(asked, target, points)
    took = each_took(found.nfe, found.network_calls)
    picture = partial(_picture, target, points, found, _title(asked, target, guidance, took))
    images = pixels(target.field, found.x) if is_latent(target.field) else None
    arrays = {"x": found.x, "y": points.y, "pixels": images}
    deliver(asked.out, "points", found.status, found.nfe_per_row, picture, **arrays)
    typer.echo(f"wrote {asked.out} ({counted(len(found.x), 'point')}, {took})")


def _require_noise(asked: Edit, target: Target) -> None:
    """Refuse to add noise where a field states none.

    Raises:
        TypeError: it does not, and --deterministic was not given.
        ValueError: a field that has no way back from data.
    """
    require_flow(target.field)
    if not (asked.deterministic or isinstance(target.field, AffineField)):
        raise TypeError(
            f"the field of {target.name} is of type {type(target.field).__name__}, which states "
            "no noise to add to points; give --deterministic, which encodes them"
        )


def _points(asked: Edit, target: Target) -> Points:
    """What a command edits, and the labels of --label or else of the file."""
    named = None if asked.label is None else named_labels(asked.label, target)
    given, own = points_in(asked.file, target)
    source = _source(asked, target, len(given), own)
    if source is None and named is not None and asked.deterministic:
        raise ValueError(
            f"got --label, and no labels (y) in {asked.file} to encode its points with; give "
            "--source-label, the class that they are of, or --source-label none to tell none"
        )
    if named is None:
        y = source if own is None and isinstance(source, Tensor) else own
        return Points(given, given, source, y, ["edited"])
    many = len(named)
    x, y = given.repeat(many, *[1] * (given.ndim - 1)), torch.tensor(named)
    heads = [class_name(label, target.class_names) for label in named]
    source = source.repeat(many) if isinstance(source, Tensor) else source
    return Points(given, x, source, y.repeat_interleave(len(given)), heads)


def _source(
    asked: Edit, target: Target, rows: int, own: Tensor | None
) -> Tensor | Literal["none"] | None:
    """The labels to encode the points of a file with: --source-label's, or else its own."""
    label = asked.source_label
    if label is None:
        return own
    if label == "none" and label not in target.class_names:
        return "none"
    named = named_labels(label, target, "--source-label")
    if len(named) > 1:
        raise ValueError(f"got --source-label {label}; wanted one class, or none")
    return torch.full((rows,), named[0])


def _edited(asked: Edit, target: Target, points: Points) -> Solution:
    """The points, edited."""
    told = moves_of(asked, target, pairs(asked.assignments), True, asked.deterministic)
    told |= {"y_source": points.y_source} if asked.deterministic else {"seed": asked.seed or 0}
    with progress_bar("edit", len(points.x)) as bar:
        return edit(
            target.field,
            points.x,
            asked.strength,
            points.y,
            deterministic=asked.deterministic,
            progress=bar.advance,
            **told,
        )


def _title(asked: Edit, target: Target, guidance: Guidance | None, took: str) -> str:
    """What a picture says of its points: where they come from, and what was done to them."""
    how = [f"strength {asked.strength:g}", *([] if guidance is None else [str(guidance)]), took]
    how += ["deterministic" if asked.deterministic else f"seed {asked.seed or 0}"]
    return f"{target.called}, points of {asked.file.name}, edited\n{', '.join(how)}"


def _picture(target: Target, points: Points, found: Solution, title: str, path: Path) -> object:
    """The points of the file in the first row, and each edit of them all in a row below."""
    shown = torch.cat((points.given.to(found.x), found.x))
    row = torch.arange(len(shown)) // len(points.given)
    x, names = model_units(shown, target.field.scaling), ["given", *points.heads]
    x = pixels(target.field, x).cpu()
    called = "given and edited points"
    return samples_picture(x, path, title=title, y=row, names=names, called=called)
