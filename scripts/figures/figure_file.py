"""How the scripts beside this one write their picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from diffode.viz import canvas


def written(figure: Figure, file: Path) -> Path:
    """Write a picture, and say where it is."""
    canvas.save(figure, file)
    print(f"wrote {file}")
    return file
