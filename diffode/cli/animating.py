"""``diffode animate``."""

from __future__ import annotations

import typer

from diffode.cli.outcome import require_out
from diffode.cli.picturing import Animate
from diffode.cli.plotting import bar, scene_of
from diffode.viz import canvas
from diffode.viz.film import encoder_for, film


def command(asked: Animate) -> None:
    """Make a film and say where it is."""
    require_out(asked.out, ".gif", ".webp", ".mp4")
    canvas.require_matplotlib()
    encoder_for(asked.out)
    with bar("samples") as drawing, bar("frames") as framing:
        scene = scene_of(asked, drawing)
        count = film(
            scene, asked.out, frames=asked.frames, fps=asked.fps, density=asked.density,
            progress=framing,
        )  # fmt: skip
    typer.echo(f"wrote {asked.out} ({count} frames, {asked.fps:g} a second)")
