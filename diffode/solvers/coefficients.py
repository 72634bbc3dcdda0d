"""The numbers of a multistep method: what each step weighs, for the times at hand.

They are tensors, as small as they are: torch multiplies points by a tensor of one number in a
third of the time that a Python number takes, on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.solvers.forms import Array, Form, Nodes, Variable, contraction, interpolatory
from diffode.solvers.mixed import Mixed


@dataclass(frozen=True)
class Update:
    """A linear combination of x, the data's mean m and slopes.

    Attributes:
        keep, mean, weights: of keep x + mean m + sum_j weights_j H_j, the latest slope first;
            no mean is 0.
    """

    keep: Tensor
    mean: Tensor | None
    weights: list[Tensor]

    def to(self, x: Tensor) -> Update:
        """The same for the points x."""
        return Update(expand_like(self.keep, x), *_to(self.mean, self.weights, x))


@dataclass(frozen=True)
class Correction:
    """How far a step made again with the slope at its end goes beyond where it ended.

    Attributes:
        mean, weights: of mean m + sum_j weights_j H_j, the latest slope first; no mean is 0.
        fraction: the part of it that x moves.
    """

    mean: Tensor | None
    weights: list[Tensor]
    fraction: Tensor

    def to(self, x: Tensor) -> Correction:
        """The same for the points x."""
        return Correction(*_to(self.mean, self.weights, x), expand_like(self.fraction, x))

    def then(self, go: Update) -> Update:
        """The step of a corrected point, from the point as it was."""
        move = go.keep * self.fraction
        weights = [move * w for w in self.weights]
        for j, w in enumerate(go.weights):
            weights[j : j + 1] = [weights[j] + w if j < len(weights) else w]
        mean = None if self.mean is None else move * self.mean
        return Update(go.keep, _total(go.mean, mean), weights)


@dataclass(frozen=True)
class StepCoefficients:
    r"""What a method does at one of its times, called a node.

    Numbers are float64 tensors of shape () or (B,), where rows have times of their own.

    Attributes:
        x0, n: the factors a and b of the slope, :math:`H = a E[x_0|x] + b E[n|x]`; none is 0.
        correct: the last step made again with this slope; None for no correction.
        go: the step to the next node; None where alpha is 0 at one end, so that the form has no
            number for it. DDIM's step, the first order of every form, takes its place.
        level: :math:`\alpha'` and :math:`\sigma'` at the next node. DDIM's step ends at
            :math:`\alpha' E[x_0|x] + \sigma' E[n|x]`, which is exact while both means stay.
        freeze_threshold: a number c. A row whose E[x_0] changed since the last node by less than
            c times the length of its correction takes DDIM's step instead of ``go``. None: no
            row does.
        onwards: ``correct`` and ``go`` in one; None where they are taken one after the other.
    """

    x0: Tensor | None
    n: Tensor | None
    correct: Correction | None
    go: Update | None
    level: tuple[Tensor, Tensor]
    freeze_threshold: Tensor | None = None
    onwards: Update | None = None

    def to(self, x: Tensor) -> StepCoefficients:
        """The same in the type and on the device of points x, and shaped to multiply them."""
        freeze, (alpha, sigma) = self.freeze_threshold, self.level
        return StepCoefficients(
            None if self.x0 is None else expand_like(self.x0, x),
            None if self.n is None else expand_like(self.n, x),
            None if self.correct is None else self.correct.to(x),
            None if self.go is None else self.go.to(x),
            (expand_like(alpha, x), expand_like(sigma, x)),
            None if freeze is None else freeze.to(x),
            None if self.onwards is None else self.onwards.to(x),
        )


@dataclass(frozen=True)
class MultistepRule:
    r"""What makes a multistep method: its form, its polynomials and its order.

    Attributes:
        form: the state and time that it is exact in.
        variable: its polynomials' variable.
        order: of the predictor.
        corrected: whether the free corrector is used.
        damping: :math:`\kappa` of the corrector; 0 moves all the way.
        lower: in how many of the last steps the order falls, by 1 a step to 1 in the last.
        freezes: whether a row that has come to rest takes DDIM's step as its last one. Near the
            data E[x_0] of a row stops at one point; DDIM's step is exact then, and a polynomial
            through earlier slopes is not. A row has come to rest if E[x_0] changed by less than a
            tenth of the error that the polynomial would make in the last step. The correction
            shows that error: it is the weight :math:`w_0` of the new slope times the slope's
            distance from the polynomial through those before it.
        scale: c of the polynomials' variable "fraction", rho / (c + rho).
        warp: what the polynomials' variable "grid" is.
        variable_order: whether `order` is only where the choice of each row's order at each time
            begins (`diffode.solvers.variable_order`).
        jumps: levels rho at which the slope jumps. No polynomial reaches across: the history
            begins anew at the first time beyond, and the step to it is not corrected.
    """

    form: Form
    variable: Variable
    order: int
    corrected: bool = False
    damping: float = 0.0
    lower: int = 0
    freezes: bool = False
    scale: float = 1.0
    warp: Mixed | None = None
    jumps: tuple[float, ...] = ()
    variable_order: bool = False

    def beyond(self, nodes: Nodes) -> Array:
        """Whether each time is the first one beyond a jump; times that all rows share."""
        above = nodes.rho[:, None] > np.array(self.jumps)
        return np.append(False, (above[1:] != above[:-1]).any(1))

    def orders(self, nodes: Nodes) -> Array:
        """The order of each step: lower where fewer slopes are known, or near the end."""
        steps = len(nodes.time) - 1
        finite = np.isfinite(nodes.known).reshape(steps + 1, -1).all(1)
        history, out, beyond = 0, [], self.beyond(nodes) if self.jumps else finite & False
        for k in range(steps):
            history = (0 if beyond[k] else history) + 1 if finite[k] else 0
            left = steps - k if steps - k <= self.lower else self.order
            out.append(min(self.order, left, history) if finite[k + 1] else 1)
        return np.maximum(out, 1)


def table(rule: MultistepRule, nodes: Nodes) -> list[StepCoefficients]:
    """The steps of a rule on some times, with their coefficients."""
    steps = len(nodes.time) - 1
    orders = rule.orders(nodes)
    factors = nodes.slope
    updates: list[Update | None] = [None] * steps
    corrections: list[Correction | None] = [None] * (steps + 1)
    for order in range(1, rule.order + 1):
        first = np.flatnonzero(orders == order)
        if len(first):
            points = first[:, None] - np.arange(order)
            went, _ = _updates(nodes, points, first, 0.0)
            for start, update in zip(first, went, strict=True):
                updates[start] = update
            inner = first < steps - 1  # the last slope is never evaluated
            if rule.jumps:
                inner &= ~rule.beyond(nodes)[np.minimum(first + 1, steps)]
            if rule.corrected and inner.any():
                points = first[inner][:, None] + 1 - np.arange(order + 1)
                goals = zip(*_updates(nodes, points, first[inner], rule.damping), strict=True)
                for start, (goal, fraction) in zip(first[inner], goals, strict=True):
                    corrections[start + 1] = _correction(updates[start], goal, fraction)
    coefficients = []
    for k in range(steps):
        correct, go = corrections[k], updates[k]
        step = StepCoefficients(
            _unless_zero(factors[0][k]),
            _unless_zero(factors[1][k]),
            correct,
            go,
            (_number(nodes.alpha[k + 1]), _number(nodes.sigma[k + 1])),
            onwards=None if correct is None or go is None else correct.then(go),
        )
        coefficients.append(step)
    last = corrections[steps - 1]
    if rule.freezes and last is not None:
        reach = 0.1 * nodes.std * abs(nodes.tau[-1] - nodes.tau[-2])
        freeze_threshold = _number(reach) / abs(last.weights[0])
        coefficients[-1] = replace(coefficients[-1], freeze_threshold=freeze_threshold)
    return coefficients


def _correction(went: Update | None, goal: Update | None, fraction: Tensor) -> Correction | None:
    """From where a step ended to where it ends with the slope there, which is the goal's first."""
    if went is None or goal is None:
        return None
    newest, *others = goal.weights
    weights = [newest, *(b - a for a, b in zip(went.weights, others, strict=True))]
    mean = _total(goal.mean, None if went.mean is None else -went.mean)
    return Correction(mean, weights, fraction)


