"""``diffode encode`` and ``diffode decode``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import typer
from torch import Tensor

from diffode.bench.models import fingerprint
from diffode.cli.commands import Decode, Encode
from diffode.cli.outcome import deliver, warn
from diffode.cli.points import BATCH, opened, read_array, read_points
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.fields.base import Field
from diffode.files import require_writable
from diffode.sampling.batches import concatenated
from diffode.sampling.encoding import decode, encode, round_trip_error
from diffode.solvers import Solution, get_solver
from diffode.solvers.status import DONE, LOST
from diffode.viz import samples_picture


def encode_command(asked: Encode) -> None:
    """Write the latents of a file's points, and say what the way there and back loses."""
    if asked.out.suffix != ".npz":
        raise ValueError(f"got --out {asked.out}; wanted a name that ends in .npz")
    require_writable(asked.out.parent)
    settings: dict[str, Any] = {"nfe": asked.nfe, "steps": asked.steps, "grid": asked.grid}
    settings["solver"] = get_solver(asked.solver, **pairs(asked.assignments))
    objective, classes = opened(asked.run, asked.weights, asked.device)
    field = objective.field
    x, y = read_points(asked.file, field.event_shape, classes)
    ways: list[tuple[Solution, Solution]] = []
    errors = []
    with progress_bar("encode and back", 2 * len(x)) as bar:
        for first in range(0, len(x), BATCH):
            rows = slice(first, first + BATCH)
            labels = None if y is None else y[rows]
            there = encode(field, x[rows], y=labels, **settings)
            bar.advance(2 * first + len(there.x))
            back = decode(field, there.x, y=labels, **settings)
            bar.advance(2 * (first + len(there.x)))
            ways.append((there, back))
            errors.append(round_trip_error(x[rows], there, back).cpu())
    there, back = (_joined(way) for way in zip(*ways, strict=True))
    error, lost = torch.cat(errors), back.status == LOST
    status, mark = there.status.masked_fill(lost, LOST), _mark(field)
    deliver(
        asked.out, "points", status, there.nfe_per_row, x=there.x, y=y, error=error, field=mark
    )
    warn("" if bool(lost.any()) else back.shortfall("ways back"))
    whole = error[error.isfinite()]
    which = "" if len(whole) == len(x) else f" of {len(whole)} of {len(x)} points"
    trip = f"rms error {float(whole.square().mean().sqrt()):.2g}, at most {float(whole.max()):.2g}"
    typer.echo(
        f"wrote {asked.out} ({len(x)} latents, {there.nfe} evaluations each); round trip{which}: "
        + (trip if len(whole) else "none finished")
    )


def decode_command(asked: Decode) -> None:
    """Write the points that a file's latents lead to."""
    if asked.out.suffix not in (".png", ".npz"):
        raise ValueError(f"got --out {asked.out}; wanted a name that ends in .png or .npz")
    if asked.final not in ("none", "denoise"):
        raise ValueError(f"got --final {asked.final}; wanted none or denoise")
    require_writable(asked.out.parent)
    chosen = get_solver(asked.solver, **pairs(asked.assignments))
    objective, classes = opened(asked.run, asked.weights, asked.device)
    field = objective.field
    z, y = read_points(asked.file, field.event_shape, classes)
    q = read_array(asked.file, "q")
    of = read_array(asked.file, "field")
    if of is not None and not torch.equal(of, _mark(field)):
        warn(
            f"the latents in {asked.file} are those of another field, or of other weights, than "
            f"{asked.run}"
        )
    last: Literal["none", "denoise"] = "denoise" if asked.final == "denoise" else "none"
    earlier = _earlier(asked.file, len(z))
    parts: list[Solution] = []
    with progress_bar("decode", len(z)) as bar:
        for first in range(0, len(z), BATCH):
            rows = slice(first, first + BATCH)
            labels = None if y is None else y[rows]
            radii = None if q is None else q[rows]
            settings: dict[str, Any] = {"nfe": asked.nfe, "steps": asked.steps, "grid": asked.grid}
            back = decode(field, z[rows], chosen, y=labels, q=radii, final=last, **settings)
            parts.append(back)
            bar.advance(min(len(z), first + BATCH))
    back = _joined(parts)
    write = None if asked.out.suffix == ".npz" else partial(samples_picture, back.x.cpu())
    status = torch.maximum(back.status, earlier.to(back.status))
    deliver(asked.out, "points", status, back.nfe_per_row, write, x=back.x, y=y)
    typer.echo(f"wrote {asked.out} ({len(z)} points)")


def _mark(field: Field) -> Tensor:
    """A number that tells a field's weights from others, shape ()."""
    return torch.tensor(int(fingerprint(*field.state_dict().values()), 16))


def _joined(parts: Sequence[Solution]) -> Solution:
    """The solutions of parts of a batch as one, on the CPU."""
    return concatenated([replace(p, x=p.x.cpu(), status=p.status.cpu()) for p in parts])


def _earlier(file: Path, count: int) -> Tensor:
    """The status that latents have from their encoding; 0 where the file has none.

    Raises:
        ValueError: a status that does not fit, or latents none of which was finished.
    """
    status = read_array(file, "status")
    if status is None:
        return torch.zeros(count, dtype=torch.long)
    if status.shape != (count,) or status.is_floating_point():
        raise ValueError(f"{file}: got {count} points and a status of shape {tuple(status.shape)}")
    bad = int((status != DONE).sum())
    if bad == count:
        raise ValueError(f"{file}: none of the {count} latents was finished; encode again")
    warn(f"{bad} of {count} latents in {file} were not finished (status)" if bad else "")
    return status
