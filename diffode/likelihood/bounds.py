r"""How probable tokens are under a field that reveals or revises them: a bound from below.

The law of the samples of a `TokenField` is not known in closed form, but its ELBO is a mean over
times and corruptions,

.. math:: \log P(x_0) \ge -E_{t, x_t} \, \mathrm{cost}(x_0, x_t, t),

with the integrand `diffode.fields.tokens.Tokens.cost`. For masks and few positions L the mean is a
finite sum over the sets S of positions that are shown,

.. math:: \log P(x_0) \ge \sum_S B(|S| + 1, L - |S|) \sum_{i \notin S} \log q(x_0^i | x_0^S),

B the beta function: :math:`\int_0^1 (1 - t)^{|S|} t^{L - |S| - 1} dt`. It is the mean over all
orders of revealing, so that the exact posterior gives the exact :math:`\log P(x_0)`. Sampling in K
equal steps has a bound of its own, lower by a multiple of 1/K.

References: D3PM (Austin et al., 2021), https://arxiv.org/abs/2107.03006, eq. 1; Shi et al. (2024),
https://arxiv.org/abs/2406.04329, eq. 5; orders: Hoogeboom et al. (2022),
https://arxiv.org/abs/2110.02037, eq. 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from diffode.doors import Numbers, as_count, as_state
from diffode.fields.base import Field
from diffode.fields.tokens import Absorbing, TokenField
from diffode.rng import Rng

DRAWS = 128  # corruptions of each sample
FEW, MOST = 8, 16  # positions up to which all sets are summed, and may be


@dataclass(frozen=True)
class Elbo:
    r"""A bound of log-probabilities from below, in nats; each tensor has shape (B,).

    Attributes:
        nats: the bound of :math:`\log P(x_0)`, float64.
        stderr: its standard error by the spread of the drawn corruptions, somewhat too large as
            their times are spread evenly; 0 where it is a finite sum.
        calls: evaluations of the posterior for each sample.
        closed: whether it is the finite sum.
    """

    nats: Tensor
    stderr: Tensor
    calls: int
    closed: bool


def elbo(
    field: Field,
    x: Numbers,
    y: Numbers | int | None = None,
    *,
    steps: int | None = None,
    closed: bool | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Elbo:
    r"""Bound the log-probabilities of samples under a field of tokens.

    Arguments:
        field: of masked or replaced tokens.
        x: samples in the units of the data, shape (B, \*event), values of the field's levels;
            with bins it is the probability of the bin.
        y: labels, shape (B,); one label stands for all.
        steps: K, for the law of samples drawn in K equal steps, by masks on few positions; None
            is many steps.
        closed: whether the finite sum is taken, which masks have; None is where there are at most
            8 positions, as it takes 2^L evaluations.
        draws: corruptions of each sample, where it is not.
        seed: of the corruptions; row i depends on (seed, i) alone.
        batch: rows held at once; None for all.
        progress: called with the number of samples that are done after each batch.

    Raises:
        TypeError: another field.
        ValueError: values that are no levels, a count or a label that does not fit, or a finite
            sum or its steps where there is none.
    """
    if not isinstance(field, TokenField):
        raise TypeError(
            f"got a {type(field).__name__}; the ELBO is for fields of tokens, others have log_prob"
        )
    x0 = field.as_state(field.from_data(as_state(x, field.event_shape).to(field.device)))
    labels = field.as_labels(y, len(x0))
    size = len(x0) if batch is None else as_count(batch, "batch", 1)
    draws, length = as_count(draws, "draws", 2), x0[0].numel()
    masks = isinstance(field.corruption, Absorbing)
    if closed and not (masks and length <= MOST):
        raise ValueError(
            f"got closed=True for {field.corruption!r} at {length} positions; the finite sum is "
            f"for masks on at most {MOST}"
        )
    closed = (masks and length <= FEW) if closed is None else closed
    if steps is not None and not closed:
        raise ValueError(
            f"got steps={steps}; only the finite sum knows steps, for masks on at most {MOST} "
            "positions; leave steps out for the bound of many"
        )
    weights = _weights(length, None if steps is None else as_count(steps, "steps", 1))
    parts = []
    with torch.no_grad():
        for first in range(0, len(x0), size):
            rows = torch.arange(first, min(len(x0), first + size))
            own = None if labels is None else labels[rows].to(field.device)
            if closed:
                nats = -(_shown(field, x0[rows], own) @ weights.to(field.device))
                parts.append((nats, torch.zeros_like(nats)))
            else:
                parts.append(_drawn(field, x0[rows], own, draws, Rng(seed).rows(rows)))
            if progress is not None:
                progress(int(rows[-1]) + 1)
    nats, error = (torch.cat(found) for found in zip(*parts, strict=True))
    return Elbo(nats, error, 2**length - 1 if closed else draws, closed)


def _shown(field: TokenField, x0: Tensor, y: Tensor | None) -> Tensor:
    r""":math:`-\sum_{|S| = j} \sum_{i \notin S} \log q(x^i | x^S)` by j, shape (B, L)."""
    assert isinstance(field.corruption, Absorbing)
    length = x0[0].numel()
    costs = torch.zeros(len(x0), length, dtype=torch.float64, device=x0.device)
    for places in product((False, True), repeat=length):
        j = sum(places)
        if j == length:
            continue
        shown = torch.tensor(places, device=x0.device).view(x0.shape[1:])
        x, t = torch.where(shown, x0, field.corruption.mask), 1 - j / length
        log_q = field.log_posterior(x, t, y)
        costs[:, j] += t * field.corruption.cost(log_q, x0, x, t)
    return costs


def _weights(length: int, steps: int | None) -> Tensor:
    """How often a set of j shown positions is met times the share revealed next, (L,)."""
    j = torch.arange(length, dtype=torch.float64)
    if steps is None:
        beta = torch.lgamma(j + 1) + torch.lgamma(length - j) - math.lgamma(length + 1)
        return beta.exp()
    a = torch.arange(steps, dtype=torch.float64)[:, None] / steps
    return (a**j * (1 - a) ** (length - j - 1)).mean(0)


def _drawn(
    field: TokenField, x0: Tensor, y: Tensor | None, draws: int, rng: Rng
) -> tuple[Tensor, Tensor]:
    """The bound and its standard error, by corruptions at times spread evenly."""
    costs = []
    for k in range(draws):
        own = rng.at(k)
        t = (k + own.uniform("time", (len(x0),), x0.device)) / draws
        x = field.corruption.corrupt(x0, t, own)
        costs.append(field.corruption.cost(field.log_posterior(x, t, y), x0, x, t))
    found = torch.stack(costs)
    return -found.mean(0), found.std(0) / math.sqrt(draws)
