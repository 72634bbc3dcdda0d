r"""The bound of the articles on a trained flow's distance from the true one, and how loose it is.

Let x follow the exact velocity v from :math:`x(0) \sim p_0` and y the trained one :math:`\hat v`
from :math:`y(0) \sim q_0`, in a time that runs from the prior to the data, and let :math:`e = y -
x`. Then

.. math:: \tfrac12 \tfrac{d}{dt} |e|^2 = \langle e, \hat v(y) - \hat v(x) \rangle
          + \langle e, \hat v(x) - v(x) \rangle
          \le L_t |e|^2 + |e| \, |\hat v(x) - v(x)|

with :math:`L_t` the largest eigenvalue of the symmetric part of :math:`\nabla \hat v_t` on the
way from x to y, its one-sided Lipschitz constant. For all pairs together, with the largest
:math:`L_t` of any, the inequality of Cauchy and Schwarz and Gronwall's lemma give

.. math:: W_2(p, q) \le \bigl( E|e(T)|^2 \bigr)^{1/2} \le e^{\int_0^T L_s ds} \,
          \bigl( E|e(0)|^2 \bigr)^{1/2} + \int_0^T e^{\int_t^T L_s ds} \,
          \bigl( E_{p_t} |\hat v_t - v_t|^2 \bigr)^{1/2} dt .

The constant is the trained field's because the error is an average over the exact law; with the
exact field's constant it would be one over the trained law. No clock makes the bound less loose:
a change of time, or of scale :math:`x \to c(t) x`, adds :math:`\dot c / c` to L, which its
integral gives back. With the norm of the Jacobian in place of the one-sided constant that would
not hold, and the bound would be far larger. It is computed in the angle, whose integrals are
finite at both ends of every schedule.

Keeping each pair's own constant instead of the largest, :math:`|e_i(T)| \le e^{\int L^i} |e_i(0)|
+ \int e^{\int_t L^i} |\hat v - v|(x_i) dt`, gives a bound from the same numbers that is less
loose.

References: Benton, Deligiannidis and Doucet (2024), Error bounds for flow matching methods,
https://arxiv.org/abs/2305.16860, theorem 1; Kwon, Fan and Lee (2022), Score-based generative
modeling secretly minimizes the Wasserstein distance, https://arxiv.org/abs/2212.06359, theorem 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diffode.bench.budget_stages import partner
from diffode.bench.metrics import wasserstein2
from diffode.bench.twin import Exact, require_affine, require_same_path, twin
from diffode.fields.base import AffineField
from diffode.fields.reschedule import Rescheduled, rescheduled
from diffode.rng import Rng
from diffode.solvers import get_solver, grid

_BETWEEN = (0.0, 0.5, 1.0)  # of the way from x to y, where L is measured
_METHOD, _TOLERANCE = "dopri5-rows", 1e-6


@dataclass(frozen=True, eq=False)
class Bound:
    """The bound, what it bounds, and what it is made of; distances in units of the data.

    Attributes:
        value: the bound.
        by_rows: the less loose one, with each pair's own constant.
        start: the share of ``value`` that comes from the prior's mismatch.
        model: the share that comes from the model's error.
        paired: the root of the mean squared distance of the paired end points.
        w2: the W2 distance of the end points, exact.
        exponent: the integral of L over the whole way, in the angle.
        times: of the angle, from the prior to the data, shape (K + 1,).
        lipschitz: L at these times.
        errors: the root of the mean squared error of the velocity at these times.
    """

    value: float
    by_rows: float
    start: float
    model: float
    paired: float
    w2: float
    exponent: float
    times: Tensor
    lipschitz: Tensor
    errors: Tensor

    @property
    def ratio(self) -> float:
        """How loose it is: the bound over the distance measured."""
        return self.value / self.w2

    @property
    def holds(self) -> bool:
        """Whether the distances are in the theorem's order, but for 1 % of the integrals."""
        ladder = (self.w2, self.paired, self.by_rows, self.value)
        return all(a <= 1.01 * b for a, b in pairwise(ladder))

    def __str__(self) -> str:
        return (
            f"W2 {self.w2:.3g} <= paired {self.paired:.3g} <= by rows {self.by_rows:.3g} <= bound "
            f"{self.value:.3g} (start {self.start:.3g}, model {self.model:.3g}): "
            f"{self.ratio:.3g} times the distance"
        )


