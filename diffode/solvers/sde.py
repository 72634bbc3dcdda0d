"""The reverse SDE discretised step by step: Euler-Maruyama and predictor-corrector."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.reschedule import Clock
from diffode.options import Count, Finite, Positive
from diffode.rng import Rng
from diffode.solvers.brownian import BrownianPath
from diffode.solvers.counted import CountedField
from diffode.solvers.reverse import INVISIBLE, ReverseProcess, StochasticSolver, noised


class EulerMaruyama(ReverseProcess):
    r"""Euler-Maruyama for the family of reverse processes.

    .. math:: dx = \Big[ v + \eta^2 \sigma \frac{d \log\rho}{dt} E[n|x] \Big] dt
              + \eta \Big| 2 \sigma^2 \frac{d \log\rho}{dt} \Big|^{1/2} dW, \qquad
              v = \dot\alpha E[x_0|x] + \dot\sigma E[n|x].

    Weak order 1, and strong order 1 because the noise does not depend on x. Steps from rho above
    999, where the rates have no bound if alpha starts at 0, are taken exactly (one step of
    DDIM's kind). The noise is that of a `BrownianPath`.

    Reference: Song et al. (2021), https://arxiv.org/abs/2011.13456, eq. 6 and appendix D.

    Arguments:
        eta: the noise, 0 (Euler's method on the ODE, any noise law) to 1 (the reverse SDE) and
            beyond.
        clock: the time and state that are integrated in; "auto" is the angle.

    Raises:
        ValueError: a negative eta.
    """

    name = "euler-maruyama"
    along_a_path = True

    def __init__(self, *, eta: Finite = 1.0, clock: Clock | Literal["auto"] = "auto") -> None:
        super().__init__(eta=eta)
        self.clock = clock

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        assert isinstance(f.field, AffineField)  # by Solver.check
        path = BrownianPath(rng, x.shape, x.dtype, x.device)
        _, _, d_alpha, d_sigma = (r.tolist() for r in f.field.rates(times, times))
        steps = times.diff().tolist()
        for k, (a, b) in enumerate(pairwise(self.levels(f))):
            x0, n = f.posterior_at(x, k)
            if a.rho > INVISIBLE:
                x = noised(x0, n, a, b, self.eta, path)
            else:
                drop = steps[k] * (d_sigma[k] - a.sigma * d_alpha[k] / a.alpha)
                push = steps[k] * d_sigma[k] + self.eta**2 * drop
                x = x + (steps[k] * d_alpha[k]) * x0 + push * n
                if self.eta:
                    spread = self.eta * math.sqrt(-2 * a.sigma * drop)
                    x = x + spread * path.fresh(a.rho, b.rho)
            yield x


class PredictorCorrector(StochasticSolver):
    r"""Reverse-diffusion predictor, then Langevin corrections at the level reached.

    In :math:`y = x/\alpha` every path is variance-exploding, so one form serves all schedules:

    .. math:: x' = \alpha' E[x_0|x] + \sigma' \frac{\rho'}{\rho} E[n|x]
                   + \alpha' \sqrt{\rho^2 - \rho'^2} z, \qquad
              x' \leftarrow x' + \epsilon s(x') + \sqrt{2 \epsilon} z', \quad
              \epsilon = 2 (r \sigma')^2

    with the score :math:`s = -E[n|x'] / \sigma'`. The published step :math:`2 (r |z| / |s|)^2`
    takes norms averaged over a batch, which makes rows depend on each other; here they have
    their values for pure noise, :math:`|z|^2 = N` and :math:`|s|^2 = N / \sigma'^2`. Predictor
    steps from rho above 999 are taken exactly.

    Reference: Song et al. (2021), https://arxiv.org/abs/2011.13456, algorithms 2 to 5.

    Arguments:
        snr: r, the corrector's signal-to-noise ratio.
        corrections: Langevin steps, one evaluation each, after a predictor's step.
    """

    name = "pc"

    def __init__(self, *, snr: Positive = 0.16, corrections: Count = 1) -> None:
        if not (0 < snr < 1 and corrections >= 1):
            raise ValueError(
                f"got snr {snr}, corrections {corrections}; wanted 0 < snr < 1 and at least 1"
            )
        self.snr, self.corrections = float(snr), int(corrections)
        self.nfe_per_step = 1 + self.corrections

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        path = BrownianPath(rng, x.shape, x.dtype, x.device)
        for k, (a, b) in enumerate(pairwise(self.levels(f))):
            x0, n = f.posterior_at(x, k)
            if a.rho > INVISIBLE:
                x = noised(x0, n, a, b, 1.0, path)
            else:
                spread = b.alpha * math.sqrt(a.rho**2 - b.rho**2)
                x = b.alpha * x0 + (b.sigma * b.rho / a.rho) * n
                x = x + spread * path.fresh(a.rho, b.rho)
            for j in range(self.corrections):
                _, n = f.posterior_at(x, k + 1)
                z = rng.at(k).normal(f"langevin/{j}", x.shape, x.dtype, x.device)
                x = x - (2 * self.snr**2 * b.sigma) * n + (2 * self.snr * b.sigma) * z
            yield x
