"""The commands that move given points: to the prior, back, and to other data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import SEEDS, Guided, Nfe, OnWeights, SolverOptions, Steps
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


@command("encode", "encoding:encode_command", processes="shared")
class Encode(Carry):
    """Carry points to the prior.

    It says what the way there and back loses.
    """

    file: Annotated[Path, typer.Argument(metavar="FILE", help="points, .npy or .npz")]
    out: Annotated[Path, typer.Option(help="a .npz file")] = Path("latents.npz")


@command("decode", "encoding:decode_command", processes="shared")
class Decode(Carry):
    """Carry latents to the data."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="latents, .npy or .npz")]
    final: Annotated[str, typer.Option(help="none, or denoise")] = "none"
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("decoded.png")


@command("interpolate", "interpolating:command")
class Interpolate(Carry, Guided):
    """Draw the way between points, or between random samples.

    Their latents are interpolated, and each of those leads to a point. A FILE has pairs of points,
    the first with the second, the third with the fourth, and so on.
    """

    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="pairs of points, .npy or .npz")
    ] = None
    pairs: Annotated[int | None, typer.Option(help="random pairs, without FILE [5]", min=1)] = None
    count: Annotated[int, typer.Option(help="points from one to the other, both included")] = 9
    label: Annotated[
        str | None,
        typer.Option(help="the class, by number or name; or the classes of the two ends, as 3,8"),
    ] = None
    seed: Annotated[int | None, typer.Option(help="of random pairs [0]", **SEEDS)] = None
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("interpolated.png")


@command("edit", "editing:command")
class Edit(Carry, Guided):
    """Change points by noise and the flow back.

    What the noise hides is drawn anew, as the class of --label if one is given.
    """

    file: Annotated[Path, typer.Argument(metavar="FILE", help="points, .npy or .npz")]
    strength: Annotated[
        float, typer.Option(help="above 0, where points stay, to 1, where nothing of them is left")
    ] = 0.5
    label: Annotated[
        str | None,
        typer.Option(help="the class to end in; several as 0,1,2, or all [that in FILE, if any]"),
    ] = None
    seed: Annotated[int | None, typer.Option(help="of the noise [0]", **SEEDS)] = None
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="encode points, told their class; no noise")
    ] = False
    source_label: Annotated[
        str | None,
        typer.Option(help="the class of points to encode, or none to tell none [that in FILE]"),
    ] = None
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("edited.png")
