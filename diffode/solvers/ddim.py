"""DDIM on every affine field, Poisson flows included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.options import Finite
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.counted import CountedField


class DDIM(Solver):
    r"""DDIM: keep the two conditional means and change alpha and sigma.

    .. math:: x' = \alpha' E[x_0|x] + \sqrt{\sigma'^2 - s^2} \, E[n|x] + s z, \qquad
              s^2 = \eta^2 \sigma'^2 (1 - \rho'^2 / \rho^2).

    With eta = 0 this is Euler's method for y = x/alpha in rho = sigma/alpha, exact where the
    means do not change, and needs no property of the noise: it runs on Student-t fields
    unchanged. With eta = 1 on normal noise it is DDPM's ancestral sampler.

    Reference: Song et al. (2021), https://arxiv.org/abs/2010.02502, eq. 12 and 16.

    Arguments:
        eta: the fraction of fresh noise, in [0, 1]; above 0 for normal noise only.
    """

    name, needs, grid = "ddim", AffineField, "logsnr"

    def __init__(self, *, eta: Finite = 0.0) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"got eta {eta}; wanted a number from 0 to 1")
        self.eta = float(eta)

    @property
    def normal_only(self) -> bool:  # type: ignore[override]  # a property of eta here
        """Whether it adds noise that must be normal."""
        return self.eta > 0

    per_coordinate = True

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        for k, ((alpha, sigma), (alpha_next, sigma_next)) in enumerate(pairwise(f.factors)):
            x0, n = f.posterior_at(x, k)
            if isinstance(alpha_next, Tensor):
                alpha_next = alpha_next.to(x)
            if self.eta:
                keep, fresh = _split(self.eta, alpha, sigma, alpha_next, sigma_next)
                z = rng.at(k).normal("ddim", x.shape, x.dtype, x.device)
                x = alpha_next * x0 + keep * n + fresh * z
            else:
                x = alpha_next * x0 + sigma_next * n
            yield x


def _split(
    eta: float, alpha: float | Tensor, sigma: float, alpha_next: float | Tensor, sigma_next: float
) -> tuple[float | Tensor, float | Tensor]:
    """How much of the old noise a step keeps, and how much it adds; encoding adds none."""
    ratio = sigma_next * alpha / (sigma * alpha_next)
    if isinstance(ratio, Tensor):
        fresh = eta * sigma_next * (1 - ratio.clamp(max=1.0).square()).sqrt()
        return ((sigma_next**2 - fresh.square()).sqrt(), fresh)
    added = eta * sigma_next * math.sqrt(1 - min(1.0, ratio) ** 2)
    return math.sqrt(sigma_next**2 - added**2), added
