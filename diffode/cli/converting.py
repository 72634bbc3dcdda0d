"""``diffode convert``."""

from __future__ import annotations

from pathlib import Path

import typer

from diffode.cli.commands import Convert
from diffode.interop.edm import convert_edm, from_edm


def command(asked: Convert) -> None:
    """Write the folder, and say what field it holds."""
    out = Path(asked.file.stem) if asked.out is None else asked.out
    folder = convert_edm(asked.file, out)
    typer.echo(str(from_edm(folder)))
    typer.echo(f"wrote {folder}")
