"""The way back: latents to data, and what a round trip loses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffode.doors import as_final, as_state
from diffode.fields.base import AffineField, Field, Latent
from diffode.sampling.drawing import _denoise, _times, encode, solver_for
from diffode.solvers import Solution, Solver
from diffode.solvers.base import Final
from diffode.solvers.status import DONE


def decode(
    field: Field,
    x: Tensor | Latent,
    solver: Solver | str | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    y: Tensor | None = None,
    q: Tensor | None = None,
    path: bool = False,
    final: Final = "none",
    grid: str | None = None,
    **options: Any,  # noqa: ANN401
) -> Solution:
    """Carry latents to data: the flow from given points at t_prior, the inverse of `encode`.

    The latent of a sample drawn on a Poisson flow's hemisphere is the pair (x, q); that of
    `encode`, which uses the plane form, is x alone.

    Arguments:
        field: the field.
        x: points at t_prior, shape (B, *event), or the latent of a solution.
        q: the augmented radius of each row of a Poisson flow, shape (B,).
        final: "none" stays at t_data, as `encode` starts there; "denoise" ends with E[x_0 | x].
        solver, nfe, steps, y, path, grid, options: as for `diffode.sample`.

    Raises:
        ValueError: a shape, count or option that does not fit.
        TypeError: q for a field that is no unbound Poisson field, or a solver or ``final`` that
            cannot use the field.
    """
    if isinstance(x, Latent):
        if q is not None:
            raise ValueError("got a latent and q; a latent has its own q: pass one of the two")
        x, q = x
    x = field.as_state(x)
    y = field.as_labels(y, len(x))
    final = as_final(final, type(field).__name__, isinstance(field, AffineField))
    if q is not None:
        q = as_state(q, (), "q").to(field.device)
        if len(q) != len(x):
            raise ValueError(f"got {len(x)} points and {len(q)} values of q; pass one per point")
        field = field.bind(q)
    solver = solver_for(field, solver, options)
    times = _times(field, solver, nfe, steps, grid, final)
    labels = None if y is None else y.to(field.device)
    with torch.no_grad():
        solution = solver(field, x.to(field.device), times, labels, path=path)
        if final == "denoise":
            solution = _denoise(field, solution, labels)
    return replace(solution, latent=field.latent(x))


def round_trip(
    field: Field,
    x: Tensor,
    solver: Solver | str | None = None,
    y: Tensor | None = None,
    **settings: Any,  # noqa: ANN401
) -> Tensor:
    """The error of decoding what was encoded, rms over the coordinates of each row, shape (B,).

    A row that did not finish one of the two ways has no round trip: its error is NaN.

    Arguments:
        field: the field.
        x: data, shape (B, *event).
        solver: the same for both ways.
        y: labels, shape (B,).
        settings: ``nfe`` or ``steps``, ``grid`` and the solver's options, as for `encode`.
    """
    x = field.as_state(x)
    if solver in (None, "default"):
        solver = solver_for(field, None, {}, back=True).name
    there = encode(field, x, solver, y=y, **settings)
    back = decode(field, there.x, solver, y=y, **settings)
    return round_trip_error(x, there, back)


def round_trip_error(x: Tensor, there: Solution, back: Solution) -> Tensor:
    """The rms difference of data and what came back; NaN for a row that did not finish both ways.

    Arguments:
        x: data, shape (B, *event).
        there, back: what `encode` made of them, and `decode` of that.
    """
    error = (back.x - x.to(back.x)).flatten(1).square().mean(1).sqrt()
    return error.where((there.status == DONE) & (back.status == DONE), math.nan)