def _updates(
    nodes: Nodes, points: Array, first: Array, damping: float
) -> tuple[list[Update | None], list[Tensor]]:
    """The steps from some times through some slopes each, and the damped parts of them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        w = interpolatory(nodes, points, first)
        fraction = np.ones_like(w[:, 0])
        if w.ndim == 3:  # rows that are at t_data before the others: those stand still
            lost = ~np.isfinite(w).all(1)
            plain = np.zeros_like(w)
            plain[:, 0] = nodes.tau[first + 1] - nodes.tau[first]
            w = np.where(lost[:, None], plain, w)
        if damping:
            shrink = -damping * w[:, 0] * contraction(nodes)[first + 1]
            fraction = 1 / (1 + np.maximum(shrink, 0))
        if w.ndim == 3:
            fraction = np.where(lost & (points[:, :1] != first[:, None]), 0.0, fraction)
        keep = nodes.size[first + 1] / nodes.size[first]
        w = w * nodes.size[first + 1][:, None]
    mean = np.zeros_like(keep)
    if nodes.form == "trig":
        mean = nodes.alpha[first + 1] - keep * nodes.alpha[first]
        mean = mean - (w * nodes.slope[0][points]).sum(1)
    good = np.isfinite(keep) & np.isfinite(w).all(1)
    updates = [
        Update(_number(keep[k]), _unless_zero(mean[k]), [_number(c) for c in w[k]])
        if good[k].all()
        else None
        for k in range(len(first))
    ]
    return updates, [_number(part) for part in fraction]


def _to(
    mean: Tensor | None, weights: list[Tensor], x: Tensor
) -> tuple[Tensor | None, list[Tensor]]:
    found = [expand_like(w, x) for w in weights]
    return None if mean is None else expand_like(mean, x), found


def _total(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


def _number(value: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value).reshape(np.shape(value)))


def _unless_zero(value: Array) -> Tensor | None:
    return _number(value) if np.any(value) else None
