r"""The density of samples that a field's own Euler steps make.

A bank of critics is a sequence of maps, :math:`x_{k+1} = x_k + h_k v_k(x_k)` with :math:`h_k =
t_{k+1} - t_k`, and its samples have the density

.. math:: \log p(x_N) = \log p_{prior}(x_0) - \sum_k \log |\det(I + h_k \nabla v_k(x_k))|,

which differs from that of the flow in continuous time by the order of the steps. The maps are
inverted one by one, by Newton's method, from :math:`x_N` to :math:`x_0`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from diffode.compiled import differentiable
from diffode.fields.base import Field
from diffode.likelihood.density import LogProb
from diffode.likelihood.divergence import check

_Products = Callable[[Tensor], tuple[Tensor, ...]]
_EXACT, _TOLERANCE, _MOST = 1e-13, 1e-5, 50


def euler_log_prob(field: Field, x: Tensor, y: Tensor | None = None) -> LogProb:
    """The log-density that a field's own Euler steps give to points, for small events.

    Each step costs N products with the Jacobian a Newton iteration, and memory (B, N, N).

    Arguments:
        field: with times of its own (``Field.sampling_defaults``), such as a `MonoFlow` on a
            bank, its rows treated apart.
        x: points at t_data in the units of the data, shape (B, *event); computed in float64
            whatever their type.
        y: labels, shape (B,).

    Returns:
        As `diffode.log_prob` does; status 1 and NaN for points that no start was found for: steps
        too long to be invertible there.

    Raises:
        TypeError: a field without times of its own, or one whose derivatives do not tell its
            divergence.
        ValueError: points that do not fit the field, or a field without a prior.
    """
    if field.sampling_defaults is None or field.sampling_defaults.solver != "euler":
        raise TypeError(
            f"{type(field).__name__} has no Euler steps of its own; use diffode.log_prob"
        )
    check("exact", field)
    if field.prior is None:
        raise ValueError(f"this {type(field).__name__} has no prior, so no density")
    x = field.as_state(x)
    y = field.as_labels(y, len(x))
    points = field.from_data(x.to(field.device).double())
    change, found = points.new_zeros(len(x)), torch.ones(len(x), dtype=torch.bool)
    found, spent = found.to(points.device), 0
    with torch.no_grad():
        for t, end in reversed(list(pairwise(field.sampling_defaults.times))):
            points, log_det, ok, used = _undo(field, points, t, end - t, y)
            change, found, spent = change - log_det, found & ok, spent + used
        prior = field.prior.log_prob(points)
    units = field.log_volume
    nats = (prior + change + units).where(found, torch.nan)
    error, status = torch.zeros_like(nats), (~found).long()
    return LogProb(nats, prior, change, error, spent, points.to(x), status, units)


def _undo(
    field: Field, target: Tensor, t: float, step: float, y: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, int]:
    """The point that a step ends at the target from, the map's log-determinant, and success."""
    shape, goal, spent = target.shape, target.flatten(1), 0
    scale = 1 + goal.abs().amax(1)

    def moved(z: Tensor) -> Tensor:
        return (z.view(shape) + step * field.velocity(z.view(shape), t, y)).flatten(1)

    z, basis = goal, torch.eye(goal.shape[1]).to(goal)[:, None].expand(-1, *goal.shape)
    best = torch.full_like(scale, torch.inf)
    for _ in range(_MOST):
        with differentiable():
            value, pull = cast(tuple[Tensor, _Products], torch.func.vjp(moved, z))
        spent += 1
        jacobian = torch.func.vmap(lambda u, pull=pull: pull(u)[0], out_dims=1)(basis)
        rest = goal - value
        miss = rest.abs().amax(1) / scale
        if not bool((miss < best / 2).any()):  # the critic's own rounding
            break
        best = torch.minimum(best, miss)
        solved = torch.linalg.solve_ex(jacobian, rest[..., None]).result[..., 0]
        z = z + solved.where((miss > _EXACT)[:, None], 0.0)
    return z.view(shape), torch.linalg.slogdet(jacobian).logabsdet, miss <= _TOLERANCE, spent
