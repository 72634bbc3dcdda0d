r"""Multistep methods on affine fields: one loop, and coefficients that are numbers.

In each of the `diffode.solvers.forms` the flow reads :math:`dS/d\tau = H`, with a state S, a time
:math:`\tau` and a slope H. A multistep method remembers the slopes of its last times. A step of
order k passes a polynomial through the last k slopes and integrates it exactly,

.. math:: S_{i+1} = S_i + \sum_{j<k} w_{ij} H_{i-j},

at one evaluation a step: this is the prediction. A corrector improves it at no further cost. The
slope at the new point is evaluated anyway, for the next step. With it the last step is made
again, its polynomial through the new slope as well, and the state moves the fraction
:math:`\beta` of the way from the prediction to that result.

The whole way, :math:`\beta = 1` (UniPC), overshoots where steps are large. Take data that is one
point: in the angle the state then obeys :math:`dz/d\theta = z \cot\theta`, so the new slope
depends on the state that it corrects. Solving for the state that agrees with its own slope gives,
with :math:`w_0` the weight of the new slope,

.. math:: \beta = \frac{1}{1 - \kappa \, w_0 \cot\theta}, \qquad \kappa = 1.

Measurements on other data favour :math:`\kappa = 3`, see docs/solvers.md.

References: Zhao et al. (2023), https://arxiv.org/abs/2302.04867 (the free corrector); Zhang and
Chen (2023), https://arxiv.org/abs/2204.13902 (exact integration of the polynomial).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffode.fields.base import AffineField, expand_like
from diffode.rng import Rng
from diffode.solvers.base import CountedField, Solver
from diffode.solvers.forms import (
    Array,
    Form,
    Nodes,
    NodesByValue,
    Variable,
    contraction,
    interpolatory,
)

Number = Any  # a float, or a tensor (B, 1, ...) where rows have times of their own


@dataclass(frozen=True)
class Update:
    """A linear combination of x, the data's mean m and slopes, and how far to move to it.

    Attributes:
        keep, mean, weights: of keep x + mean m + sum_j weights_j H_j, the latest slope first.
        fraction: the part of the way to it that x moves; 1 is all of it.
    """

    keep: Number
    mean: Number
    weights: list[Number]
    fraction: Number = 1.0


@dataclass(frozen=True)
class StepCoefficients:
    r"""What a method does at one of its times, called a node.

    Attributes:
        x0, n: the factors a and b of the slope, :math:`H = a E[x_0|x] + b E[n|x]`.
        correct: the last step made again with this slope; None for no correction.
        go: the step to the next node; None where alpha is 0 at one end, so that the form has no
            number for it. DDIM's step, the first order of every form, takes its place.
        level: :math:`\alpha'` and :math:`\sigma'` at the next node. DDIM's step ends at
            :math:`\alpha' E[x_0|x] + \sigma' E[n|x]`, which is exact while both means stay.
        freeze_threshold: a number c. A row whose E[x_0] changed since the last node by less than
            c times the length of its correction takes DDIM's step instead of ``go``. None: no
            row does.
    """

    x0: Number
    n: Number
    correct: Update | None
    go: Update | None
    level: tuple[Number, Number]
    freeze_threshold: Number | None = None


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
    """

    form: Form
    variable: Variable
    order: int
    corrected: bool = False
    damping: float = 0.0
    lower: int = 0
    freezes: bool = False

    def orders(self, nodes: Nodes) -> Array:
        """The order of each step: lower where fewer slopes are known, or near the end."""
        steps = len(nodes.time) - 1
        finite = np.isfinite(nodes.u(nodes.clock)).reshape(steps + 1, -1).all(1)
        history, out = 0, []
        for k in range(steps):
            history = history + 1 if finite[k] else 0
            left = steps - k if steps - k <= self.lower else self.order
            out.append(min(self.order, left, history) if finite[k + 1] else 1)
        return np.maximum(out, 1)


def table(rule: MultistepRule, nodes: Nodes) -> list[StepCoefficients]:
    """The steps of a rule on some times, with their coefficients."""
    steps = len(nodes.time) - 1
    orders = rule.orders(nodes)
    factors = nodes.slope
    updates: list[Update | None] = [None] * steps
    corrections: list[Update | None] = [None] * (steps + 1)
    for order in range(1, rule.order + 1):
        first = np.flatnonzero(orders == order)
        if len(first):
            points = first[:, None] - np.arange(order)
            for k, update in zip(first, _updates(nodes, points, first, 0.0), strict=True):
                updates[k] = update
            inner = first[first < steps - 1]  # the last slope is never evaluated
            if rule.corrected and len(inner):
                points = inner[:, None] + 1 - np.arange(order + 1)
                damped = _updates(nodes, points, inner, rule.damping)
                for k, update in zip(inner, damped, strict=True):
                    corrections[k + 1] = update
    coefficients = [
        StepCoefficients(
            _number(factors[0][k]),
            _number(factors[1][k]),
            corrections[k],
            updates[k],
            (_number(nodes.alpha[k + 1]), _number(nodes.sigma[k + 1])),
        )
        for k in range(steps)
    ]
    last = corrections[steps - 1]
    if rule.freezes and last is not None:
        reach = 0.1 * nodes.std * abs(nodes.tau[-1] - nodes.tau[-2])
        freeze_threshold = _number(reach) / abs(last.weights[0])
        coefficients[-1] = replace(coefficients[-1], freeze_threshold=freeze_threshold)
    return coefficients


