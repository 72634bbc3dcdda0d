"""``diffode interpolate``."""

from __future__ import annotations

from functools import partial

import torch
import typer
from torch import Tensor

from diffode.cli.classes import named_labels
from diffode.cli.encoding import moves_of
from diffode.cli.guiding import guided_target, require_labels
from diffode.cli.moves import Interpolate
from diffode.cli.outcome import deliver, require_out
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.cli.units import points_in
from diffode.data.scaling import model_units
from diffode.fields.base import Latent
from diffode.interop.pipelines import pixels
from diffode.options import counted
from diffode.runs.costs import each_took
from diffode.runs.guiding import Guidance
from diffode.runs.targets import Target
from diffode.sampling.interpolation import interpolate, random_pairs
from diffode.viz import samples_picture
from diffode.viz.images import is_image
from diffode.viz.sheet import ACROSS, DOWN
from diffode.viz.text import class_name

_LABELS = "give --label, or a file that has labels (y)"
PAIRS = 5  # that are drawn where no number is given
Labels = tuple[Tensor, Tensor] | None


def command(asked: Interpolate) -> None:
    """Write the points on the ways between pairs."""
    require_out(asked.out, ".png", ".npz", file=asked.file)
    for option, value in (("--pairs", asked.pairs), ("--seed", asked.seed)):
        if asked.file is not None and value is not None:
            raise ValueError(f"got {asked.file} and {option}, which is for random pairs alone")
    target, guidance = guided_target(asked)
    told = moves_of(asked, target, pairs(asked.assignments), True, asked.file is not None)
    (a, b), labels = _ends(asked, target)
    require_labels(target, guidance, labels is not None, _LABELS)
    count = len(a) if isinstance(a, Tensor) else len(a.x)
    _require_fits(asked, target, count)
    told |= {} if labels is None else {"y": labels[0], "y_b": labels[1]}
    encoded = 0 if asked.file is None else 2 * count
    with progress_bar("interpolate", encoded + count * asked.count) as bar:
        way = interpolate(target.field, a, b, asked.count, progress=bar.advance, **told)
    row = torch.arange(count).repeat_interleave(asked.count)
    took = each_took(way.nfe, way.network_calls)
    x, heads = model_units(way.x, target.field.scaling), _heads(labels, count, target)
    title = _title(asked, target, guidance, took)
    seen = pixels(target.field, x)
    images = None if seen is x else seen
    picture = partial(
        samples_picture, seen.cpu(), title=title, y=row, names=heads, called="points on the ways"
    )
    deliver(
        asked.out, "points", way.status, way.nfe_per_row, picture, x=way.x, pair=row, pixels=images
    )
    said = f"{counted(count, 'pair')}, {asked.count} points each, {took}"
    typer.echo(f"wrote {asked.out} ({said})" + _round_trip(a, b, way.x))


def _title(asked: Interpolate, target: Target, guidance: Guidance | None, took: str) -> str:
    """What a picture says of its points: between which they are, and how."""
    how = [] if guidance is None else [str(guidance)]
    how += [took, *([f"seed {asked.seed or 0}; nothing selected"] if asked.file is None else [])]
    ends = "samples" if asked.file is None else f"points of {asked.file.name}"
    return f"{target.called}, between {ends}\n{', '.join(how)}"


def _ends(
    asked: Interpolate, target: Target
) -> tuple[tuple[Tensor, Tensor] | tuple[Latent, Latent], Labels]:
    """The pairs, points of the file or random latents, and the labels of both ends."""
    named = None if asked.label is None else named_labels(asked.label, target)
    if named is not None and len(named) > 2:
        raise ValueError(f"got --label {asked.label}; wanted one class, or two for the two ends")
    if asked.file is None:
        count = asked.pairs or PAIRS
        return random_pairs(target.field, count, asked.seed or 0), _both(named, count)
    x, y = points_in(asked.file, target)
    if len(x) % 2:
        raise ValueError(f"{asked.file}: got {len(x)} points; wanted pairs, an even number")
    if y is not None and named is not None:
        raise ValueError(
            f"got --label, and {asked.file} has labels (y); leave one of the two away"
        )
    own = None if y is None else (y[::2], y[1::2])
    return (x[::2], x[1::2]), own if own is not None else _both(named, len(x) // 2)


def _both(named: list[int] | None, count: int) -> Labels:
    """The labels of --label for the two ends of each pair."""
    if named is None:
        return None
    return torch.full((count,), named[0]), torch.full((count,), named[-1])


def _require_fits(asked: Interpolate, target: Target, count: int) -> None:
    """Refuse a picture that would leave points out."""
    drawn = asked.out.suffix == ".png" and is_image(target.field.event_shape)
    if drawn and (asked.count > ACROSS or count > DOWN):
        raise ValueError(
            f"got {count} pairs with {asked.count} images each; a picture shows {DOWN} rows of "
            f"{ACROSS} at most: write a .npz file"
        )


def _heads(labels: Labels, count: int, target: Target) -> list[str]:
    """What stands in front of each pair: its classes, or its number."""
    if labels is None:
        return [str(k + 1) for k in range(count)]
    names = target.class_names
    ends = [[class_name(label, names) for label in end.tolist()] for end in labels]
    return [a if a == b else f"{a} - {b}" for a, b in zip(*ends, strict=True)]


def _round_trip(a: Tensor | Latent, b: Tensor | Latent, x: Tensor) -> str:
    """How far the ends are from the points that were given."""
    if isinstance(a, Latent) or isinstance(b, Latent):
        return ""
    ways = x.view(len(a), -1, *x.shape[1:])
    gaps = [(ways[:, k].cpu() - end.to(x.dtype)).flatten(1) for k, end in ((0, a), (-1, b))]
    error = float(torch.cat(gaps).square().mean().sqrt())
    return f"; the ends come back to an rms error of {error:.2g}"
