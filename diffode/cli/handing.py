"""The commands that hand a run to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffode.cli.shared import Trust, Weights
from diffode.cli.stated import command


@command("export", "exporting:command")
class Export:
    """Write a run as a folder that diffusers samples.

    A run of ddpm or rectified with network=unet2d and centre=false needs no diffode there. Any
    other run on images with normal noise is loaded after import diffode.interop.
    """

    run: Annotated[str, typer.Argument(metavar="RUN", help="a run, or a checkpoint")]
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to; nothing may be there")]
    form: Annotated[str, typer.Option("--format", help="diffusers")] = "diffusers"
    plain: Annotated[
        bool, typer.Option("--plain", help="refuse what diffusers cannot sample without diffode")
    ] = False
    weights: Weights = "ema"
    trust: Trust = False
