"""``diffode export``."""

from __future__ import annotations

import typer

from diffode.cli.handing import Export
from diffode.export.pipeline import to_diffusers


def command(asked: Export) -> None:
    """Write a run as a pipeline, and say what it needs to be sampled."""
    if asked.form != "diffusers":
        raise ValueError(f"got --format {asked.form}; wanted diffusers")
    options = {"plain": asked.plain, "trust": asked.trust}
    made = to_diffusers(asked.run, asked.folder, asked.weights, **options)
    typer.echo(f"wrote {made.folder}; fill in the license in its README.md")
    if made.why:
        typer.echo(f"import diffode.interop before it is loaded; for plain diffusers, {made.why}")
    else:
        typer.echo("diffusers samples it without diffode")
