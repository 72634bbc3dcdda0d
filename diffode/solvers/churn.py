"""EDM's stochastic sampler on every affine field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.options import Positive
from diffode.rng import Rng
from diffode.solvers.counted import CountedField
from diffode.solvers.reverse import INVISIBLE, StochasticSolver

NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
_MOST = math.sqrt(2) - 1  # no step raises the noise's variance more than twofold


class Churn(StochasticSolver):
    r"""EDM's sampler: raise the noise a little, then a step of Heun's method from there.

    Everything happens in :math:`y = x/\alpha` and :math:`\rho = \sigma/\alpha`, so it means the
    same on every schedule: with K steps,

    .. math:: \hat\rho = (1 + \gamma) \rho, \quad
              \hat y = y + S_{noise} \sqrt{\hat\rho^2 - \rho^2} z, \quad
              \gamma = \min(S_{churn} / K, \sqrt2 - 1)

    for rho within [S_min, S_max], else :math:`\gamma = 0`; then Heun's step in rho from
    :math:`\hat\rho` to :math:`\rho'`. The noise is not raised above that at t_prior. A step
    from rho above 999 is Euler's: there the two slopes agree.

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, algorithm 2; their
    ImageNet-64 values are the defaults, S_noise aside (1.003 there).

    Arguments:
        s_churn: the noise added over all steps; 0 is Heun's method in rho, for any noise law.
        s_min, s_max: the range of rho in which noise is added.
        s_noise: the added noise's standard deviation, 1 for an exact field.

    Raises:
        ValueError: a negative s_churn, or s_min above s_max.
    """

    name, nfe_per_step = "churn", 2

    def __init__(
        self,
        *,
        s_churn: NotNegative = 40.0,
        s_min: NotNegative = 0.05,
        s_max: Positive = 50.0,
        s_noise: Positive = 1.0,
    ) -> None:
        if not (s_churn >= 0 and 0 <= s_min <= s_max and s_noise > 0):
            raise ValueError(
                f"got s_churn {s_churn}, s_min {s_min}, s_max {s_max}, s_noise {s_noise}; wanted "
                "s_churn 0 or more, 0 <= s_min <= s_max and s_noise above 0"
            )
        self.s_churn, self.s_min, self.s_max = float(s_churn), float(s_min), float(s_max)
        self.s_noise = float(s_noise)

    @property
    def normal_only(self) -> bool:  # type: ignore[override]  # a property of s_churn here
        """Whether it adds noise that must be normal."""
        return self.s_churn > 0

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        assert isinstance(f.field, AffineField)  # by Solver.check
        schedule = f.field.schedule
        most = float(schedule.rho(times.new_tensor(f.field.span[0])))
        gamma = min(self.s_churn / (len(times) - 1), _MOST)
        for k, (a, b) in enumerate(pairwise(self.levels(f))):
            t = times[k]
            raised = min((1 + gamma) * a.rho, most)
            if self.s_min <= a.rho <= self.s_max and raised > a.rho:
                t = schedule.time(times.new_tensor(raised))
                z = rng.at(k).normal("churn", x.shape, x.dtype, x.device)
                start = f.level(t)
                spread = self.s_noise * math.sqrt(start.rho**2 - a.rho**2)
                x = (start.alpha / a.alpha) * x + (start.alpha * spread) * z
                a = start
            x0, n = f.posterior(x, t)
            x = b.alpha * x0 + b.sigma * n
            if a.rho <= INVISIBLE and b.sigma > 0:
                _, n_next = f.posterior_at(x, k + 1)
                x = x + (b.alpha * (b.rho - a.rho) / 2) * (n_next - n)
            yield x
