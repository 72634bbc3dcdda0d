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

Measurements on other data favour :math:`\kappa = 3`, see docs/appendix/solvers.md.

References: Zhao et al. (2023), https://arxiv.org/abs/2302.04867 (the free corrector); Zhang and
Chen (2023), https://arxiv.org/abs/2204.13902 (exact integration of the polynomial).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.by_coordinate import ByCoordinate, by_coordinate, coordinate_steps
from diffode.solvers.coefficients import (
    Correction,
    MultistepRule,
    StepCoefficients,
    Update,
    table,
)
from diffode.solvers.counted import CountedField
from diffode.solvers.forms import Nodes, NodesByValue


class Multistep(Solver):
    """A multistep method on an affine field; a new one states its ``rule``."""

    needs, grid, per_coordinate = AffineField, "f1.5", True

    def rule(self, steps: int, field: AffineField | None = None) -> MultistepRule:
        """The rule for this many steps, on a field of this kind."""
        raise NotImplementedError

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        assert isinstance(f.field, AffineField)  # by Solver.check
        walk = self.walk(f.field, x, times, f.to_zero_noise)
        yield from walk.through(f.posterior_at, x, not f.end_only)

    def walk(self, field: AffineField, x: Tensor, times: Tensor, to_zero_noise: bool) -> Walk:
        """The solve of points like x on times that all rows share."""
        rule = self.rule(len(times) - 1, field)
        nodes = nodes_of(rule, field, times, to_zero_noise)
        return Walk(steps_of(rule, nodes, x), field.moments[0].to(x))


def nodes_of(
    rule: MultistepRule, field: AffineField, times: Tensor, to_zero_noise: bool = False
) -> Nodes:
    """The times of a solve as a rule sees them; the last one at the data itself if so asked."""
    t, schedule = times.cpu(), field.schedule
    alpha, sigma = schedule.alpha(t).numpy().copy(), schedule.sigma(t).numpy().copy()
    alpha[alpha < 1e-9 * sigma] = 0.0  # cos(pi / 2) is not 0 in floating point
    if to_zero_noise:
        alpha[-1], sigma[-1] = 1.0, 0.0
    how = rule.form, rule.variable, rule.scale, rule.warp
    nodes = Nodes(t.numpy(), alpha, sigma, field.moments[1], schedule, *how)
    return nodes if field.decay is None else by_coordinate(nodes, field, to_zero_noise)


def steps_of(rule: MultistepRule, nodes: Nodes, like: Tensor) -> list[StepCoefficients]:
    """The steps of a rule for points like these; those of the latest solves are kept."""
    if isinstance(nodes, ByCoordinate):
        return coordinate_steps(rule, nodes, like)
    return _shared_table(rule, NodesByValue.of(nodes), like.dtype, like.device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what stays must serve solves with gradients too
def _shared_table(
    rule: MultistepRule, known: NodesByValue, dtype: torch.dtype, device: torch.device
) -> list[StepCoefficients]:
    like = torch.empty(0, dtype=dtype, device=device)
    return [step.to(like) for step in table(rule, known.nodes)]


class Walk:
    """A solve that is handed its evaluations one by one.

    Arguments:
        steps: from `table`, for the points that are moved.
        mean: the data's mean.
        past: slopes before the first point, the latest first.
    """

    def __init__(
        self, steps: list[StepCoefficients], mean: Tensor, past: Sequence[Tensor] = ()
    ) -> None:
        self.steps, self.mean = steps, mean
        self.taken, self.slopes = 0, deque(past, maxlen=8)
        self._corrects = False
        self._x: Tensor | None = None
        self._correct: Correction | None = None
        self._last_x0: Tensor | None = None

    def coefficients(self) -> StepCoefficients:
        """Those of the step that begins now; its own slope is the first of ``slopes``."""
        return self.steps[self.taken]

    def advance(self, x: Tensor, x0: Tensor, n: Tensor) -> Tensor:
        """Where the next step ends, the last one corrected by what was evaluated at its end.

        Arguments:
            x: where the last step ended; at first, where the solve begins.
            x0, n: E[x_0 | x] and E[n | x].
        """
        factors = self.steps[self.taken]
        self.slopes.appendleft(_sum(factors.x0, x0, factors.n, n))
        step = self.coefficients()
        correct = step.correct if self._corrects else None
        last_x0, self._last_x0 = self._last_x0, x0
        self._x, self._correct, self._corrects = x, correct, True
        self.taken += 1
        if step.go is None:
            return _sum(step.level[0], x0, step.level[1], n)
        if correct is None or step.onwards is None:
            to = self._apply(step.go, self.corrected())
        else:
            to = self._apply(step.onwards, x)
        if correct is None or step.freeze_threshold is None or last_x0 is None:
            return to
        at_rest = _length(x0 - last_x0) < step.freeze_threshold * _length(self._beyond(correct))
        ddim = _sum(step.level[0], x0, step.level[1], n)
        return torch.where(expand_like(at_rest, to).bool(), ddim, to)

    def corrected(self) -> Tensor:
        """Where the last but one step ended, corrected: the point that the last one began at."""
        assert self._x is not None
        if self._correct is None:
            return self._x
        return torch.addcmul(self._x, self._correct.fraction, self._beyond(self._correct))

    def changed(self) -> None:
        """Say that the next point is not where the last step ended: that step is not corrected."""
        self._corrects = False

    def through(
        self,
        posterior: Callable[[Tensor, int], tuple[Tensor, Tensor]],
        x: Tensor,
        corrected: bool = True,
    ) -> Iterator[Tensor]:
        """Carry x through all steps and yield the state at the end of each.

        Arguments:
            posterior: what is evaluated, a function of points and a step's index.
            x: the points where the first step begins.
            corrected: yield corrected states. The last one is the same without.
        """
        for k in range(len(self.steps)):
            to = self.advance(x, *posterior(x, k))
            if k:
                yield self.corrected() if corrected else x
            x = to
        yield x

    def _apply(self, to: Update, x: Tensor) -> Tensor:
        out = to.keep * x
        if to.mean is not None:
            out = torch.addcmul(out, to.mean, self.mean)
        return _plus(out, to.weights, self.slopes)

    def _beyond(self, move: Correction) -> Tensor:
        newest, *earlier = self.slopes
        out = move.weights[0] * newest
        if move.mean is not None:
            out = torch.addcmul(out, move.mean, self.mean)
        return _plus(out, move.weights[1:], earlier)


def walk(
    posterior: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    x: Tensor,
    steps: list[StepCoefficients],
    mean: Tensor,
    past: Sequence[Tensor] = (),
) -> Iterator[Tensor]:
    """A `Walk` of x through these steps, see `Walk.through`."""
    yield from Walk(steps, mean, past).through(posterior, x)


def _length(x: Tensor) -> Tensor:
    length: Tensor = x.flatten(1).norm(dim=1)
    return length


def _sum(a: Tensor | None, x: Tensor, b: Tensor | None, y: Tensor) -> Tensor:
    if b is None:
        assert a is not None
        return a * x
    return b * y if a is None else torch.addcmul(a * x, b, y)


def _plus(out: Tensor, weights: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    for w, slope in zip(weights, slopes, strict=False):
        out = torch.addcmul(out, w, slope)
    return out
