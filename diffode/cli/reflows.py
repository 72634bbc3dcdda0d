"""The command that straightens a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import SEEDS, Nfe, Trust, Weights
from diffode.cli.stated import command


@command("reflow", "reflowing:command", processes="own")
class Reflow:
    """Train a rectified flow on the pairs of noise and sample that a run's own ODE makes.

    Its paths are nearly straight, so that few steps are enough. The same command again goes on
    where it was stopped.
    """

    run: Annotated[str, typer.Argument(metavar="RUN", help="a run, or a checkpoint in one")]
    pairs: Annotated[int, typer.Option(help="how many to make and to learn from", min=1)] = 8000
    solver: Annotated[
        str | None,
        typer.Option(help="that makes them [the run's]", autocompletion=completing.solvers),
    ] = None
    nfe: Nfe = None
    steps: Annotated[int | None, typer.Option(help="training steps [the run's]")] = None
    batch: Annotated[int | None, typer.Option(help="samples in a step [the run's]")] = None
    seed: Annotated[int, typer.Option(help="of pairs, weights and their order", **SEEDS)] = 0
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="any option of rectified or the trainer"),
    ] = None
    data: Annotated[
        str | None, typer.Option(help="what samples are measured against [the run's data]")
    ] = None
    out: Annotated[Path | None, typer.Option(help="run directory [RUN-reflow]")] = None
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto"
    samples: Annotated[int, typer.Option(help="drawn at the end to measure", min=20)] = 2000
    weights: Weights = "ema"
    trust: Trust = False
