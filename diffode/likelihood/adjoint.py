"""Solves that can be differentiated: through the solver's operations, or by the adjoint flow."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from diffode.fields.base import Field
from diffode.solvers.base import Solution, Solver
from diffode.solvers.builtin import ADAPTIVE_RK
from diffode.solvers.counted import CountedField
from diffode.solvers.ode import TorchDiffEq, Watched

Gradient = Literal["direct", "adjoint", "none"]


def integrate(
    solver: Solver,
    field: Field,
    x: Tensor,
    times: Tensor,
    y: Tensor | None = None,
    gradient: Gradient = "none",
) -> Solution:
    r"""Integrate x along times so that the end can be differentiated.

    "direct" keeps every operation of the solver and gives the derivative of the number that it
    computed. "adjoint" keeps the end alone and solves

    .. math:: \dot a = -a^\top \frac{\partial f}{\partial x}, \qquad
              \frac{dL}{d\theta} = -\int a^\top \frac{\partial f}{\partial \theta} \, dt

    backwards beside the flow: memory does not grow with the steps, and the derivative is as
    accurate as the tolerances. The step size follows the error of x and a alone.

    References: Chen et al. (2018), https://arxiv.org/abs/1806.07366, algorithm 1; Kidger et al.
    (2021), https://arxiv.org/abs/2009.09457 (the norm that leaves the parameters out).

    Arguments:
        solver: it integrates in the time given here.
        field: what moves the points; its parameters that require a gradient get one.
        x: the points at times[0], shape (B, *event).
        times: strictly monotone.
        y: labels, shape (B,).
        gradient: "direct", "adjoint", or "none" for a plain solve.

    Raises:
        ValueError: an unknown kind of gradient.
        TypeError: the adjoint of a solver other than torchdiffeq's adaptive Runge-Kutta methods.
        Spent: a ValueError where the adjoint, either way, spends the solver's ``max_nfe``.
    """
    if gradient not in get_args(Gradient):
        raise ValueError(f"got gradient {gradient!r}; wanted {', '.join(get_args(Gradient))}")
    if gradient != "adjoint":
        return solver(field, x, times, y)
    if not isinstance(solver, TorchDiffEq) or solver.name not in ADAPTIVE_RK:
        raise TypeError(
            f"the adjoint is solved by {', '.join(ADAPTIVE_RK)}, got {solver.name}; "
            "use one of them, or gradient='direct'"
        )
    from torchdiffeq import odeint_adjoint

    solver.check(field)
    calls = CountedField(field, y)
    velocity = Watched(calls, x, times, solver.max_nfe, tells=False)
    end = odeint_adjoint(
        velocity,
        x,
        times,
        rtol=solver.rtol,
        atol=solver.atol,
        method=solver.name,
        options={"step_t": times[1:]},
        adjoint_options={"step_t": times[:-1].flip(0), "norm": "seminorm"},
        adjoint_params=tuple(p for p in field.parameters() if p.requires_grad),
    )[-1]
    velocity.before = calls.nfe  # the way back has a budget of its own
    rows = torch.full((len(x),), calls.nfe, device=x.device)
    status = torch.zeros_like(rows)
    return Solution(end, times, calls.nfe, rows, status, None, float(times[-1]))
