"""What there is: fields, solvers, data sets. The lists need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import (
    AxesAs,
    Background,
    Columns,
    Grey,
    LabelColumn,
    Resize,
    Scale,
    app,
    reading,
)
from diffode.meanings import Option, described
from diffode.options import shown
from diffode.tables import Table

_COLUMNS = ("values", "range", "default", "meaning")  # of a table of options


def show(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as a table with aligned columns."""
    typer.echo(Table([""] * len(rows[0]), rows).text())


@app.command()
def fields() -> None:
    """List the fields that can be trained."""
    from diffode import registry

    show(registry.describe("recipe"))
    _show_aliases("recipe")


def _show_aliases(kind: str) -> None:
    """Print the other names of a kind, and what they stand for."""
    from diffode import registry

    also = registry.aliases(kind).items()
    typer.echo("also: " + ", ".join(f"{alias} = {name}" for alias, name in also))


@app.command()
def solvers() -> None:
    """List the solvers."""
    from diffode import registry
    from diffode.solvers import DEFAULT

    show(registry.describe("solver"))
    _show_aliases("solver")
    typer.echo(f"default: {DEFAULT}")


@app.command()
def options(
    field: Annotated[
        str | None,
        typer.Argument(
            metavar="FIELD",
            help="a name of diffode fields",
            autocompletion=completing.fields,
        ),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(help="a name of diffode solvers", autocompletion=completing.solvers),
    ] = None,
) -> None:
    """List the options of a field or a solver.

    Those of its network and its training are among them.
    """
    if field is None and solver is None:
        raise ValueError("give FIELD, --solver NAME or both; diffode fields lists the fields")
    tables = [] if field is None else _of_field(field)
    if solver is not None:
        from diffode.solvers import maker

        tables.append((f"solver {solver}", described(maker(solver))))
    for title, rows in tables:
        if not rows:
            typer.echo(f"{title}: it has no options")
            continue
        show([(title, *_COLUMNS), *((f"  {row.name}", *astuple(row)[1:]) for row in rows)])


def _of_field(name: str) -> list[tuple[str, list[Option]]]:
    """The options of a recipe, of what all recipes share, and of the trainer."""
    from diffode.recipes import find
    from diffode.recipes.compose import make_given
    from diffode.runs.plan import OWN
    from diffode.training.trainer import train

    recipe = find(name, run=True)
    usual = {key: shown(value) for key, value in recipe.training.items()}
    training = [
        replace(option, default=usual.get(option.name, option.default))
        for option in described(train)
        if option.name not in OWN
    ]
    return [
        (f"field {recipe.name}", described(recipe.function)),
        ("network", described(make_given)),
        ("training", training),
    ]


@app.command()
def data(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="a name of the list, a path, or file.py:name, which is run",
            autocompletion=completing.data,
        ),
    ] = None,
    scale: Scale = None,
    layout: AxesAs = None,
    resize: Resize = None,
    grey: Grey = None,
    background: Background = None,
    columns: Columns = None,
    label: LabelColumn = None,
    out: Annotated[Path | None, typer.Option(help="a .png of some rows of SOURCE")] = None,
) -> None:
    """List the data sets, or say what one of them holds."""
    if source is not None:
        from diffode.cli import holding

        images = {"resize": resize, "grey": grey, "background": background}
        numbers = {"scale": scale, "layout": layout, "columns": columns, "label": label}
        return holding.command(source, reading(SimpleNamespace(**images, **numbers)), out)
    from diffode import registry

    show(registry.describe("source"))
    typer.echo(
        "or a path to a .npy file, a .npz file with x and perhaps y, a .csv or .parquet table, "
        "a folder of images with a sub-folder for each class, or a folder of IDX files; or "
        "file.py:name, a function of the seed that returns data"
    )
