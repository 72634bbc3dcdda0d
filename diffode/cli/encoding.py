"""``diffode encode`` and ``diffode decode``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import typer
from torch import Tensor

from diffode.cli.guiding import target_of
from diffode.cli.moves import Carry, Decode, Encode
from diffode.cli.outcome import deliver, require_out, warn
from diffode.cli.progress import progress_bar
from diffode.cli.shared import pairs
from diffode.cli.units import points_in
from diffode.data.points import read_array, read_points
from diffode.data.scaling import model_units
from diffode.fields.base import Field
from diffode.interop.pipelines import pixels
from diffode.runs.keys import key_of_values
from diffode.runs.targets import Target
from diffode.sampling.choosing import encoder_for, solver_for
from diffode.sampling.encoding import decode, encode, round_trip_error
from diffode.solvers.status import DONE, LOST
from diffode.viz import samples_picture

BATCH = 50  # points held at once


def encode_command(asked: Encode) -> None:
    """Write the latents of a file's points, and say what the way there and back loses."""
    require_out(asked.out, ".npz", file=asked.file)
    options = pairs(asked.assignments)
    target = target_of(asked)
    field = target.field
    settings = moves_of(asked, target, options, back=True)
    x, y = points_in(asked.file, target)
    with progress_bar("encode and back", 2 * len(x)) as bar:
        there = encode(field, x, y=y, progress=bar.advance, **settings)

        def show(done: int) -> None:
            bar.advance(len(x) + done)

        back = decode(field, there.x, y=y, progress=show, **settings)
    error = round_trip_error(x, there, back)
    lost = back.status == LOST
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
    require_out(asked.out, ".png", ".npz", file=asked.file)
    if asked.final not in ("none", "denoise"):
        raise ValueError(f"got --final {asked.final}; wanted none or denoise")
    options = pairs(asked.assignments)
    target = target_of(asked)
    field = target.field
    settings = moves_of(asked, target, options)
    z, y = read_points(asked.file, field.event_shape, target.known_labels)
    q = read_array(asked.file, "q")
    of = read_array(asked.file, "field")
    if of is not None and not torch.equal(of, _mark(field)):
        warn(
            f"the latents in {asked.file} are those of another field, or of other weights, than "
            f"{asked.target}"
        )
    last: Literal["none", "denoise"] = "denoise" if asked.final == "denoise" else "none"
    earlier = _earlier(asked.file, len(z))
    with progress_bar("decode", len(z)) as bar:
        back = decode(field, z, y=y, q=q, final=last, progress=bar.advance, **settings)
    x = model_units(back.x, field.scaling)
    seen = pixels(field, x)
    picture = partial(samples_picture, seen.cpu(), called="decoded points")
    status = torch.maximum(back.status, earlier.to(back.status))
    images = None if seen is x else seen
    deliver(asked.out, "points", status, back.nfe_per_row, picture, x=back.x, y=y, pixels=images)
    typer.echo(f"wrote {asked.out} ({len(z)} points)")


def moves_of(
    asked: Carry,
    target: Target,
    options: dict[str, Any],
    back: bool = False,
    encoded: bool = True,
) -> dict[str, Any]:
    """How points are moved.

    Arguments:
        asked: the command.
        target: what moves them.
        options: of the solver.
        back: whether they are encoded, and with the same solver decoded.
        encoded: whether they come from an encoding; if not, they are moved as samples are.
    """
    if encoded:
        counted = (asked.nfe, asked.steps, asked.grid) != (None,) * 3
        solver = encoder_for(target.field, asked.solver, options, counted, back)
    else:
        solver = solver_for(target.field, asked.solver or target.solver, options)
    return {
        "solver": solver,
        "nfe": asked.nfe,
        "steps": asked.steps,
        "grid": asked.grid,
        "batch": BATCH,
    }


def _mark(field: Field) -> Tensor:
    """A number that tells a field's weights from others, shape ()."""
    return torch.tensor(int(key_of_values(*field.state_dict().values()), 16))


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
