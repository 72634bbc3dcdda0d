r"""What theory allows: a bound on the Wasserstein distance of a trained flow from the exact one.

Let x follow the exact velocity u and y the trained one v, each in the direction of sampling, and
let :math:`L_t` be the one-sided Lipschitz constant of u: the largest eigenvalue, over all points,
of the symmetric part of its Jacobian. Then :math:`\frac{d}{dt} |x - y| \le L_t |x - y| + |u(y) -
v(y)|`, and by Gronwall and Minkowski

.. math:: W_2(p, q) \le e^{\int L} \, W_2(p_T, q_T)
          + \int e^{\int_t L_s ds} \, \bigl( E_{y \sim q_t} |u_t(y) - v_t(y)|^2 \bigr)^{1/2} dt .

No clock makes it less loose: a change of time, or of scale x -> c(t) x, adds c'/c to L, which its
integral gives back (the norm of the Jacobian in place of the one-sided constant would not). It is
computed in the angle, in which the integrals are finite at both ends. It is a diagnostic, not an
estimate: the exponential assumes that every sample meets the worst place at every time.

Reference: Kwon, Fan and Lee (2022), Score-based generative modeling secretly minimizes the
Wasserstein distance, https://arxiv.org/abs/2212.06359, theorem 1, there with the trained L.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffode.doors import as_time
from diffode.fields.affine import AffineField
from diffode.fields.base import Start
from diffode.fields.reschedule import Rescheduled, rescheduled
from diffode.rng import Rng
from diffode.solvers import get_solver

MOST = 16  # coordinates, for each of which the Jacobian takes a backward pass
_REACH, _SIDE = 4.0, 48  # of the grid of points, in spreads of the state, in the plane


@dataclass(frozen=True)
class Bound:
    """The bound beside what it bounds, in units of the data.

    L is the largest that was found: on the trained paths, and in the plane on a grid besides.

    Attributes:
        value: the bound, start and model together.
        start: what the prior's mismatch contributes.
        model: what the model's error contributes.
        measured: the RMS distance of paired end points, itself no less than W2.
        exponent: the integral of L.
        steps: of the time grid.
    """

    value: float
    start: float
    model: float
    measured: float
    exponent: float
    steps: int

    @property
    def looseness(self) -> float:
        """How many times the bound is what was measured."""
        return self.value / self.measured if self.measured > 0 else math.inf


class _As(AffineField):
    """An exact field that states the moments of another, so that both share one angle."""

    def __init__(self, inner: AffineField, like: AffineField) -> None:
        super().__init__(inner.schedule, inner.noise, *like.moments)
        self.principal_std = like.principal_std
        self.inner = inner

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Those of the exact field."""
        return self.inner.posterior(x, t, y)


@torch.no_grad()
def wasserstein_bound(
    trained: AffineField,
    exact: AffineField,
    x0: Tensor,
    *,
    steps: int = 200,
    seed: int = 0,
) -> Bound:
    """The bound for a trained field, and the paired distance that it bounds.

    Arguments:
        trained: with normal noise, or Student-t noise in its plane form.
        exact: on the same schedule and noise, such as a `Mixture`.
        x0: points of the exact law, shape (n, *event), one for each row; 16 coordinates at most.
        steps: of Heun's method, for the flows and for the integrals.
        seed: of the starts.

    Raises:
        ValueError: too many coordinates, or a start that is bound to its rows.
    """
    size = x0[0].numel()
    if size > MOST:
        raise ValueError(
            f"got points of {size} coordinates; the bound needs the whole Jacobian, so {MOST} at "
            "most"
        )
    begin = trained.start(len(x0), Rng(seed))
    if begin.field is not trained:
        raise ValueError("this field's start is bound to its rows; give its plane form")
    v, u = (rescheduled(f, "theta") for f in (trained, _As(exact, trained)))
    assert isinstance(v, Rescheduled) and isinstance(u, Rescheduled)
    times = torch.linspace(*v.span, steps + 1, dtype=torch.float64)
    (y_start, x_start), t = _starts(begin, trained, x0), trained.span[0]
    solver = get_solver("heun")
    y = solver(v, v.to_state(y_start, t), times, path=True).path
    x = solver(u, u.to_state(x_start, t), times).x
    assert y is not None
    sign = math.copysign(1.0, v.span[1] - v.span[0])
    error = torch.stack([
        (u.velocity(p, s) - v.velocity(p, s)).flatten(1).square().sum(1).mean().sqrt()
        for p, s in zip(y, times, strict=True)
    ])  # fmt: skip
    steep = torch.stack([_steepest(u, p, s, sign) for p, s in zip(y, times, strict=True)])
    width = float(times.diff().abs()[0])
    rest = _integral_from(steep, width)
    scale = _scale(u)
    begun = (y[0] - u.to_state(x_start, t)).flatten(1).square().sum(1).mean().sqrt()
    start = scale * float(rest[0].exp() * begun)
    model = scale * float(torch.trapezoid(rest.exp() * error, dx=width))
    ended = scale * float((y[-1] - x).flatten(1).square().sum(1).mean().sqrt())
    return Bound(start + model, start, model, ended, float(rest[0]), steps)


def _starts(begin: Start, field: AffineField, x0: Tensor) -> tuple[Tensor, Tensor]:
    """The prior's draw, and that of the exact law with the same noise."""
    alpha = float(field.schedule.alpha(torch.tensor(field.span[0]).double()))
    prior = begin.x.double()
    return prior, prior + alpha * (x0.double() - field.moments[0].double())


def _scale(field: Rescheduled) -> float:
    """Units of x in one of the state, at the end."""
    unit = torch.zeros(2, *field.event_shape, dtype=torch.float64)
    unit[1].view(-1)[0] = 1
    ends = field.from_state(unit, field.span[1])
    return float((ends[1] - ends[0]).norm())


def _steepest(u: Rescheduled, on: Tensor, t: Tensor, sign: float) -> Tensor:
    """The largest eigenvalue of the Jacobian's symmetric part, on paths and on a grid."""
    points = on
    size = on[0].numel()
    if size <= 2:
        reach = _REACH * on.flatten(1).std(0).max()
        axis = torch.linspace(-1, 1, _SIDE, dtype=on.dtype) * reach
        between = torch.cartesian_prod(*[axis] * size).view(-1, *on.shape[1:])
        points = torch.cat((on, between))
    at = as_time(t, points)
    back = torch.func.vjp(lambda z: u.velocity(z, at), points)[1]
    basis = torch.eye(size, dtype=on.dtype).view(size, 1, *on.shape[1:])
    rows = [back(e.expand_as(points))[0].flatten(1) for e in basis]
    jacobian = sign * torch.stack(rows, 1)
    largest: Tensor = torch.linalg.eigvalsh((jacobian + jacobian.mT) / 2)[:, -1]
    return largest.max()


def _integral_from(values: Tensor, width: float) -> Tensor:
    """The integral from each time to the last, by trapezoids."""
    pieces = (values[1:] + values[:-1]) * (width / 2)
    return torch.cat((pieces.flip(0).cumsum(0).flip(0), values.new_zeros(1)))
