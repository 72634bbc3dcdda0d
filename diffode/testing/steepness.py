"""The Lipschitz constant of a velocity and its divergence over time."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffode.compiled import differentiable
from diffode.fields.base import Field
from diffode.fields.schedules import Schedule
from diffode.rng import Rng
from diffode.testing.findings import Finding, Steepness
from diffode.testing.times import points

_ROWS, _TIMES, _ROUNDS, _WHOLE = 6, 7, 12, 24


def _grad(of: Tensor, by: Tensor, along: Tensor | None = None, again: bool = False) -> Tensor:
    return torch.autograd.grad(
        of, by, along, retain_graph=True, create_graph=again, materialize_grads=True
    )[0]


def jacobians(velocity: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian at each row, shape (B, N, N), a backward pass for each coordinate."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        v = velocity(x).flatten(1)
        rows = [_grad(v[:, i].sum(), x).flatten(1) for i in range(v.shape[1])]
    return torch.stack(rows, 1)


def largest(velocity: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    """The largest singular value of the Jacobian over the rows of x, and its mean trace.

    Events of up to 24 numbers have their whole Jacobian taken; larger ones power iteration with
    A^T A, whose value is a lower bound, and one random direction for the trace.
    """
    dim = x[0].numel()
    if dim <= _WHOLE:
        found = jacobians(velocity, x)
        if not bool(found.isfinite().all()):
            return math.nan, math.nan
        norms = torch.linalg.matrix_norm(found, 2)
        trace = found.diagonal(dim1=1, dim2=2).sum(1)
        return float(norms.max()), float(trace.mean())
    x = x.detach().requires_grad_(True)
    u = Rng(9).normal("power", x.shape, x.dtype, x.device)
    signs, value = u.sign(), torch.zeros(())
    with torch.enable_grad():
        v = velocity(x)
        pulled = _grad(v, x, signs)
        trace = (pulled * signs).flatten(1).sum(1).mean()
        w = torch.zeros_like(v, requires_grad=True)
        back = _grad(v, x, w, again=True)
        for _ in range(_ROUNDS):
            u = u / u.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1)).clamp_min(1e-30)
            forward = _grad(back, w, u)  # A u
            value = forward.flatten(1).norm(dim=1).max()
            u = _grad(v, x, forward)  # A^T A u
    return float(value), float(trace)


def steepness(
    field: Field, schedule: Schedule | None, near: Callable[[float, int], Tensor] | None = None
) -> tuple[Finding, tuple[Steepness, ...]]:
    """The Lipschitz constant and the divergence at times between the ends of the span.

    Arguments:
        field: its velocity must be differentiable by autograd.
        schedule: alpha and sigma, for the times and the table; None for equal steps in time.
        near: points of the path at a time, (t, n) -> (n, *event); None for those of the field.
    """
    rows = []
    moved = field.start(_ROWS, Rng(7)).field if near is None else field
    for t in _times(field, schedule):
        x = points(field, t, _ROWS) if near is None else near(t, _ROWS).to(field.device)

        def velocity(z: Tensor, t: float = t) -> Tensor:
            with differentiable():
                return moved.velocity(z, torch.tensor(t, dtype=torch.float64, device=z.device))

        try:
            lipschitz, trace = largest(velocity, x)
        except RuntimeError as error:
            why = " ".join(str(error).split())[:120]
            return Finding("Lipschitz", None, "the velocity has no derivative", why), ()
        level = None if schedule is None else float(schedule.rho(torch.tensor(t).double()))
        rows.append(Steepness(t, level, lipschitz, trace))
    bad = [r.t for r in rows if not (math.isfinite(r.lipschitz) and math.isfinite(r.divergence))]
    if bad:
        return Finding(
            "Lipschitz",
            False,
            "the divergence is not finite",
            f"at t = {', '.join(f'{t:.4g}' for t in bad)}",
            "look for a norm, a root or a quotient whose derivative is infinite",
            "infinite divergence",
        ), tuple(rows)
    steepest = max(rows, key=lambda r: r.lipschitz)
    low = min(r.lipschitz for r in rows)
    words = f"{low:.3g} to {steepest.lipschitz:.3g}, the largest at t = {steepest.t:.4g}"
    return Finding("Lipschitz", True, "the divergence is finite, the constant", words), tuple(rows)


def _times(field: Field, schedule: Schedule | None) -> list[float]:
    """Times from end to end: equal steps of log rho where there is a schedule, else of t."""
    first, last = field.span
    if schedule is None:
        return torch.linspace(first, last, _TIMES, dtype=torch.float64).tolist()
    ends = schedule.rho(torch.tensor(field.span, dtype=torch.float64)).clamp(1e-6, 999.0)
    a, b = ends.log10().tolist()
    inner = torch.logspace(a, b, _TIMES, dtype=torch.float64)
    times: list[float] = schedule.time(inner).tolist()
    return [*times[:-1], float(last)]
