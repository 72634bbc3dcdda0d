r"""Discriminator guidance: an affine field corrected by a learned log-ratio.

A field of the law q is steered towards p by :math:`d(x, t) = \log p_t / q_t`, learned at every
noise level. For normal noise the score of q becomes that of p, :math:`s + \nabla d`; in terms of
the conditional means, with :math:`x = \alpha x_0 + \sigma n` kept,

.. math:: E[n | x] \leftarrow E[n | x] - w \, g / \sigma, \qquad
          E[x_0 | x] \leftarrow E[x_0 | x] + w \, g / \alpha, \qquad g = \sigma^2 \nabla d.

Student-t noise of D degrees of freedom has the score :math:`-E[u / v^2 | x]`, with :math:`u = x -
\alpha x_0` and :math:`v^2 = (D \sigma^2 + |u|^2) / (D + N)`: no function of :math:`E[x_0 | x]`
alone, so that no correction by d is exact. To first order, for data of one distance from x,

.. math:: g = v^2 \Big( I - \frac{2 u u^\top}{D \sigma^2 + |u|^2} \Big)^{-1} \nabla d,

at :math:`u = x - \alpha E[x_0 | x]`. Along u the inverse has the factor 1/k,

.. math:: k = (D \sigma^2 - |u|^2) / (D \sigma^2 + |u|^2),

which diverges where the score is steepest; :math:`k / (k^2 + (1 - k^2) / 25)` takes its place.
The normal case is the limit of large D.

References: Kim et al. (2023), https://arxiv.org/abs/2211.17091, eq. 8 (normal noise); Xu et al.
(2023), https://arxiv.org/abs/2302.04265 (the Student-t kernel).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffode.doors import as_time
from diffode.fields.base import AffineField, expand_like
from diffode.fields.critics import ascent, is_smooth
from diffode.fields.poisson import PoissonField
from diffode.fields.wrapped import Wrapped
from diffode.priors import is_normal, is_student

MAX_RHO = 999.0
_DAMPING = 1 / 25


class DiscriminatorGuided(Wrapped):
    r"""An affine field of q whose score is :math:`\nabla \log q_t + w \nabla d(x, t)`.

    For Student-t noise this holds to first order only. `discriminator_guided` builds it.

    Arguments:
        field: the field of q.
        critic: d, see `diffode.fields.critics`.
        weight: w; 0 leaves the field as it is, 1 makes it that of p if d is exact.
        max_rho: guidance is off where sigma / alpha is larger. There the noise hides the data,
            d is constant, and :math:`\sigma^2 / \alpha` would magnify a critic's errors.

    Raises:
        ValueError: a weight or a limit that is not a number to use.
        TypeError: noise that is neither normal nor Student-t.
    """

    def __init__(
        self,
        field: AffineField,
        critic: nn.Module,
        weight: float = 1.0,
        max_rho: float = MAX_RHO,
    ) -> None:
        if not math.isfinite(weight) or not max_rho > 0:
            raise ValueError(f"got weight {weight}, max_rho {max_rho}; wanted finite and > 0")
        if not (is_normal(field.noise) or is_student(field.noise)):
            raise TypeError(
                f"the noise is {field.noise}; discriminator guidance is known for Normal and "
                "StudentT noise, whose scores follow from a kernel"
            )
        super().__init__(field)
        self.critic, self.weight, self.max_rho = critic, float(weight), float(max_rho)
        self.smooth = field.smooth and is_smooth(critic)

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x], both guided."""
        x = self.as_state(x)
        t = as_time(t, x)
        x0, n = self.inner.posterior(x, t, y)
        alpha, sigma = self.level(t, x)
        on = sigma <= self.max_rho * alpha
        slope = expand_like(self.weight * on, x) * ascent(self.critic, x, t, y).to(x)
        pull = self._pull(slope, x - expand_like(alpha, x) * x0, sigma)
        divisor = torch.where(on, alpha, 1.0)
        return x0 + pull / expand_like(divisor, x), n - pull / expand_like(sigma, x)

    def _pull(self, slope: Tensor, rest: Tensor, sigma: Tensor) -> Tensor:
        """The change g of alpha E[x_0 | x] from w grad d and x - alpha E[x_0 | x]."""
        if not is_student(self.noise):  # then it is normal
            return expand_like(sigma.square(), rest) * slope
        u, g, near = rest.flatten(1), slope.flatten(1), self.noise.dof * sigma.square().to(rest)
        length = u.square().sum(1)
        along = (g * u).sum(1) / length.clamp_min(torch.finfo(u.dtype).tiny)
        k = (near - length) / (near + length)
        damped = k / (k.square() + _DAMPING * (1 - k.square()))
        g = g + ((damped - 1) * along)[:, None] * u
        v2 = (near + length) / (self.noise.dof + u.shape[1])
        return (v2[:, None] * g).view_as(rest)

    def _describe(self) -> list[str]:
        return [*super()._describe(), f"guided by {type(self.critic).__name__} x {self.weight:g}"]


def discriminator_guided(
    field: AffineField, critic: nn.Module, weight: float = 1.0, max_rho: float = MAX_RHO
) -> AffineField:
    """Steer a field by the gradient of a log-ratio d(x, t), every solver and likelihood included.

    A `PoissonField` is guided in its plane form, at the noise level of each row: its critic is
    the plane form's, called with sigma = r / sqrt(D).

    Arguments:
        field: an affine field of q: learned, exact or a `PoissonField`.
        critic: d(x, t) = log p_t / q_t in the field's own time, see `diffode.fields.critics`.
        weight: w; 1 is the field of p if d is exact and the noise normal. With Student-t noise
            corrections are of first order, meant for a q that is close to p.
        max_rho: the sigma / alpha beyond which guidance is off.

    Raises:
        TypeError: the field has no schedule, so no E[x_0 | x] to correct, or noise that is
            neither normal nor Student-t.
        ValueError: a weight or a limit that is not a number to use.
    """
    if not isinstance(field, AffineField):
        raise TypeError(
            f"{type(field).__name__} only states a velocity; discriminator guidance corrects the "
            "score of an affine field"
        )
    if isinstance(field, PoissonField):
        inner = DiscriminatorGuided(field.inner, critic, weight, max_rho)
        return PoissonField(inner, field.q, field.radius, field.max_radius)
    return DiscriminatorGuided(field, critic, weight, max_rho)