def _updates(nodes: Nodes, points: Array, first: Array, damping: float) -> list[Update | None]:
    with np.errstate(divide="ignore", invalid="ignore"):
        w = interpolatory(nodes, points, first)
        fraction = np.ones_like(w[:, 0])
        if damping:
            shrink = -damping * w[:, 0] * contraction(nodes)[first + 1]
            fraction = 1 / (1 + np.maximum(shrink, 0))
        keep = nodes.size[first + 1] / nodes.size[first]
        w = w * nodes.size[first + 1][:, None]
    mean = np.zeros_like(keep)
    if nodes.form == "trig":
        mean = nodes.alpha[first + 1] - keep * nodes.alpha[first]
        mean = mean - (w * nodes.slope[0][points]).sum(1)
    good = np.isfinite(keep) & np.isfinite(w).all(1)
    return [
        Update(
            _number(keep[k]), _number(mean[k]), [_number(c) for c in w[k]], _number(fraction[k])
        )
        if good[k].all()
        else None
        for k in range(len(first))
    ]


def _number(value: Array) -> Number:
    return float(value) if np.ndim(value) == 0 else torch.from_numpy(np.ascontiguousarray(value))


class Multistep(Solver):
    """A multistep method on an affine field; a new one states its ``rule``."""

    needs, grid = AffineField, "f1.5"

    def rule(self, steps: int) -> MultistepRule:
        """The rule for this many steps."""
        raise NotImplementedError

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        assert isinstance(f.field, AffineField)  # by Solver.check
        mean = f.field.moments[0].to(x)
        yield from walk(f, x, list(times[:-1]), self.coefficients(f, times), mean)

    def coefficients(self, f: CountedField, times: Tensor) -> list[StepCoefficients]:
        """The steps on times that all rows share."""
        assert isinstance(f.field, AffineField)
        rule, std = self.rule(len(times) - 1), f.field.moments[1]
        schedule, t = f.field.schedule, times.cpu()
        alpha, sigma = schedule.alpha(t).numpy().copy(), schedule.sigma(t).numpy().copy()
        alpha[alpha < 1e-9 * sigma] = 0.0  # cos(pi / 2) is not 0 in floating point
        if f.to_zero_noise:
            alpha[-1], sigma[-1] = 1.0, 0.0
        nodes = Nodes(t.numpy(), alpha, sigma, std, schedule, rule.form, rule.variable)
        return _shared_table(rule, NodesByValue.of(nodes))


@lru_cache(maxsize=64)
def _shared_table(rule: MultistepRule, known: NodesByValue) -> list[StepCoefficients]:
    return table(rule, known.nodes)


def walk(
    f: CountedField,
    x: Tensor,
    times: list[Tensor],
    steps: list[StepCoefficients],
    mean: Tensor,
    past: Sequence[Tensor] = (),
) -> Iterator[Tensor]:
    """Carry x through the steps and yield the state at the end of each, corrected.

    Arguments:
        f: what is evaluated.
        x: the points at times[0].
        times: where each step begins.
        steps: from `table`.
        mean: the data's mean.
        past: slopes before times[0], the latest first.
    """
    slopes, before = deque(past, maxlen=8), x
    last_x0, at_rest = x, None
    for k, step in enumerate(steps):
        x0, n = f.posterior(x, times[k])
        slopes.appendleft(_sum(step.x0, x0, step.n, n))
        if k and step.correct is not None:
            goal = _apply(step.correct, before, mean, slopes)
            if step.freeze_threshold is not None:
                at_rest = _length(x0 - last_x0) < step.freeze_threshold * _length(goal - x)
            x = _toward(x, goal, step.correct.fraction)
        if k:
            yield x
        before, last_x0 = x, x0
        frozen = step.go is None or at_rest is not None
        ddim = _sum(step.level[0], x0, step.level[1], n) if frozen else x
        if step.go is None:
            x = ddim
        else:
            x = _apply(step.go, x, mean, slopes)
            if at_rest is not None:
                x = torch.where(expand_like(at_rest, x).bool(), ddim, x)
    yield x


def _length(x: Tensor) -> Tensor:
    length: Tensor = x.flatten(1).norm(dim=1)
    return length


def _toward(x: Tensor, goal: Tensor, fraction: Number) -> Tensor:
    return torch.lerp(
        x, goal, fraction if isinstance(fraction, float) else expand_like(fraction, x)
    )


def _sum(a: Number, x: Tensor, b: Number, y: Tensor) -> Tensor:
    if isinstance(a, float):
        return torch.add(a * x, y, alpha=b) if a else b * y
    return expand_like(a, x) * x + expand_like(b, x) * y


def _apply(to: Update, x: Tensor, mean: Tensor, slopes: deque[Tensor]) -> Tensor:
    if isinstance(to.keep, float):
        out = torch.add(to.keep * x, mean, alpha=to.mean) if to.mean else to.keep * x
        for w, slope in zip(to.weights, slopes, strict=False):
            out = torch.add(out, slope, alpha=w)
        return out
    out = expand_like(to.keep, x) * x + expand_like(to.mean, x) * mean
    for w, slope in zip(to.weights, slopes, strict=False):
        out = torch.addcmul(out, expand_like(w, x), slope)
    return out
