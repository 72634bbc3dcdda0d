"""The commands that draw: pictures and films."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import SEEDS, Nfe, OnWeights, SolverOptions, Steps
from diffode.cli.stated import command


@dataclass(frozen=True, kw_only=True)
class Drawn(OnWeights):
    """What commands that draw a field are told."""

    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET|FIELD",
            help=(
                "a run, a checkpoint, also of EDM or PFGM++, a folder of diffusers or "
                "hf:owner/name, code, which is run: file.py:name or package.module:name; or a "
                "name of diffode fields, for the exact field of --data"
            ),
            autocompletion=completing.fields,
        ),
    ]
    data: Annotated[
        str | None,
        typer.Option(
            help="drawn behind [the run's own], or what the exact field is of [moons]",
            autocompletion=completing.data,
        ),
    ] = None
    n: Annotated[
        int | None,
        typer.Option("--samples", "--n", help="how many, or pairs [by kind]", min=1, max=200_000),
    ] = None
    label: Annotated[
        str | None,
        typer.Option(help="the class, by number or name; several as 0,1,2, or all [any]"),
    ] = None
    per_class: Annotated[
        int | None, typer.Option("--per-class", help="how many of each class [10]", min=1)
    ] = None
    axes: Annotated[
        str | None,
        typer.Option(metavar="I,J", help="coordinates to draw, from 0 [principal axes]"),
    ] = None
    solver: Annotated[
        str | None, typer.Option(help="see diffode solvers", autocompletion=completing.solvers)
    ] = None
    seed: Annotated[int, typer.Option(help="of the samples", **SEEDS)] = 0
    title: Annotated[str | None, typer.Option(help="above the picture")] = None
    dark: Annotated[bool, typer.Option("--dark", help="light on dark")] = False
    assignments: SolverOptions = None


@command("plot", "plotting:command")
class Plot(Drawn):
    """Draw a picture of a field, for a page or a slide.

    The field is a TARGET's, or the exact one of a data set: a name of diffode fields and --data,
    as in diffode plot poisson --data moons --kind field-lines. Nothing is trained.

    The kinds: samples, paths (from prior to data), field-lines (along the velocity), density (at
    several times), strip (samples at several times), section (a cut through the field), loss (of
    a run) and interpolation. One that does not apply to a field says so.
    """

    kind: Annotated[
        str, typer.Option(help="what is drawn", autocompletion=completing.pictures)
    ] = "samples"
    times: Annotated[
        str | None,
        typer.Option(metavar="T,T,...", help="of the field's clock, from prior to data"),
    ] = None
    nfe: Nfe = None
    steps: Steps = None
    out: Annotated[Path, typer.Option(help="a .png, .svg or .pdf file")] = Path("plot.png")


@command("animate", "animating:command")
class Animate(Drawn):
    """Make a film of a field: samples on their way from the prior to the data.

    The field is a TARGET's or the exact one of a data set, as for diffode plot. Points move over
    the data, images appear out of noise; --density shows the law of points in the place of
    samples. A film of .gif or .webp needs nothing more, one of .mp4 the program ffmpeg.
    """

    density: Annotated[
        bool, typer.Option("--density", help="the log-density of points, not samples")
    ] = False
    frames: Annotated[int, typer.Option(help="how many", min=2, max=2000)] = 60
    fps: Annotated[float, typer.Option(help="frames a second", min=1, max=60)] = 20
    out: Annotated[Path, typer.Option(help="a .gif, .webp or .mp4 file")] = Path("film.gif")
