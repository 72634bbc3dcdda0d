r"""Radial laws with names: the generalised normal law, the ball, the logistic law.

Of each the scale is that of its formula. `Radial.standard` gives the one whose coordinates have
the root mean square 1, which for these laws depends on their number N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.priors.radial import Radial

_STEEPEST = 1e4  # beyond, rounding of a radius changes its density


class GeneralisedNormal(Radial):
    r"""The isotropic generalised normal law, :math:`\log g(r) = -r^b / b`.

    b = 2 is the normal law, b = 1 is like Laplace's (exponential in the radius); the larger b, the
    nearer to the ball.

    .. math:: r^b / b \sim \text{Gamma}(N / b), \qquad
              E r^2 = b^{2/b} \, \frac{\Gamma((N + 2) / b)}{\Gamma(N / b)}.

    Reference: Gomez, Gomez-Villegas and Marin (1998), A multivariate generalization of the power
    exponential family of distributions, https://doi.org/10.1080/03610929808832115.

    Arguments:
        exponent: b, at most 10,000.
        width, scale, loc: as for `Radial`.
    """

    def __init__(
        self,
        exponent: float,
        *,
        width: float = 1.0,
        scale: float = 1.0,
        loc: Tensor | float = 0.0,
    ) -> None:
        if not 0 < exponent <= _STEEPEST:
            raise ValueError(
                f"got exponent {exponent:g}; wanted one above 0, up to {_STEEPEST:g}: beyond it "
                "the law is a Ball"
            )
        super().__init__(width=width, scale=scale, loc=loc)
        self.exponent = float(exponent)

    def log_g(self, r: Tensor) -> Tensor:
        r"""The logarithm of g at radii r, up to a constant."""
        return -(r**self.exponent) / self.exponent

    def _options(self) -> list[str]:
        return [f"exponent={self.exponent:g}", *super()._options()]


class Ball(Radial):
    r"""The uniform law in a ball of radius w, :math:`P(|x| < r) = (r / w)^N`.

    Outside of every point's ball an exact field takes the nearest point, the limit of the
    generalised normal law for large b; the density there is 0. Its velocity jumps at the edges,
    so that it has no likelihood.

    Arguments:
        width: w.
        scale, loc: as for `Radial`.
    """

    def __init__(
        self, *, width: float = 1.0, scale: float = 1.0, loc: Tensor | float = 0.0
    ) -> None:
        super().__init__(edge=1.0, width=width, scale=scale, loc=loc)

    def log_g(self, r: Tensor) -> Tensor:
        r"""The logarithm of g at radii r, up to a constant."""
        return torch.zeros_like(r)


class RadialLogistic(Radial):
    r"""The logistic density of the radius, :math:`\log g(r) = -r - 2 \log(1 + e^{-r})`.

    It is round at the centre as the normal law is, and has the exponential tail of b = 1.

    Arguments:
        width, scale, loc: as for `Radial`.
    """

    def __init__(
        self, *, width: float = 1.0, scale: float = 1.0, loc: Tensor | float = 0.0
    ) -> None:
        super().__init__(width=width, scale=scale, loc=loc)

    def log_g(self, r: Tensor) -> Tensor:
        r"""The logarithm of g at radii r, up to a constant."""
        return -r - 2 * torch.log1p(torch.exp(-r))