def wasserstein_bound(
    field: AffineField,
    exact: Exact,
    *,
    n: int = 250,
    seed: int = 0,
    steps: int = 100,
    clock: str = "theta",
    kind: str = "f1.5",
) -> Bound:
    """Bound the W2 distance of a trained field's flow from the exact one, and measure it.

    A Poisson field starts both flows on its hemisphere, so that its bound has no start: the
    prior's mismatch is then apart, in the error budget.

    Arguments:
        field: the trained field.
        exact: the exact one, on its schedule and noise, see `diffode.bench.twin.exact_field`.
        n: pairs; the largest L is that of n paths and the ways between them.
        seed: of the starts.
        steps: of the time grid that the integrals are summed over.
        clock: that they are computed in; "theta" is the angle.
        kind: of the time grid.

    Raises:
        TypeError: a field without an exact twin.
        ValueError: an exact field of another path.
    """
    affine = require_affine(field)
    require_same_path(affine, exact)
    rng = Rng(seed)
    own, true = affine.start(n, rng), twin(affine, exact).start(n, rng)
    assert isinstance(own.field, AffineField) and isinstance(true.field, AffineField)
    y = x = own.x.double()
    if own.field is affine:  # a hemisphere binds each row to a field of its own
        x = partner(affine, y, None, exact.sample(n, rng).to(y))
    model, truth = rescheduled(own.field, clock), rescheduled(true.field, clock)
    assert isinstance(model, Rescheduled) and isinstance(truth, Rescheduled)
    native = grid(affine, steps, kind)
    times = model.times(native)
    ways = _path(truth, true.field, x, native), _path(model, own.field, y, native)
    rates, errors = _along(model, truth, ways, times)
    return _bound(times, rates, errors, ways, 1 / float(model.schedule.alpha(times[-1])))


@torch.no_grad()
def _path(moved: Rescheduled, field: AffineField, x: Tensor, native: Tensor) -> Tensor:
    """The converged states at all times, in the clock's own state, shape (K + 1, n, *event)."""
    solver = get_solver(_METHOD, rtol=_TOLERANCE, atol=_TOLERANCE)
    path = solver(field, x, native, path=True).path
    assert path is not None
    return torch.stack([moved.enter(z, t) for z, t in zip(path, native, strict=True)])


def _along(
    model: Rescheduled, truth: Rescheduled, ways: tuple[Tensor, Tensor], times: Tensor
) -> tuple[Tensor, Tensor]:
    """Each pair's L and error of the velocity at all times, both (K + 1, n)."""
    sign = float((times[-1] - times[0]).sign())
    rates, errors = [], []
    count = len(ways[0][0])
    between = model.rows(torch.arange(count).repeat(len(_BETWEEN)))
    for x, y, t in zip(*ways, times, strict=True):
        places = torch.cat([torch.lerp(x, y, torch.tensor(share).to(x)) for share in _BETWEEN])
        steepest = _steepest(between, places, t, sign)
        rates.append(steepest.view(len(_BETWEEN), count).amax(0))
        with torch.no_grad():
            wrong = model.velocity(x, t) - truth.velocity(x, t)
        errors.append(wrong.flatten(1).norm(dim=1))
    return torch.stack(rates), torch.stack(errors)


def _steepest(field: Rescheduled, x: Tensor, t: Tensor, sign: float) -> Tensor:
    """The largest eigenvalue of the symmetric part of the velocity's Jacobian, shape (n,)."""
    x = x.detach().requires_grad_()
    flow = sign * field.velocity(x, t).flatten(1)
    lines = [
        torch.autograd.grad(flow[:, i].sum(), x, retain_graph=i + 1 < flow.shape[1])[0].flatten(1)
        for i in range(flow.shape[1])
    ]
    jacobian = torch.stack(lines, 1)
    values: Tensor = torch.linalg.eigvalsh((jacobian + jacobian.mT) / 2)
    return values[:, -1]


def _bound(
    times: Tensor, rates: Tensor, errors: Tensor, ways: tuple[Tensor, Tensor], unit: float
) -> Bound:
    """Sum the integrals; ``unit`` turns the clock's last state into data."""
    x, y = (way.flatten(2) for way in ways)
    length = times.diff().abs()
    apart = (y[0] - x[0]).norm(dim=1)
    top, error = rates.amax(1), errors.square().mean(1).sqrt()
    first, second = _grown(length, top[:, None], error[:, None])
    own_first, own_second = _grown(length, rates, errors)
    start = unit * float(first[0] * _rms(apart))
    model = unit * float(second[0])
    return Bound(
        value=start + model,
        by_rows=unit * _rms(own_first * apart + own_second),
        start=start,
        model=model,
        paired=unit * _rms((y[-1] - x[-1]).norm(dim=1)),
        w2=unit * wasserstein2(x[-1], y[-1]).value,
        exponent=float(_trapezoid(length, top[:, None])[0, 0]),
        times=times,
        lipschitz=top,
        errors=error,
    )


def _grown(length: Tensor, rates: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """What a gap at the start grows to, and what the errors on the way add up to, both (n,)."""
    growth = _trapezoid(length, rates).exp()
    middle = (growth * errors)[1:] + (growth * errors)[:-1]
    return growth[0], (length[:, None] * middle / 2).sum(0)


def _trapezoid(length: Tensor, values: Tensor) -> Tensor:
    """The integral from each time to the last, shape (K + 1, n)."""
    pieces = length[:, None] * (values[1:] + values[:-1]) / 2
    whole = pieces.flip(0).cumsum(0).flip(0)
    return torch.cat((whole, torch.zeros_like(whole[:1])))


def _rms(lengths: Tensor) -> float:
    return float(lengths.square().mean().sqrt())
