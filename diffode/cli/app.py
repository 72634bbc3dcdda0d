"""How a command is run, and how it fails."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from io import TextIOWrapper
from platform import python_version
from typing import Annotated, Any

import typer

from diffode import __version__
from diffode.cli import (  # they register themselves
    commands,  # noqa: F401
    comparisons,  # noqa: F401
    exploration,  # noqa: F401
    handing,  # noqa: F401
    lists,  # noqa: F401
    maps,  # noqa: F401
    moves,  # noqa: F401
    picturing,  # noqa: F401
    reflows,  # noqa: F401
    restorations,  # noqa: F401
)
from diffode.cli.failing import explained, fail, quiet_beside_the_first, warnings_as_lines
from diffode.cli.reading import reading_shown
from diffode.cli.shared import app
from diffode.cli.signals import Ended, ending_signals
from diffode.code import blamed
from diffode.sharing import speaks

_UsageError: Any = typer.BadParameter.__base__  # typer's own, wherever it keeps it


def _version(asked: bool) -> None:
    """Print the versions that decide what a run gives, and end."""
    if asked:
        typer.echo(f"diffode {__version__}, torch {version('torch')}, Python {python_version()}")
        raise typer.Exit


@app.callback()
def _any_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the versions")
    ] = False,
) -> None:
    """Generative models that are ODEs: train, sample and compare them with one interface."""


def run(arguments: list[str]) -> int:
    """Run a command; the exit code."""
    _let_print_any_name()
    try:
        with ending_signals(), quiet_beside_the_first(), warnings_as_lines(), reading_shown():
            code = app(arguments or ["--help"], standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        return fail(error.format_message())
    except Ended as error:
        if speaks():
            typer.echo(str(error), err=True)
        return error.code
    except (typer.Abort, KeyboardInterrupt):
        if speaks():
            typer.echo("interrupted", err=True)
        return 130
    except (Exception, SystemExit) as error:
        ends = isinstance(error, SystemExit) and not blamed(error)  # as completion does
        if ends or os.environ.get("DIFFODE_TRACEBACK"):
            raise
        return fail(explained(error))


def _let_print_any_name() -> None:
    """Show the bytes of a file name that are no text as ``\\udcff``, where a print would fail."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
