"""The command that makes a flow map of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffode.cli.shared import SEEDS, Guided
from diffode.cli.stated import command


@command("distil", "distilling:command", processes="own")
class Distil(Guided):
    """Distil a run into a flow map, which draws a sample in 1, 2 or 4 evaluations.

    The result is a run as any other: sample, eval, bench and likelihood take it. A guided field is
    distilled with --guidance, and its student is told the label alone.

    One that was stopped goes on with --resume OUT, the same TARGET and the same guidance.
    """

    nfe: Annotated[int | None, typer.Option(help="evaluations that it is for: 1, 2 or 4 [1]")] = (
        None
    )
    objective: Annotated[
        str | None,
        typer.Option(help="pairs, lagrangian, progressive, meanflow or consistency [pairs]"),
    ] = None
    from_data: Annotated[
        bool,
        typer.Option(
            "--from-data", help="learn the data's velocity, not the run's: its weights alone"
        ),
    ] = False
    pairs: Annotated[
        int | None, typer.Option(help="paths to learn from [8192, of points 16384]", min=2)
    ] = None
    pairs_nfe: Annotated[
        int | None,
        typer.Option("--pairs-nfe", help="evaluations of each [12, of points 32]", min=2),
    ] = None
    steps: Annotated[
        int | None, typer.Option(help="training steps [500, of points 1400]", min=1)
    ] = None
    seed: Annotated[int | None, typer.Option(help="of the training [0]", **SEEDS)] = None
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="an option of flowmap or the trainer"),
    ] = None
    samples: Annotated[int, typer.Option(help="drawn at the end to measure", min=20)] = 2000
    resume: Annotated[Path | None, typer.Option(help="go on with this run of distil")] = None
    out: Annotated[Path | None, typer.Option(help="run directory [RUN-NFE]")] = None
