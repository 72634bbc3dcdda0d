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
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from diffode.fields.base import AffineField, expand_like
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.coefficients import MultistepRule, StepCoefficients, Update, table
from diffode.solvers.counted import CountedField
from diffode.solvers.forms import Nodes, NodesByValue


class Multistep(Solver):
    """A multistep method on an affine field; a new one states its ``rule``."""

    needs, grid = AffineField, "f1.5"

    def rule(self, steps: int, field: AffineField | None = None) -> MultistepRule:
        """The rule for this many steps, on a field of this kind."""
        raise NotImplementedError

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        assert isinstance(f.field, AffineField)  # by Solver.check
        mean = f.field.moments[0].to(x)
        yield from walk(f.posterior_at, x, self.coefficients(f, x, times), mean)

    def coefficients(self, f: CountedField, x: Tensor, times: Tensor) -> list[StepCoefficients]:
        """The steps of points x on times that all rows share."""
        assert isinstance(f.field, AffineField)
        rule, std = self.rule(len(times) - 1, f.field), f.field.moments[1]
        schedule, t = f.field.schedule, times.cpu()
        alpha, sigma = schedule.alpha(t).numpy().copy(), schedule.sigma(t).numpy().copy()
        alpha[alpha < 1e-9 * sigma] = 0.0  # cos(pi / 2) is not 0 in floating point
        if f.to_zero_noise:
            alpha[-1], sigma[-1] = 1.0, 0.0
        how = rule.form, rule.variable, rule.scale, rule.warp
        nodes = Nodes(t.numpy(), alpha, sigma, std, schedule, *how)
        return _shared_table(rule, NodesByValue.of(nodes), x.dtype, x.device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what stays must serve solves with gradients too
def _shared_table(
    rule: MultistepRule, known: NodesByValue, dtype: torch.dtype, device: torch.device
) -> list[StepCoefficients]:
    like = torch.empty(0, dtype=dtype, device=device)
    return [step.to(like) for step in table(rule, known.nodes)]


def walk(
    posterior: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    x: Tensor,
    steps: list[StepCoefficients],
    mean: Tensor,
    past: Sequence[Tensor] = (),
) -> Iterator[Tensor]:
    """Carry x through the steps and yield the state at the end of each, corrected.

    Arguments:
        posterior: what is evaluated, a function of points and a step's index.
        x: the points where the first step begins.
        steps: from `table`, for these points.
        mean: the data's mean.
        past: slopes before x, the latest first.
    """
    slopes, before = deque(past, maxlen=8), x
    last_x0, at_rest = x, None
    for k, step in enumerate(steps):
        x0, n = posterior(x, k)
        slopes.appendleft(_sum(step.x0, x0, step.n, n))
        if k and step.correct is not None:
            goal = _apply(step.correct, before, mean, slopes)
            if step.freeze_threshold is not None:
                at_rest = _length(x0 - last_x0) < step.freeze_threshold * _length(goal - x)
            x = torch.lerp(x, goal, step.correct.fraction)
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


def _sum(a: Tensor | None, x: Tensor, b: Tensor | None, y: Tensor) -> Tensor:
    if b is None:
        assert a is not None
        return a * x
    return b * y if a is None else torch.addcmul(a * x, b, y)


def _apply(to: Update, x: Tensor, mean: Tensor, slopes: deque[Tensor]) -> Tensor:
    out = to.keep * x
    if to.mean is not None:
        out = torch.addcmul(out, to.mean, mean)
    for w, slope in zip(to.weights, slopes, strict=False):
        out = torch.addcmul(out, w, slope)
    return out
