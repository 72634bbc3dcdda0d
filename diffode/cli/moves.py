"""The commands that move given points: to the prior, back, and to other data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import Nfe, OnWeights, SolverOptions, Steps
from diffode.cli.stated import command


@dataclass(frozen=True, kw_only=True)
class Carry(OnWeights):
    """What both ways between data and prior are told."""

    solver: Annotated[
        str | None,
        typer.Option(
            help="see diffode solvers [dopri5 at 1e-7; with --nfe or --steps the default]",
            autocompletion=completing.solvers,
        ),
    ] = None
    nfe: Nfe = None
    steps: Steps = None
    grid: Annotated[str | None, typer.Option(help="a kind of time grid")] = None
    assignments: SolverOptions = None


@command("encode", "encoding:encode_command")
class Encode(Carry):
    """Carry points to the prior.

    It says what the way there and back loses.
    """

    file: Annotated[Path, typer.Argument(metavar="FILE", help="points, .npy or .npz")]
    out: Annotated[Path, typer.Option(help="a .npz file")] = Path("latents.npz")


@command("decode", "encoding:decode_command")
class Decode(Carry):
    """Carry latents to the data."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="latents, .npy or .npz")]
    final: Annotated[str, typer.Option(help="none, or denoise")] = "none"
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("decoded.png")
