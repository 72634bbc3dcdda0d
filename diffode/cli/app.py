"""How a command is run, and how it fails."""

from __future__ import annotations

import os
from typing import Any

import typer

from diffode.cli import commands, comparisons, lists  # noqa: F401  # they register themselves
from diffode.cli.failing import explained, fail, warnings_as_lines
from diffode.cli.shared import app
from diffode.cli.signals import Ended, ending_signals

_UsageError: Any = typer.BadParameter.__base__  # typer's own, wherever it keeps it


def run(arguments: list[str]) -> int:
    """Run a command; the exit code."""
    try:
        with ending_signals(), warnings_as_lines():
            code = app(arguments or ["--help"], standalone_mode=False)
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        return fail(error.format_message())
    except Ended as error:
        typer.echo(str(error), err=True)
        return error.code
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        return 130
    except Exception as error:
        if os.environ.get("DIFFODE_TRACEBACK"):
            raise
        return fail(explained(error))
