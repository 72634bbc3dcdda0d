"""``diffode encode`` and ``diffode decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
import typer
from torch import Tensor

from diffode.cli.app import pairs
from diffode.cli.points import BATCH, opened, read_array, read_points, write_arrays
from diffode.cli.progress import progress_bar
from diffode.encoding import decode
from diffode.files import require_writable
from diffode.sampling import encode
from diffode.solvers import get_solver
from diffode.viz import samples_picture


def encode_command(
    run: Path,
    file: Path,
    solver: str,
    nfe: int | None,
    steps: int | None,
    grid: str | None,
    assignments: list[str],
    weights: str,
    device: str,
    out: Path,
) -> None:
    """Write the latents of a file's points, and say what the way there and back loses."""
    if out.suffix != ".npz":
        raise ValueError(f"got --out {out}; wanted a name that ends in .npz")
    require_writable(out.parent)
    settings: dict[str, Any] = {"nfe": nfe, "steps": steps, "grid": grid}
    settings["solver"] = get_solver(solver, **pairs(assignments))
    objective, classes = opened(run, weights, device)
    field = objective.field
    x, y = read_points(file, field.event_shape, classes)
    latents, errors, spent = [], [], 0
    with progress_bar("encode and back", 2 * len(x)) as bar:
        for first in range(0, len(x), BATCH):
            rows = slice(first, first + BATCH)
            labels = None if y is None else y[rows]
            there = encode(field, x[rows], y=labels, **settings)
            bar.advance(2 * first + len(there.x))
            back = decode(field, there.x, y=labels, **settings)
            bar.advance(2 * (first + len(there.x)))
            gap = back.x.cpu() - x[rows]
            latents.append(there.x.cpu())
            errors.append(gap.flatten(1).square().mean(1).sqrt())
            spent = max(spent, there.nfe)
    error = torch.cat(errors)
    write_arrays(out, x=torch.cat(latents), y=y, error=error)
    typer.echo(
        f"wrote {out} ({len(x)} latents, {spent} evaluations each); round trip: rms error "
        f"{float(error.square().mean().sqrt()):.2g}, at most {float(error.max()):.2g}"
    )


def decode_command(
    run: Path,
    file: Path,
    solver: str,
    nfe: int | None,
    steps: int | None,
    grid: str | None,
    final: str,
    assignments: list[str],
    weights: str,
    device: str,
    out: Path,
) -> None:
    """Write the points that a file's latents lead to."""
    if out.suffix not in (".png", ".npz"):
        raise ValueError(f"got --out {out}; wanted a name that ends in .png or .npz")
    if final not in ("none", "denoise"):
        raise ValueError(f"got --final {final}; wanted none or denoise")
    require_writable(out.parent)
    chosen = get_solver(solver, **pairs(assignments))
    objective, classes = opened(run, weights, device)
    field = objective.field
    z, y = read_points(file, field.event_shape, classes)
    q = read_array(file, "q")
    last: Literal["none", "denoise"] = "denoise" if final == "denoise" else "none"
    parts: list[Tensor] = []
    with progress_bar("decode", len(z)) as bar:
        for first in range(0, len(z), BATCH):
            rows = slice(first, first + BATCH)
            labels = None if y is None else y[rows]
            radii = None if q is None else q[rows]
            settings: dict[str, Any] = {"nfe": nfe, "steps": steps, "grid": grid, "final": last}
            parts.append(decode(field, z[rows], chosen, y=labels, q=radii, **settings).x.cpu())
            bar.advance(min(len(z), first + BATCH))
    x = torch.cat(parts)
    if out.suffix == ".npz":
        write_arrays(out, x=x, y=y)
    else:
        samples_picture(x, out)
    typer.echo(f"wrote {out} ({len(x)} points)")
