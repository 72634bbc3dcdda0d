"""The reverse SDE in the angle, with the Gaussian part of the data integrated exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.options import Finite
from diffode.rng import Rng
from diffode.solvers.brownian import BrownianPath
from diffode.solvers.counted import CountedField
from diffode.solvers.reverse import ReverseProcess

_NODES, _WEIGHTS = (v.tolist() for v in np.polynomial.legendre.leggauss(16))


class TrigSDE(ReverseProcess):
    r"""An exponential integrator of the reverse processes in the angle, exact on a Gaussian.

    In the clock "theta" of `diffode.fields.rescheduled`, where the state z has unit variance and
    the velocity v vanishes if the data are Gaussian, the family of reverse processes is

    .. math:: dz = [\eta^2 \tan\theta \, z + (1 + \eta^2) v] \, d\theta
              + \eta \sqrt{2 \tan\theta} \, dW.

    The linear part and the noise are integrated exactly and v is extrapolated,

    .. math:: z' = c z + \int_\theta^{\theta'} (1 + \eta^2)
              \Big(\frac{\cos u}{\cos\theta'}\Big)^{\eta^2} \bar v(u) \, du + \sqrt{1 - c^2} \xi,
              \qquad c = \Big(\frac{\cos\theta}{\cos\theta'}\Big)^{\eta^2},

    with :math:`\bar v` constant (order 1, and the first step) or linear through the last two
    values (order 2). The noise is that of a `BrownianPath`.

    References: the family, Zhang and Chen (2023), https://arxiv.org/abs/2204.13902, section 2;
    multistep methods for it, Xue et al. (2023), https://arxiv.org/abs/2309.05019; the angle, Lu
    and Song (2024), https://arxiv.org/abs/2410.11081, section 3.

    Arguments:
        order: of the method, 1 or 2.
        eta: the noise, 0 (the ODE: Adams-Bashforth in the angle, any noise law) to 1 (the
            reverse SDE) and beyond.

    Raises:
        ValueError: another order, or a negative eta.
    """

    name, clock = "sde-trig", "theta"
    along_a_path = True

    def __init__(self, *, order: Annotated[int, Ge(1), Le(2)] = 2, eta: Finite = 1.0) -> None:
        super().__init__(eta=eta)
        if order not in (1, 2):
            raise ValueError(f"got order {order}; {self.name} has orders 1 and 2")
        self.order = order

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        assert isinstance(f.field, AffineField)  # by Solver.check
        std = f.field.moments[1]
        levels = self.levels(f)
        path = BrownianPath(rng, x.shape, x.dtype, x.device)
        angles = times.tolist()
        before: Tensor | None = None
        for k, (a, b) in enumerate(pairwise(levels)):
            v = f.velocity(x, times[k])
            whole, first = weights(angles[k], angles[k + 1], self.eta**2)
            log_c = self.eta**2 * (_log_cos(a.rho / std) - _log_cos(b.rho / std))
            x = math.exp(log_c) * x + whole * v
            if self.order == 2 and before is not None:
                x = x + (first / (angles[k] - angles[k - 1])) * (v - before)
            if self.eta:
                x = x + math.sqrt(-math.expm1(2 * log_c)) * path.fresh(a.rho, b.rho)
            before = v
            yield x


def _log_cos(tangent: float) -> float:
    """The logarithm of the cosine of the angle with this tangent, exact for small angles."""
    return -math.log1p(tangent * tangent) / 2


def weights(start: float, end: float, power: float) -> tuple[float, float]:
    """Integrals of (1 + power) (cos u / cos end)^power times 1 and u - start, by Gauss's rule."""
    half, middle = (end - start) / 2, (start + end) / 2
    whole = first = 0.0
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        u = middle + half * node
        part = half * weight * (1 + power) * (math.cos(u) / math.cos(end)) ** power
        whole += part
        first += part * (u - start)
    return whole, first
