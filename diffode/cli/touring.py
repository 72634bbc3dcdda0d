"""``diffode tour`` of chosen fields and data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffode.cli.plotting import bar
from diffode.data import load
from diffode.runs.exact import exact
from diffode.viz import canvas
from diffode.viz.beside import beside
from diffode.viz.plots import form_of
from diffode.viz.scene import Scene

FIELDS, DATA = ("poisson", "vp", "rectified"), "moons"


def chosen(out: Path, seed: int, data: str | None, fields: Sequence[str] | None) -> Path:
    """Draw the exact fields of a data set side by side."""
    canvas.require_matplotlib()
    dataset = load(data or DATA)
    with bar("tour") as progress:
        scenes = [
            Scene(
                field=exact(name, dataset), title=name, data=dataset.train, seed=seed,
                form=form_of(out), progress=progress,
            )
            for name in fields or FIELDS
        ]  # fmt: skip
        canvas.write(beside(scenes, f"From noise to {dataset.name}"), out)
    return out
