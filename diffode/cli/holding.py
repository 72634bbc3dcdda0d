"""What a data set holds, for ``diffode data SOURCE``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import typer

from diffode.cli.outcome import require_out
from diffode.data import Dataset, load
from diffode.data.rows import some_rows
from diffode.data.scaling import data_units
from diffode.data.source import Samples, chunks, width
from diffode.data.watching import advanced
from diffode.viz import samples_picture

_SHOWN = 64  # rows in a picture, about


def command(source: str, reading: Mapping[str, Any], out: Path | None) -> None:
    """Print what a data set is made of, and draw some of its rows."""
    if out is not None:
        require_out(out, ".png")
    dataset = load(source, **reading)
    for line in _lines(dataset):
        typer.echo(line)
    if out is not None:
        _draw(dataset, out)
        typer.echo(f"wrote {out}")


def _lines(dataset: Dataset) -> Iterator[str]:
    yield repr(dataset)
    yield from dataset.notes
    yield from (f"left out: {name}" for name in dataset.left_out)
    low, high, std, copies = _measured(dataset)
    yield f"train points from {low:.4g} to {high:.4g}, std {std:.4g}"
    if dataset.scaling is not None:
        yield f"learned as {dataset.scaling}"
    if copies:
        yield f"{copies} train points are copies of others"
    if dataset.train_labels is not None:
        counts = dataset.train_labels.bincount(minlength=dataset.classes or 0).tolist()
        names = [f"{name} " for name in dataset.class_names or ()]
        names = names or [""] * len(counts)
        each = ", ".join(f"{name}{count}" for name, count in zip(names, counts, strict=True))
        yield f"train points of each class: {each}"


def _measured(dataset: Dataset) -> tuple[float, float, float, int]:
    """Least and largest value, standard deviation, and how many rows stood before, in a pass."""
    seen: set[bytes] = set()
    done, low, high, mean, square = 0, math.inf, -math.inf, 0.0, 0.0
    for part in _pieces(dataset.train):
        seen.update(blake2b(row.tobytes(), digest_size=16).digest() for row in part.numpy())
        x = data_units(part.double(), dataset.scaling)
        low, high = min(low, float(x.min())), max(high, float(x.max()))
        share = len(x) / (done + len(x))
        gap = float(x.mean()) - mean
        square += share * (float(x.var(correction=0)) - square + (1 - share) * gap**2)
        mean += share * gap
        done += len(x)
    return low, high, math.sqrt(square), done - len(seen)


def _pieces(x: Samples) -> Iterator[Any]:
    """All rows, a piece at a time, with its progress told."""
    done = 0
    for part in chunks(x):
        yield part
        done += len(part)
        advanced("look through the data", done, len(x))


def _draw(dataset: Dataset, out: Path) -> None:
    """A picture of rows, some of each class."""
    many = _SHOWN if width(dataset.train) > 2 else 10 * _SHOWN
    rows = some_rows(len(dataset.train), many, dataset.train_labels)
    y = None if dataset.train_labels is None else dataset.train_labels[rows]
    x = dataset.train[rows]
    samples_picture(
        x, out, title=dataset.name, y=y, names=dataset.class_names or (), called="points"
    )
