"""A batch at a time: its rows, the last denoising, and the parts as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from diffode.data.scaling import data_units
from diffode.doors import as_count
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Latent, expand_like
from diffode.processes import place
from diffode.sharing import shared
from diffode.solvers import Solution
from diffode.solvers.status import DONE, with_lost

Part = TypeVar("Part")


def slices(
    rows: int, batch: int | None, progress: Callable[[int], None] | None = None
) -> Iterator[slice]:
    """The rows of one batch after the other.

    Arguments:
        rows: how many there are.
        batch: how many are held at once; None is all.
        progress: called with the number of rows that are done after each batch.
    """
    size = max(rows, 1) if batch is None else as_count(batch, "batch", 1)
    for first in range(0, max(rows, 1), size):
        last = min(rows, first + size)
        yield slice(first, last)
        if progress is not None:
            progress(last)


def by_batches(
    rows: int,
    batch: int | None,
    make: Callable[[slice], Part],
    device: torch.device,
    progress: Callable[[int], None] | None = None,
) -> list[Part]:
    """What is made of the rows of each batch; the processes of a job may share the batches out.

    Arguments:
        rows, batch, progress: as for `slices`.
        make: makes the part of a batch.
        device: of the parts.
    """

    def made(span: slice) -> Part:
        part = make(span)
        if progress is not None:
            progress(span.stop)
        return part

    parts = shared(list(slices(rows, batch)), made, device)
    if progress is not None and place().total > 1:  # another process may have had the last ones
        progress(rows)
    return parts


def denoised(field: Field, s: Solution, y: Tensor | None) -> Solution:
    """The rows that have finished moved to E[x_0 | x], and the end of their path with them."""
    assert isinstance(field, AffineField)
    done = s.status == DONE
    x = torch.where(expand_like(done, s.x).bool(), field.denoise(s.x, s.t_end, y), s.x)
    return replace(
        s,
        x=x,
        nfe=s.nfe + 1,
        network_calls=s.network_calls + field.calls_at(s.times[-1]),
        nfe_per_row=s.nfe_per_row + done,
        status=with_lost(s.status, x),
        path=None if s.path is None else torch.cat((s.path[:-1], x[None])),
        final="denoise",
    )


def in_data_units(field: Field, s: Solution) -> Solution:
    """A flow's points and its path in the data's units; its latents have no units."""
    x = field.to_data(s.x, s.t_end if s.t_per_row is None else s.t_per_row)
    if s.final == "denoise":  # E[x_0 | x] where a row has finished
        x = torch.where(expand_like(s.status == DONE, x).bool(), data_units(s.x, field.scaling), x)
    if s.path is None:
        return replace(s, x=x)
    path = [field.to_data(state, t) for state, t in zip(s.path[:-1], s.times, strict=False)]
    return replace(s, x=x, path=torch.stack([*path, x]))


def concatenated(parts: Sequence[Solution]) -> Solution:
    """The solutions of parts of a batch as one."""
    if len(parts) == 1:
        return parts[0]

    def join(name: str, dim: int = 0) -> Tensor | None:
        tensors = [getattr(p, name) for p in parts]
        return None if tensors[0] is None else torch.cat(tensors, dim)

    x, rows, status = join("x"), join("nfe_per_row"), join("status")
    assert x is not None and rows is not None and status is not None
    at = None
    if any(p.t_per_row is not None for p in parts):
        end = rows.new_tensor(parts[0].t_end, dtype=torch.float64)
        at = [end.expand(len(p.x)) if p.t_per_row is None else p.t_per_row for p in parts]
    return replace(
        parts[0],
        x=x,
        nfe=max(p.nfe for p in parts),
        network_calls=max(p.network_calls for p in parts),
        nfe_per_row=rows,
        status=status,
        path=join("path", 1),
        latent=_latents([p.latent for p in parts if p.latent is not None]),
        t_per_row=None if at is None else torch.cat(at),
    )


def _latents(parts: list[Latent]) -> Latent | None:
    """The latents of all rows, where they are known."""
    if not parts:
        return None
    radii = [p.q for p in parts if p.q is not None]
    return Latent(torch.cat([p.x for p in parts]), torch.cat(radii) if radii else None)
