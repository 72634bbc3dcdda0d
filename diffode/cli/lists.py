"""What there is: fields, solvers, data sets. The lists of fields and data need no torch."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def show(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as a table with aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def fields() -> None:
    """Print the fields with one line and the reference of each, then the aliases."""
    from diffode.recipes import aliases, find, names

    show([(r.name, r.about, r.reference) for r in map(find, names())])
    typer.echo("also: " + ", ".join(f"{a} = {name}" for a, name in aliases().items()))


def solvers() -> None:
    """Print the solvers with one line each."""
    from diffode.solvers import DEFAULT, describe

    show(describe())
    typer.echo(f"default: {DEFAULT}")


def data() -> None:
    """Print the data sets with one line and the source of each."""
    from diffode.data import describe

    show(describe())
    typer.echo(
        "or a path to a .npy file, a .npz file with x and perhaps y, or a folder of IDX files"
    )
