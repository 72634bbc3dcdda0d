"""From data to latents and back, and what a round trip loses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffode.doors import Numbers, as_final, as_points, as_state
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Latent
from diffode.fields.complete import require_field
from diffode.fields.corruption import require_velocity
from diffode.sampling.batches import by_batches, concatenated, denoised, in_data_units
from diffode.sampling.choosing import as_start, encoder_for, solver_for, times_for
from diffode.solvers import Solution, Solver
from diffode.solvers.base import Final
from diffode.solvers.status import DONE


def encode(
    field: Field,
    x: Tensor,
    solver: Solver | str | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    y: Numbers | int | None = None,
    path: bool = False,
    grid: str | None = None,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
    at: float | None = None,
    **options: Any,  # noqa: ANN401
) -> Solution:
    """Carry data to the prior: the same flow against its direction, from t_data to t_prior.

    Where the flow starts from data of another kind, it carries the one kind to the other.

    Arguments:
        field: the field; a bound Poisson field is refused, its plane form is not.
        x: data in their own units (``Field.scaling``), shape (B, *event). The latents that come
            of them, and the path, are in the model's. Half precision becomes single.
        solver: a solver or its name; None is "dopri5" at rtol = atol = 1e-7, so that `decode`
            gives the data back to 1e-4, and with ``nfe`` or ``steps`` it is "default". That is as
            for `diffode.sample`, but for a field's own solver: Euler steps do not retrace Euler
            steps.
        path: keep the states at all times, which are the two ends if ``steps`` states no others.
        nfe, steps, y, grid, batch, progress, options: as for `diffode.sample`, but that nothing is
            denoised and a named solver's rtol and atol are 1e-7 where they are not given.
        at: the time to stop at, in the place of t_prior.

    Raises:
        ValueError: a bound Poisson field, a solver that adds noise, points that are not finite,
            or a shape, count or time that does not fit.
    """
    require_field(field)
    require_velocity(field, "to encode a point")
    if field.is_bound:
        raise ValueError("a bound field has no prior to encode into; encode with its plane form")
    x = field.from_data(as_points(x, field.event_shape))
    field.require_rows(len(x))
    y = field.as_labels(y, len(x))
    solver = encoder_for(field, solver, options, (nfe, steps, grid) != (None,) * 3, back=True)
    start = as_start(at, field)
    times = times_for(field, solver, nfe, steps, grid, "none", start).flip(0)

    def moved(rows: slice) -> Solution:
        own = field.rows(torch.arange(rows.start, rows.stop))
        labels = None if y is None else y[rows].to(field.device)
        end = solver(own, x[rows].to(field.device), times, labels, path=path)
        return replace(end, latent=own.latent(end.x))

    with torch.no_grad():
        parts = by_batches(len(x), batch, moved, field.device, progress)
    return concatenated(parts)


def decode(
    field: Field,
    x: Tensor | Latent,
    solver: Solver | str | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    y: Numbers | int | None = None,
    q: Tensor | None = None,
    path: bool = False,
    final: Final = "none",
    grid: str | None = None,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
    at: float | None = None,
    **options: Any,  # noqa: ANN401
) -> Solution:
    """Carry latents to data: the flow from given points at t_prior, the inverse of `encode`.

    What comes of them is in the units of the data, as `encode` takes them.

    The latent of a sample drawn on a Poisson flow's hemisphere is the pair (x, q); that of
    `encode`, which uses the plane form, is x alone.

    Arguments:
        field: the field.
        x: points at t_prior, or at another time, shape (B, *event), or the latent of a solution.
            Half precision becomes single.
        q: the augmented radius of each row of a Poisson flow, shape (B,).
        final: "none" stays at t_data, as `encode` starts there; "denoise" ends with E[x_0 | x].
        solver, path, options: as for `encode`, but that "default" is the field's own solver.
        nfe, steps, y, grid, batch, progress: as for `diffode.sample`.
        at: the time that the points are at, in the place of t_prior.

    Raises:
        ValueError: a solver that adds noise, or a shape, count, time or option that does not
            fit.
        TypeError: q for a field that is no unbound Poisson field, or a solver or ``final`` that
            cannot use the field.
    """
    require_field(field)
    if isinstance(x, Latent):
        if q is not None:
            raise ValueError("got a latent and q; a latent has its own q: pass one of the two")
        x, q = x
    points = field.as_state(x)
    field.require_rows(len(points))
    y = field.as_labels(y, len(points))
    final = as_final(final, type(field).__name__, isinstance(field, AffineField))
    if q is not None:
        field = field.bind(as_state(q, (), "q").to(field.device))
    radii = field.latent(points).q
    if radii is not None and len(radii) != len(points):
        raise ValueError(
            f"got {len(points)} points and {len(radii)} values of q; pass one per point"
        )
    solver = encoder_for(field, solver, options, (nfe, steps, grid) != (None,) * 3)
    times = times_for(field, solver, nfe, steps, grid, final, as_start(at, field))

    def moved(rows: slice) -> Solution:
        own = field.rows(torch.arange(rows.start, rows.stop))
        start, labels = points[rows], None if y is None else y[rows].to(field.device)
        end = solver(own, start.to(field.device), times, labels, path=path)
        if final == "denoise":
            end = denoised(own, end, labels)
        return replace(end, latent=own.latent(start))

    with torch.no_grad():
        parts = by_batches(len(points), batch, moved, field.device, progress)
    return in_data_units(field, concatenated(parts))


def round_trip(
    field: Field,
    x: Tensor,
    solver: Solver | str | None = None,
    y: Numbers | int | None = None,
    **settings: Any,  # noqa: ANN401
) -> Tensor:
    """The error of decoding what was encoded, rms over the coordinates of each row, shape (B,).

    It is in the units of the data.

    A row that did not finish one of the two ways has no round trip: its error is NaN.

    Arguments:
        field: the field.
        x: data in their own units, shape (B, *event).
        solver: the same for both ways; None as for `encode`.
        y: labels, shape (B,): a tensor, an array or a list; one label stands for all.
        settings: ``nfe`` or ``steps``, ``grid`` and the solver's options, as for `encode`.
    """
    x = field.as_state(x)
    counted = {"nfe", "steps"} & {name for name, v in settings.items() if v is not None}
    if solver == "default" or (solver is None and counted):
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
