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
    choose a set, drag time, compare fields, solvers and guidance. With --serve there is no file:
    it has an address on this machine.
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
    out: Annotated[Path | None, typer.Option(help="a .html file [explorer.html]")] = None
    serve: Annotated[
        bool,
        typer.Option("--serve", help="write no file: serve it to this machine until Ctrl-C"),
    ] = False
    port: Annotated[
        int | None, typer.Option(help="where to serve [a free one]", min=1, max=65535)
    ] = None
