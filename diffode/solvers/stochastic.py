"""Samplers whose steps draw from the path's own law: DDPM's ancestral and SDE-DPM-Solver++."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from diffode.options import Finite
from diffode.rng import Rng
from diffode.solvers.brownian import BrownianPath
from diffode.solvers.counted import CountedField
from diffode.solvers.ddim import DDIM
from diffode.solvers.reverse import ReverseProcess, log_ratio, noised


class Ancestral(DDIM):
    r"""DDPM's ancestral sampler on any schedule: DDIM with eta = 1.

    Each step draws x' from the path's law given x and the data's conditional mean,

    .. math:: x' = \alpha' E[x_0|x] + \sigma' r E[n|x] + \sigma' \sqrt{1 - r^2} z, \qquad
              r = \rho' / \rho.

    At alpha = 1 it is the Euler ancestral sampler of the Karras form, with :math:`\sigma_{down} =
    \sigma'^2 / \sigma` and :math:`\sigma_{up}^2 = \sigma'^2 - \sigma_{down}^2`. `SDEDPMpp` of
    order 1 takes the same steps with the noise of a Brownian path.

    Reference: Ho et al. (2020), https://arxiv.org/abs/2006.11239, eq. 7.
    """

    name, grid = "ancestral", "f1.5"

    def __init__(self) -> None:
        super().__init__(eta=1.0)


class SDEDPMpp(ReverseProcess):
    r"""SDE-DPM-Solver++(2M): the data's conditional mean extrapolated, all else exact.

    With :math:`r = \rho'/\rho`, :math:`q = r^{\eta^2}`, steps :math:`h = -\log r` in half log-SNR
    and the difference d of the last two conditional means :math:`E[x_0|x]`,

    .. math:: x' = \alpha' \Big[ E[x_0|x] + (1 - r q) \frac{h}{2 h_-} d \Big]
                   + \sigma' q E[n|x] + \sigma' \sqrt{1 - q^2} z.

    The first step, and all at order 1, go without d. The noise z is that of a `BrownianPath`: a
    seed is one path, which more steps follow more closely.

    Reference: Lu et al. (2022), https://arxiv.org/abs/2211.01095, SDE-DPM-Solver++(2M) in the
    appendix, there with eta = 1.

    Arguments:
        order: of the method, 1 (the ancestral sampler at eta = 1, DDIM at 0) or 2.
        eta: the noise, 0 (the ODE: DPM-Solver++(2M), any noise law) to 1 (the reverse SDE) and
            beyond.

    Raises:
        ValueError: another order, or a negative eta.
    """

    name = "sde-dpm++"
    along_a_path = True

    def __init__(self, *, order: Annotated[int, Ge(1), Le(2)] = 2, eta: Finite = 1.0) -> None:
        super().__init__(eta=eta)
        if order not in (1, 2):
            raise ValueError(f"got order {order}; {self.name} has orders 1 and 2")
        self.order = order

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        path = BrownianPath(rng, x.shape, x.dtype, x.device)
        before: Tensor | None = None
        h_before = math.inf
        for k, (a, b) in enumerate(pairwise(self.levels(f))):
            x0, n = f.posterior_at(x, k)
            h = -log_ratio(a, b)
            x = noised(x0, n, a, b, self.eta, path)
            if self.order == 2 and before is not None and math.isfinite(h / h_before):
                weight = -math.expm1(-(1 + self.eta**2) * h) * h / (2 * h_before)
                x = x + (b.alpha * weight) * (x0 - before)
            before, h_before = x0, h
            yield x
