"""``diffode check``."""

from __future__ import annotations

import time

import typer

from diffode.cli.comparisons import Check
from diffode.cli.guiding import target_of
from diffode.cli.progress import Bar
from diffode.options import counted
from diffode.testing import diagnose

_QUIET = 2.0  # seconds before progress is shown


def command(asked: Check) -> int:
    """Check a field, print a line for each check, and return 1 if one is wrong."""
    target = target_of(asked)
    known = asked.data is not None or target.plan is not None
    dataset = target.dataset(asked.data) if known else None
    bar, begun = Bar("check", 1), time.monotonic()

    def progress(done: int, of: int) -> None:
        if time.monotonic() - begun > _QUIET:
            bar.advance(done, total=of)

    try:
        report = diagnose(target.field.eval(), dataset, progress=progress)
    finally:
        bar.close()
    typer.echo(str(report))
    if dataset is None:
        typer.echo("no data given, so nothing was compared with an exact field: use --data")
    applied = [f for f in report.findings if f.applies]
    wrong, unsure = len(report.failures()), sum(f.ok is None for f in applied)
    if not wrong:
        doubt = f"no mistake found ({counted(unsure, 'check')} cannot tell)"
        typer.echo(doubt if unsure else "all is well")
        return 0
    named = f": {', '.join(report.mistakes)}" if report.mistakes else ""
    typer.echo(f"{wrong} of {len(applied)} checks failed{named}")
    return 1
