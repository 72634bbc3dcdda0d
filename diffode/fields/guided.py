r"""Discriminator guidance: an affine field corrected by a learned log-ratio.

A field of the law q is steered towards p by :math:`d(x, t) = \log p_t / q_t`, learned at every
noise level. For normal noise the score of q becomes that of p, :math:`s + \nabla d`; in terms of
the conditional means, with :math:`x = \alpha x_0 + \sigma n` kept,

.. math:: E[n | x] \leftarrow E[n | x] - w \, g / \sigma, \qquad
          E[x_0 | x] \leftarrow E[x_0 | x] + w \, g / \alpha, \qquad g = \sigma^2 \nabla d.

**Student-t noise, exact.** A critic that also knows the mean square scale of the noise under p and
q, :math:`\kappa_p` and :math:`\kappa_q`, and the log-ratio of the potentials in the place of that
of the densities, is a classifier of two classes. It guides by the exact rule of
`diffode.fields.classified`,

.. math:: x - \alpha E_p[x_0 | x] = \frac{\kappa_p}{\kappa_q}
          \big( x - \alpha E_q[x_0 | x] - \kappa_q \nabla d \big), \qquad
          d = \log \Phi_p / \Phi_q.

**Student-t noise, a log-ratio of densities alone.** Noise of D degrees of freedom has the score
:math:`-E[u / v^2 | x]`, with :math:`u = x - \alpha x_0` and :math:`v^2 = (D \sigma^2 + |u|^2) / (D
+ N)`: no function of :math:`E[x_0 | x]` alone, so that no correction by this d is exact. To first
order, for data of one distance from x,

.. math:: g = v^2 \Big( I - \frac{2 u u^\top}{D \sigma^2 + |u|^2} \Big)^{-1} \nabla d,

at :math:`u = x - \alpha E[x_0 | x]`. Along u the inverse has the factor 1/k,

.. math:: k = (D \sigma^2 - |u|^2) / (D \sigma^2 + |u|^2),

which diverges where the score is steepest; :math:`k / (k^2 + (1 - k^2) / 25)` takes its place.
The normal case is the limit of large D. On clouds of points with exact ratios the median error of
this rule was .01 to .9 of the change from q to p (the largest at D = 1 and 3 and low noise), that
of the exact rule 1e-13.

References: Kim et al. (2023), https://arxiv.org/abs/2211.17091, eq. 8 (normal noise); Xu et al.
(2023), https://arxiv.org/abs/2302.04265 (the Student-t kernel).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffode.doors import as_time, transformed, unwritten
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.critics import ascent, is_smooth
from diffode.fields.noise import require_independent
from diffode.fields.poisson import around_plane_form
from diffode.fields.wrapped import Wrapped
from diffode.priors import is_normal, is_student

MAX_RHO = 999.0
_DAMPING = 1 / 25


class Led(Wrapped):
    """A field led by the slope of another network, a critic or a classifier.

    That network with its slope counts as one network call, wherever it is called: where the
    weight is not 0, at noise levels at which it is on.

    Arguments:
        field: the field inside.
        weight: w.
    """

    def __init__(self, field: AffineField, weight: float) -> None:
        super().__init__(field)
        self.weight = weight

    @property
    def calls_per_evaluation(self) -> int:  # type: ignore[override]
        """The most network calls of an evaluation, the other network with its slope being one."""
        return self.inner.calls_per_evaluation + (self.weight != 0)

    def calls_at(self, t: Tensor) -> int:
        """The network calls of an evaluation at time t."""
        return self.inner.calls_at(t) + self._needed(self.guided_at(t))

    def guided_at(self, t: Tensor) -> Tensor:
        """Whether guidance is on at time t, shape () or (B,)."""
        raise unwritten(self, "guided_at")

    def _needed(self, on: Tensor) -> bool:
        return self.weight != 0 and (transformed() or bool(on.any()))


class DiscriminatorGuided(Led):
    r"""An affine field of q whose score is :math:`\nabla \log q_t + w \nabla d(x, t)`.

    For Student-t noise this holds to first order only, unless the critic knows potentials.
    `discriminator_guided` builds it.

    Arguments:
        field: the field of q.
        critic: d, see `diffode.fields.critics`.
        weight: w; 0 leaves the field as it is, 1 makes it that of p if d is exact.
        max_rho: guidance is off where sigma / alpha is larger. There the noise hides the data,
            d is constant, and :math:`\sigma^2 / \alpha` would magnify a critic's errors.

    Raises:
        ValueError: a weight or a limit that is not a number to use, or a critic of potentials for
            normal noise, which needs none.
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
        require_independent(field.coupled, "discriminator guidance")
        if not (is_normal(field.noise) or is_student(field.noise)):
            raise TypeError(
                f"the noise is {field.noise}; discriminator guidance is known for Normal and "
                "StudentT noise, whose scores follow from a kernel"
            )
        super().__init__(field, float(weight))
        self.critic, self.max_rho = critic, float(max_rho)
        self.smooth = field.smooth and is_smooth(critic)
        self.exact = bool(getattr(critic, "potential", False))
        if self.exact and not is_student(field.noise):
            raise ValueError(
                f"got a critic of potentials for {field.noise} noise; wanted one of densities"
            )

    def guided_at(self, t: Tensor) -> Tensor:
        """Whether guidance is on at time t, shape () or (B,)."""
        return self.schedule.sigma(t) <= self.max_rho * self.schedule.alpha(t)

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x], both guided."""
        x = self.as_state(x)
        t = as_time(t, x)
        x0, n = self.inner.posterior(x, t, y)
        on = self.guided_at(t)
        if not self._needed(on):
            return x0, n
        alpha, sigma = self.level(t, x)
        rest = x - expand_like(alpha, x) * x0
        pull = self._exact(x, t, y, rest) if self.exact else self._pull(x, t, y, rest, sigma)
        pull = expand_like(self.weight * on, x) * pull
        divisor = torch.where(on, alpha, 1.0)
        return x0 + pull / expand_like(divisor, x), n - pull / expand_like(sigma, x)

    def _exact(self, x: Tensor, t: Tensor, y: Tensor | None, rest: Tensor) -> Tensor:
        """The same by the log-ratio of potentials, which makes it alpha (E_p - E_q) of x_0."""

        def log_ratio(z: Tensor) -> tuple[Tensor, Tensor]:
            d, log_squares = self.critic(z, t, y)
            return d.sum(), log_squares

        slope: Tensor
        slope, log_squares = torch.func.grad(log_ratio, has_aux=True)(x)
        of_p, of_q = log_squares.to(slope).unbind(1)
        kept = expand_like(1 - (of_p - of_q).exp(), x) * rest
        return kept + expand_like(of_p.exp(), x) * slope.to(x)

    def _pull(self, x: Tensor, t: Tensor, y: Tensor | None, rest: Tensor, sigma: Tensor) -> Tensor:
        """The change g of alpha E[x_0 | x] from grad d and rest = x - alpha E[x_0 | x]."""
        slope = ascent(self.critic, x, t, y).to(x)
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

    An evaluation counts as one network call more than one of the field: the call of the critic
    with its slope. Where guidance is off the critic is not called.

    Arguments:
        field: an affine field of q: learned, exact or a `PoissonField`.
        critic: d(x, t) = log p_t / q_t in the field's own time, see `diffode.fields.critics`. For
            Student-t noise one that states ``potential = True`` returns a pair: the log-ratio of
            the potentials (B,), and the logs of the noise's mean squared scales under p and q at
            x, (B, 2), see `Labelled.log_potential`. `PotentialRatio` is the exact one.
        weight: w; 1 is the field of p if d is exact and the noise normal, or the critic knows
            potentials. With Student-t noise and a log-ratio of densities corrections are of first
            order, meant for a q that is close to p.
        max_rho: the sigma / alpha beyond which guidance is off.

    Raises:
        TypeError: the field has no schedule, so no E[x_0 | x] to correct, or noise that is
            neither normal nor Student-t.
        ValueError: a weight or a limit that is not a number to use, or a critic of potentials for
            normal noise.
    """
    if not isinstance(field, AffineField):
        raise TypeError(
            f"{type(field).__name__} states no score; discriminator guidance corrects that of an "
            "affine field"
        )
    return around_plane_form(
        field, lambda inner: DiscriminatorGuided(inner, critic, weight, max_rho)
    )
