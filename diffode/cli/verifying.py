"""``diffode verify``."""

from __future__ import annotations

import typer

from diffode.cli.comparisons import Verify
from diffode.cli.progress import progress_bar
from diffode.options import counted
from diffode.runs.verify import Verification


def command(asked: Verify) -> int:
    """Verify a run, print a line for each thing, and return 1 if one is wrong."""
    wrong, unknown, number = 0, 0, 0
    with progress_bar("draw", asked.n or 1) as bar:
        how = asked.data, asked.n, asked.device, asked.trust, bar.advance
        for found in Verification(asked.target, *how).findings():
            typer.echo(str(found))
            number, wrong = number + 1, wrong + (found.ok is False)
            unknown += found.ok is None
    if wrong:
        typer.echo(f"{wrong} of {number} lines wrong")
        return 1
    doubt = f"nothing is wrong ({counted(unknown, 'line')} cannot tell)"
    typer.echo(doubt if unknown else "all is well")
    return 0
