r"""The order of a multistep method chosen for each row at each time, by what would have been best.

When a slope is evaluated, the polynomials of every order through those before it can be held
against it, at no further evaluation. With :math:`H_0` the new slope and :math:`\hat H_q` what
order q would have foretold,

.. math:: e_q = \log \mathrm{rms}(H_0 - \hat H_q), \qquad
          \bar e_q \leftarrow \tfrac12 (\bar e_q + e_q), \qquad
          o = \arg\min_q \, \bar e_q + \tfrac15 |q - k|,

with k the order that the rule has for this number of steps. High orders are the most accurate
where a field is smooth; where guidance makes it steep and crooked they overshoot, and this finds
it out. So it needs no word of a guidance weight. No row has a part in another's order.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.solvers.coefficients import Correction, MultistepRule, StepCoefficients, Update
from diffode.solvers.forms import Array, Nodes
from diffode.solvers.multistep import Walk, steps_of

HIGHEST, PENALTY = 4, 0.2


class VariableOrder(Walk):
    """A walk that chooses the order of each row.

    Arguments:
        rule: where the choice begins.
        nodes: the times.
        mean: the data's mean.
        like: points of the type and on the device of those that are moved.
    """

    def __init__(self, rule: MultistepRule, nodes: Nodes, mean: Tensor, like: Tensor) -> None:
        rules = [replace(rule, order=q, variable_order=False) for q in range(1, HIGHEST + 1)]
        self.tables = [steps_of(each, nodes, like) for each in rules]
        super().__init__(self.tables[0], mean)
        self.base = rule.order
        self.foretold = [
            [like.new_tensor(w) for w in _extrapolation(nodes, k)] for k in range(len(self.steps))
        ]
        self.misfits: Tensor | None = None
        self.order: Tensor | None = None

    def coefficients(self) -> StepCoefficients:
        """Those of the step that begins now, of each row's own order."""
        k, newest = self.taken, self.slopes[0]
        steps = [table[k] for table in self.tables]
        before = self.order
        self.order = self._chosen(newest)
        step = replace(steps[0], go=_step([s.go for s in steps], self.order, newest), onwards=None)
        if before is None:
            return step
        correct = _correction([s.correct for s in steps], before, newest)
        limits = [s.freeze_threshold for s in steps]
        if any(limit is None for limit in limits):
            return replace(step, correct=correct)
        limit = torch.stack([v for v in limits if v is not None])[before - 1]
        return replace(step, correct=correct, freeze_threshold=limit)

    def _chosen(self, newest: Tensor) -> Tensor:
        """The order of each row's next step, shape (B,)."""
        known = [
            newest - sum(w * h for w, h in zip(ws, list(self.slopes)[1:], strict=False))
            for ws in self.foretold[self.taken]
        ]
        if not known:
            return torch.ones(len(newest), dtype=torch.long, device=newest.device)
        square = torch.stack([gap.flatten(1).square().mean(1) for gap in known], 1)
        misfits = square.clamp_min(torch.finfo(square.dtype).tiny).log() / 2
        if self.misfits is not None:
            shared = self.misfits.shape[1]
            misfits[:, :shared] = (misfits[:, :shared] + self.misfits) / 2
        self.misfits = misfits
        tested = torch.arange(1, len(known) + 1, device=newest.device)
        order = (misfits + PENALTY * (tested - self.base).abs()).argmin(1) + 1
        untested = (order == len(known)) & (len(known) < HIGHEST)
        return torch.where(untested, order + 1, order)


def _extrapolation(nodes: Nodes, k: int) -> list[Array]:
    """For each order the weights of the slopes before the k-th time in the polynomial there."""
    with np.errstate(divide="ignore", invalid="ignore"):
        u = nodes.u(nodes.clock)
    found = []
    for order in range(1, min(HIGHEST, k) + 1):
        at = u[k - 1 - np.arange(order)]
        ratio = (u[k] - at[None]) / (at[:, None] - at[None] + np.eye(order))
        found.append(np.where(np.eye(order, dtype=bool), 1.0, ratio).prod(1))
    return found


def _step(updates: list[Update | None], order: Tensor, like: Tensor) -> Update | None:
    """One update whose numbers are those of each row's order; None where there is none."""
    known = [u for u in updates if u is not None]
    if len(known) < len(updates):
        return None
    keep, mean, *weights = _rows([[u.keep, u.mean, *u.weights] for u in known], order, like)
    return Update(keep, mean, weights)


def _correction(
    corrections: list[Correction | None], order: Tensor, like: Tensor
) -> Correction | None:
    """The same of corrections."""
    known = [c for c in corrections if c is not None]
    if len(known) < len(corrections):
        return None
    numbers = [[c.fraction, c.mean, *c.weights] for c in known]
    fraction, mean, *weights = _rows(numbers, order, like)
    return Correction(mean, weights, fraction)


def _rows(numbers: list[list[Tensor | None]], order: Tensor, like: Tensor) -> list[Tensor]:
    """Of one list of numbers for each order, those of each row's; what one has not is 0."""
    longest = max(map(len, numbers))
    zero = like.new_zeros(())
    filled = [
        [zero if v is None else v for v in (*row, *[zero] * (longest - len(row)))]
        for row in numbers
    ]
    chosen = torch.stack([torch.stack(row) for row in filled])[order - 1].T
    return [expand_like(row, like) for row in chosen]
