"""The commands on inverse problems: data that were observed in part, or blurred, with noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from diffode.cli import completing
from diffode.cli.shared import SEEDS, Guided, Nfe, SolverOptions, Steps
from diffode.cli.stated import command


@dataclass(frozen=True, kw_only=True)
class Restoration(Guided):
    """What both commands are told."""

    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="observations, .npy or .npz; or test or train: whole points of the run's data, "
            "which are observed first",
        ),
    ]
    degrade: Annotated[
        bool, typer.Option("--degrade", help="FILE has whole points, which are observed first")
    ] = False
    n: Annotated[
        int | None,
        typer.Option("--points", "--n", help="of FILE, at most [8 of test or train]", min=1),
    ] = None
    method: Annotated[
        str,
        typer.Option(
            help="pigdm, tmpd or smc; smc draws from the law itself where its particles count: "
            "not with a --noise far below the data's standard deviation"
        ),
    ] = "pigdm"
    draws: Annotated[int, typer.Option(help="of each observation", min=1)] = 4
    particles: Annotated[
        int | None, typer.Option(help="of smc, for each observation, at least --draws [64]", min=2)
    ] = None
    label: Annotated[
        str | None, typer.Option(help="the class of all points, by number or name [any]")
    ] = None
    solver: Annotated[
        str | None,
        typer.Option(help="see diffode solvers [dpm++]", autocompletion=completing.solvers),
    ] = None
    nfe: Nfe = None
    steps: Steps = None
    grid: Annotated[str | None, typer.Option(help="a kind of time grid")] = None
    seed: Annotated[
        int, typer.Option(help="of the points, their noise and the draws", **SEEDS)
    ] = 0
    assignments: SolverOptions = None


@command("restore", "restoring:restore")
class Restore(Restoration):
    """Draw what may lie behind observations.

    An observation is y = H x + noise: a known linear operator H of a point x, and normal noise
    of a known size. Draws of x fit both the observation and what the field has learned.

    --operator mine.py:name runs that code, a LinearOperator or a function of the shape of a point
    that makes one.
    """

    operator: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="downsample:FACTOR, blur:PIXELS, mask:MASK (see inpaint), matrix:FILE.npy or "
            "mine.py:name",
        ),
    ] = None
    noise: Annotated[
        float | None,
        typer.Option(help="the noise's standard deviation, in the units of the observations"),
    ] = None
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("restored.png")


@command("inpaint", "restoring:inpaint")
class Inpaint(Restoration):
    """Fill in what is hidden of images or points.

    It is restore with the operator mask. FILE has whole images; what the mask hides is not read.
    """

    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",  # a metavar that is the name in capitals would be taken for it
            metavar="MASK",
            help="what is hidden: box:TOP,LEFT,HEIGHT,WIDTH, half:left (right, top, bottom), "
            "random:FRACTION of the pixels; or FILE.npy, 1 where it is seen and 0 where not",
        ),
    ] = None
    noise: Annotated[
        float | None,
        typer.Option(
            help="the standard deviation of the noise of what is seen, in the units of the data "
            "[a hundredth of the data's]"
        ),
    ] = None
    out: Annotated[Path, typer.Option(help="a .png or .npz file")] = Path("inpainted.png")
