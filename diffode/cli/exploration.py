"""The command that writes the explorer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import Trust
from diffode.cli.stated import command


@command("explore", "exploring:command")
class Explore:
    """Write a page that shows exact fields of points side by side.

    It opens in any browser, from the file itself, and asks nothing of the network. Draw points or
    choose a set, drag time, compare fields, solvers and guidance.
    """

    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|DATA]",
            help="a run, whose data are shown; or a data set by name, path or code",
            autocompletion=completing.data,
        ),
    ] = None
    trust: Trust = False
    out: Annotated[Path, typer.Option(help="a .html file")] = Path("explorer.html")
