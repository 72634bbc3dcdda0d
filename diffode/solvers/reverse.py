r"""The family of reverse processes of an affine path with normal noise.

In :math:`y = x/\alpha` and :math:`\rho = \sigma/\alpha` every such path has

.. math:: dy = (1 + \eta^2) E[n | y, \rho] \, d\rho + \eta \, dW_{\rho^2},

rho falling: all members have the marginals of the path; :math:`\eta = 0` is the probability-flow
ODE, 1 the reverse SDE. In the schedule's own time it reads

.. math:: dx = \Big[ f x - \frac{1 + \eta^2}{2} g^2 s \Big] dt + \eta g \, dW, \qquad
          f = \frac{\dot\alpha}{\alpha}, \quad g^2 = 2 \sigma^2 \frac{d \log \rho}{dt},

with the score s; :math:`g^2 \ge 0` says that rho rises from data to noise. The rates f
and g are infinite where alpha is 0; steps from there are taken by `noised`, which is finite.

References: Song et al. (2021), https://arxiv.org/abs/2011.13456, eq. 6 and 13; Zhang and Chen
(2023), https://arxiv.org/abs/2204.13902, section 2 (the family).
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.options import Finite
from diffode.solvers.base import Solver
from diffode.solvers.brownian import BrownianPath
from diffode.solvers.counted import CountedField, Level

INVISIBLE = 999.0  # above this rho a state does not show the data: the conditional means stand


class StochasticSolver(Solver):
    """What samplers that remove noise and add some have in common."""

    needs, normal_only, grid = AffineField, True, "f1.5"

    def levels(self, f: CountedField) -> list[Level]:
        """Alpha and sigma at the times.

        Raises:
            ValueError: rho does not fall along them, where the reverse process is not defined.
        """
        if self.normal_only and not all(a.rho > b.rho for a, b in pairwise(f.levels)):
            raise ValueError(
                f"{self.name} removes noise, from large sigma/alpha to small; "
                "encode with a solver that adds none, such as heun"
            )
        return f.levels


class ReverseProcess(StochasticSolver):
    """A member of the family of reverse processes.

    Arguments:
        eta: its noise, from 0 (the ODE, for any noise law) to 1 (the reverse SDE) and beyond.

    Raises:
        ValueError: a negative eta.
    """

    def __init__(self, *, eta: Finite = 1.0) -> None:
        if not 0 <= eta < math.inf:
            raise ValueError(f"got eta {eta}; wanted a finite number, 0 or more")
        self.eta = float(eta)

    @property
    def normal_only(self) -> bool:  # type: ignore[override]  # a property of eta here
        """Whether it adds noise that must be normal."""
        return self.eta > 0


def log_ratio(a: Level, b: Level) -> float:
    """The logarithm of rho at b over rho at a; minus infinity from alpha = 0 or to sigma = 0."""
    ratio = b.sigma * a.alpha / (a.sigma * b.alpha)
    return math.log(ratio) if ratio else -math.inf


def noised(x0: Tensor, n: Tensor, a: Level, b: Level, eta: float, path: BrownianPath) -> Tensor:
    r"""The step from level a to b that is exact for constant conditional means x_0 and n.

    .. math:: x' = \alpha' x_0 + \sigma' q n + \sigma' \sqrt{1 - q^2} z, \qquad
              q = (\rho'/\rho)^{\eta^2}.
    """
    if not eta:
        return b.alpha * x0 + b.sigma * n
    log_q = eta**2 * log_ratio(a, b)
    x = b.alpha * x0 + (b.sigma * math.exp(log_q)) * n
    return x + (b.sigma * math.sqrt(-math.expm1(2 * log_q))) * path.fresh(a.rho, b.rho)
