"""Tables: columns of numbers in a .csv, .tsv or .parquet file, and perhaps one of labels.

The first line of a text names the columns; cells are parted by commas, semicolons or tabs,
whichever that line has most of. What is learned is `columns`, or all that are numbers but the
`label`. Labels are whole numbers or texts, which become the names of the classes. A cell without a
number is refused with its line and column, and none is filled in.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffode.data.arrays import Given, split
from diffode.data.base import Dataset
from diffode.data.npy import Array
from diffode.data.parquet_images import damage_named, opened, within_others
from diffode.data.reading import Reading
from diffode.inputs import brief, quoted, require_file
from diffode.options import suggest

TEXTS = ".csv", ".tsv"
OPTIONS = "scale", "columns", "label"


@dataclass(frozen=True)
class Table:
    """Columns of numbers, and one of labels.

    Attributes:
        names: of the columns that are learned.
        x: their numbers, (M, D), float64.
        y: the labels, (M,), or None.
        others: the columns that hold no numbers and were not asked for.
    """

    names: Sequence[str]
    x: Array
    y: Array | None
    others: Sequence[str]


def dataset(path: Path, seed: int, reading: Reading) -> Dataset:
    """The data set in a table; `seed` chooses the tenth of the rows that is held out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no readable table, columns that it has not, or cells without a number.
    """
    try:
        table = (
            _of_text(path, reading) if path.suffix.lower() in TEXTS else _of_file(path, reading)
        )
        found = split(Given(table.x, table.y), path.name, seed, reading, OPTIONS)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    notes = [f"columns: {', '.join(table.names)}"]
    if table.others:
        notes.append(f"left out, as they hold no numbers: {', '.join(table.others)}")
    return replace(found, notes=tuple(brief(note) for note in notes))


def chosen(names: Sequence[str], numbers: Sequence[str], reading: Reading) -> list[str]:
    """The columns that are learned.

    Arguments:
        names: of all columns.
        numbers: of those that hold numbers.
        reading: what was asked for.

    Raises:
        ValueError: a name that stands twice or that no column has, or no column at all.
    """
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"got two columns named {quoted(name)}; give each its own name")
    for name in (*(reading.columns or ()), *([reading.label] if reading.label else [])):
        if name not in names:
            known = brief(", ".join(names), 200)
            raise ValueError(
                f"has no column {quoted(name)}; {suggest(name, list(names))}columns: {known}"
            )
    taken = list(reading.columns or (name for name in numbers if name != reading.label))
    if not taken or reading.label in taken or len(set(taken)) < len(taken):
        raise ValueError(
            f"got the columns {quoted(taken)} and the label {quoted(reading.label)}; wanted one "
            "or more columns of numbers, each once, and the label not among them"
        )
    return taken


# --------------------------------------------------------------------------------------- texts


def _of_text(path: Path, reading: Reading) -> Table:
    try:
        with require_file(path).open(newline="", encoding="utf-8-sig") as file:
            delimiter = max(",;\t", key=(first := file.readline()).count)
            file.seek(0)
            return _columns(csv.reader(file, delimiter=delimiter), first, reading)
    except UnicodeDecodeError:
        raise ValueError("it is not a text in UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"it is no table: {error}") from None


def _columns(lines: Any, first: str, reading: Reading) -> Table:  # noqa: ANN401
    """The columns of lines, the first of which names them."""
    names = [name.strip() for name in next(lines, [])]
    if not names or all(_number(name) is not None for name in names):
        raise ValueError(
            f"got {quoted(brief(first, 60))} as its first line; wanted the names of the columns"
        )
    rows = _rows(lines, len(names))
    line, row = next(rows, (0, [""] * len(names)))
    numbers = [name for name, cell in zip(names, row, strict=True) if _number(cell) is not None]
    taken = chosen(names, numbers, reading)
    places = [names.index(name) for name in taken]
    where = None if reading.label is None else names.index(reading.label)
    values, labels = array("d"), []
    while line:
        for place in places:
            value = _number(row[place])
            if value is None:
                raise ValueError(_lacking(f"line {line}", names[place], row[place]))
            values.append(value)
        if where is not None:
            labels.append(row[where].strip())
        line, row = next(rows, (0, row))
    x = np.frombuffer(values).reshape(-1, len(taken)) if values else np.empty((0, len(taken)))
    others = [name for name in names if name not in (*numbers, reading.label)]
    y = None if where is None else _labels(labels)
    return Table(taken, x, y, [] if reading.columns else others)


def _rows(lines: Any, width: int) -> Iterator[tuple[int, list[str]]]:  # noqa: ANN401
    """The lines that hold something, each with its number."""
    for row in lines:
        if not row:
            continue
        if len(row) != width:
            raise ValueError(f"line {lines.line_num} has {len(row)} cells; wanted {width}")
        yield lines.line_num, row


def _number(text: str) -> float | None:
    """The number that a cell holds, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _lacking(where: str, column: str, cell: object) -> str:
    return (
        f"{where}, column {quoted(column)}: got {quoted(cell)}; wanted a number; drop or fill "
        "such rows, or choose other columns with --columns"
    )


def _labels(texts: list[str]) -> Array:
    """Labels as whole numbers if all are such, else as texts."""
    for line, text in enumerate(texts):
        if not text:
            raise ValueError(f"row {line}: the label is empty; wanted a number or a text")
    if all(text.isascii() and text.isdigit() for text in texts):
        return np.array([int(text) for text in texts], np.int64)
    return np.array(texts)


# ------------------------------------------------------------------------------------- parquet


def _of_file(path: Path, reading: Reading) -> Table:
    """The columns of a parquet file."""
    from pyarrow import types

    file = opened(path)
    schema = file.schema_arrow
    kinds = {field.name: field.type for field in schema}
    numbers = [n for n, k in kinds.items() if types.is_integer(k) or types.is_floating(k)]
    for name, kind in kinds.items():
        if reading.columns is None and within_others(kind):
            raise ValueError(
                f"column {quoted(name)} holds {kind}; images are taken from a column with one in "
                "each row, as bytes or {bytes, path}; to learn numbers say --columns"
            )
    taken = chosen(schema.names, numbers, reading)
    others = [name for name in kinds if name not in (*numbers, reading.label)]
    for name in taken:
        if name not in numbers:
            raise ValueError(f"column {quoted(name)} holds {kinds[name]}; wanted numbers")
    with damage_named(path.name):
        table = file.read(columns=[*taken, *([reading.label] if reading.label else [])])
    x = np.stack([_filled(table, name) for name in taken], 1)
    y = None if reading.label is None else _labels([str(v) for v in _filled(table, reading.label)])
    return Table(taken, x, y, [] if reading.columns else others)


def _filled(table: Any, name: str) -> Array:  # noqa: ANN401
    """A column of which no cell is empty."""
    column = table[name]
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(_lacking(f"row {row}", name, None))
    values: Array = column.to_numpy()
    return values.astype(np.float64) if values.dtype.kind == "f" else values
