r"""Exact laws of data given a linear observation: what conditioned samples are measured against.

A mixture of Gaussians given :math:`y = H x_0 + s_y e` is a mixture of Gaussians; a data set given
y is the same points with other weights. Either is a field of its own, on the same path.
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

import torch
from torch import Tensor

from diffode.doors import Numbers
from diffode.fields.exact import Empirical
from diffode.fields.linear import LinearOperator
from diffode.fields.mixture import Mixture
from diffode.fields.observations import Observation, one_observation

Exact = TypeVar("Exact", bound=Mixture | Empirical)


def exact_posterior(
    field: Exact, operator: LinearOperator, observation: Numbers, noise: float
) -> Exact:
    r"""The field of the law of x_0 given :math:`y = H x_0 + s_y e`, e standard normal.

    For :math:`x_0 \sim \sum_k w_k N(m_k, \Sigma_k)` and :math:`S_k = H \Sigma_k H^\top + s_y^2`,

    .. math:: w_k' \propto w_k N(y; H m_k, S_k), \quad
              m_k' = m_k + \Sigma_k H^\top S_k^{-1} (y - H m_k), \quad
              \Sigma_k' = \Sigma_k - \Sigma_k H^\top S_k^{-1} H \Sigma_k.

    Schedule, noise, labels and units are the field's.

    Arguments:
        field: a `Mixture`, or an `Empirical` without a bandwidth.
        operator: H, see `diffode.fields.operators`.
        observation: y in the units of the data, shape (\*observed).
        noise: :math:`s_y > 0` in the units of the data.

    Raises:
        TypeError: another kind of field.
        ValueError: what does not fit, as for `conditioned`, more than one observation, or a data
            set with a bandwidth.
    """
    _require_exact(field, "the exact posterior")
    seen = one_observation(field, operator, observation, noise)
    made = _mixture(field, seen) if isinstance(field, Mixture) else _empirical(field, seen)
    made.scaling = field.scaling
    return cast(Exact, made)


def log_evidence(
    field: Mixture | Empirical, operator: LinearOperator, observation: Numbers, noise: float
) -> float:
    """The log-density log p(y) of the observation, in nats.

    Arguments:
        field, operator, observation, noise: as for `exact_posterior`.

    Raises:
        TypeError, ValueError: as for `exact_posterior`.
    """
    _require_exact(field, "the evidence")
    seen = one_observation(field, operator, observation, noise)
    log = _mixture_fits(field, seen)[0] if isinstance(field, Mixture) else _fits(field, seen)
    return float(torch.logsumexp(field.log_weights + log, 0))


def _require_exact(field: object, what: str) -> None:
    """Refuse a field whose data's law is not stated."""
    if not isinstance(field, Mixture | Empirical):
        raise TypeError(f"got a {type(field).__name__}; {what} is known for Mixture and Empirical")
    if field.decay is not None:
        raise TypeError(f"got a field with {field.decay}; {what} is known without blur")


def _mixture_fits(field: Mixture, seen: Observation) -> tuple[Tensor, Tensor, Tensor]:
    """Of each component log N(y; H m, S), (M,), and its posterior mean and covariance."""
    h = seen.operator.rows().flatten(1)
    variances = field.variances.expand(field.means.shape)
    axes = h.expand(len(variances), *h.shape) if field.basis is None else h @ field.basis
    cross = variances[:, :, None] * axes.mT  # the axes' covariance with H x_0
    own = seen.noise**2 * torch.eye(len(h), dtype=h.dtype, device=h.device)
    factor = torch.linalg.cholesky(axes @ cross + own)
    rest = seen.target.flatten() - field.means @ h.mT
    whitened = torch.linalg.solve_triangular(factor, rest[..., None], upper=False)
    gain = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
    shift = (gain.mT @ whitened)[..., 0]
    covariance = torch.diag_embed(variances) - gain.mT @ gain
    if field.basis is not None:
        shift = (field.basis @ shift[..., None])[..., 0]
        covariance = field.basis @ covariance @ field.basis.mT
    squares = whitened[..., 0].square().sum(1)
    log_size = factor.diagonal(dim1=1, dim2=2).log().sum(1) + len(h) / 2 * math.log(2 * math.pi)
    return -squares / 2 - log_size, field.means + shift, (covariance + covariance.mT) / 2


def _mixture(field: Mixture, seen: Observation) -> Mixture:
    log, means, covariances = _mixture_fits(field, seen)
    weights = torch.softmax(field.log_weights + log, 0)
    means = means.view(-1, *field.event_shape)
    return Mixture(weights, means, covariances, field.schedule, field.noise, field.labels)


def _fits(field: Empirical, seen: Observation) -> Tensor:
    """The log N(y; H x, s_y^2) of each point x, shape (M,)."""
    if field.bandwidth:
        raise ValueError(
            "got a data set with a bandwidth, whose posterior is a mixture of Gaussians; take "
            "Mixture(weights, points, stds)"
        )
    gram, none = seen.operator.gram(), seen.target.new_zeros(())
    parts = [
        gram.log_density(seen.target - seen.operator(x.to(seen.target)), none, seen.noise)
        for x in torch.split(field.points.view(-1, *field.event_shape), 1024)
    ]
    return torch.cat(parts)


def _empirical(field: Empirical, seen: Observation) -> Empirical:
    weights = torch.softmax(field.log_weights + _fits(field, seen), 0)
    points = field.points.view(-1, *field.event_shape)
    resident = "points" in dict(field.named_buffers())
    return Empirical(points, field.schedule, field.noise, weights, field.labels, resident=resident)
