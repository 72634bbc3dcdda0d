r"""Predictions: what a network's output means, and how its input is scaled.

A prediction is four coefficients of the centred state :math:`u = x - \alpha m`,

.. math:: E[x_0|x] = m + c_{skip} u + c_{out} F(c_{in} u, c), \qquad
          E[n|x] = d_{skip} u + d_{out} F,

and one loss, in the space of the network's output, serves them all. The second pair follows from
the first, :math:`d_{skip} = (1 - \alpha c_{skip}) / \sigma`, but is written out where that would
divide by a vanishing alpha or sigma.

Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, table 1 and appendix B.6.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffode.doors import unwritten
from diffode.fields.base import expand_like
from diffode.fields.tables import Tables


class Coefficients(NamedTuple):
    """The scalars of each row, shape () or (B,) in float64; ``cond`` has shape (B, k).

    Under a decay they are factors of each coordinate, shaped to multiply points.
    """

    skip: Tensor
    out: Tensor
    in_: Tensor
    cond: Tensor
    noise_skip: Tensor
    noise_out: Tensor


def log_snr_condition(u: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a network is told of the noise level: log(sigma / alpha) / 4, finite, shape (B, 1)."""
    log_rho = (sigma.log() - alpha.log()).clamp(-20, 20)
    return (log_rho / 4).expand(len(u))[:, None]


class Prediction(Tables):
    """What a network's output means; write ``coefficients``.

    Attributes:
        conditions: how many numbers the network is told about the noise level, k.
        extra: how many scalar outputs the network has beside the event.
        by_level: whether the coefficients are the same for all u, so that those of a solver's
            times can be computed at once. A class says so where it writes ``coefficients``.
        by_coordinate: whether it takes an alpha for each coordinate.
    """

    conditions = 1
    extra = 0
    by_level = by_coordinate = False

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        raise unwritten(self, "coefficients")

    def decode(
        self, u: Tensor, out: Tensor, extra: Tensor | None, c: Coefficients, sigma: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The centred data estimate and the noise estimate from the network's output."""
        x0 = torch.addcmul(expand_like(c.skip, u) * u, expand_like(c.out, u), out)
        n = torch.addcmul(expand_like(c.noise_skip, u) * u, expand_like(c.noise_out, u), out)
        return x0, n

    def target(
        self, x0: Tensor, n: Tensor, alpha: Tensor, sigma: Tensor, c: Coefficients
    ) -> Tensor:
        """What the output should be for centred data x0 and noise n: (x0 - c_skip u) / c_out."""
        keep, noise = (1 - alpha * c.skip) / c.out, -sigma * c.skip / c.out
        return expand_like(keep, x0) * x0 + expand_like(noise, x0) * n

    def loss_scale(self, c: Coefficients) -> Tensor | None:
        """What an error of the network counts in the loss, shape () or (B,); None for 1."""
        return None


class NoisePrediction(Prediction):
    r"""The output is :math:`E[n | x]` (DDPM, VP): :math:`x_0 = (u - \sigma F) / \alpha`."""

    by_level = True

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
        cond = log_snr_condition(u, alpha, sigma)
        return Coefficients(1 / alpha, -sigma / alpha, one, cond, zero, one)

    def target(
        self, x0: Tensor, n: Tensor, alpha: Tensor, sigma: Tensor, c: Coefficients
    ) -> Tensor:
        """The noise itself."""
        return n


class Timesteps(Prediction):
    """Another prediction whose network is told the time as those of diffusers are.

    That is the time itself on a chain of betas, and elsewhere 1000 times what the network would be
    told: 1000 t of the straight path, 250 log(sigma / alpha) of most others.

    Arguments:
        inner: what the output means.
        chain: whether the times are those of a chain of betas.
    """

    def __init__(self, inner: Prediction, chain: bool) -> None:
        super().__init__()
        self.inner, self.chain = inner, chain
        self.conditions, self.extra = inner.conditions, inner.extra
        self.by_coordinate = inner.by_coordinate

    @property
    def by_level(self) -> bool:  # type: ignore[override]
        """As the inner prediction says."""
        return self.inner.by_level

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The inner prediction's, with the timestep in the place of its ``cond``."""
        c = self.inner.coefficients(u, alpha, sigma, t)
        cond = t.to(torch.float64).expand(len(u))[:, None] if self.chain else 1000 * c.cond
        return c._replace(cond=cond)

    def decode(
        self, u: Tensor, out: Tensor, extra: Tensor | None, c: Coefficients, sigma: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As the inner prediction does."""
        return self.inner.decode(u, out, extra, c, sigma)

    def target(
        self, x0: Tensor, n: Tensor, alpha: Tensor, sigma: Tensor, c: Coefficients
    ) -> Tensor:
        """That of the inner prediction."""
        return self.inner.target(x0, n, alpha, sigma, c)

    def loss_scale(self, c: Coefficients) -> Tensor | None:
        """That of the inner prediction."""
        return self.inner.loss_scale(c)


class DataPrediction(Prediction):
    r"""The output is :math:`E[x_0 | x] - m`: for schedules whose sigma stays above 0."""

    by_level = True

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
        cond = log_snr_condition(u, alpha, sigma)
        in_ = (alpha**2 + sigma**2).rsqrt()
        return Coefficients(zero, one, in_, cond, 1 / sigma, -alpha / sigma)


class VPrediction(Prediction):
    r"""The output is :math:`v = \alpha n - \sigma x_0`, for any alpha and sigma.

    Reference: Salimans and Ho (2022), https://arxiv.org/abs/2202.00512, appendix D.
    """

    by_level = True

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        square = alpha**2 + sigma**2
        cond = torch.atan2(sigma, alpha).expand(len(u))[:, None]
        return Coefficients(
            alpha / square, -sigma / square, square.rsqrt(), cond, sigma / square, alpha / square
        )

    def target(
        self, x0: Tensor, n: Tensor, alpha: Tensor, sigma: Tensor, c: Coefficients
    ) -> Tensor:
        """Alpha n - sigma x_0."""
        return expand_like(alpha, n) * n - expand_like(sigma, x0) * x0


class VelocityPrediction(Prediction):
    r"""The straight path's velocity, :math:`n - x_0`, where :math:`\alpha + \sigma = 1`.

    Reference: Liu et al. (2023), https://arxiv.org/abs/2209.03003, eq. 1.
    """

    by_level = True

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        total = alpha + sigma
        one = torch.ones_like(total)
        cond = t.to(torch.float64).expand(len(u))[:, None]
        return Coefficients(one / total, -sigma / total, one, cond, one / total, alpha / total)

    def target(
        self, x0: Tensor, n: Tensor, alpha: Tensor, sigma: Tensor, c: Coefficients
    ) -> Tensor:
        """The noise less the data."""
        return n - x0


class KarrasPrediction(Prediction):
    r"""EDM's preconditioning: inputs and targets of unit variance at every level.

    .. math:: c_{skip} = \frac{s^2}{\rho^2 + s^2} \frac1\alpha, \quad
              c_{out} = \frac{\rho s}{\sqrt{\rho^2 + s^2}}, \quad
              c_{in} = \frac{1}{\alpha \sqrt{\rho^2 + s^2}}, \quad \rho = \sigma/\alpha.

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, table 1.

    Arguments:
        std: the data's rms standard deviation s (the paper's sigma_data).
    """

    by_level = True

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def condition(self, u: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network is told of the noise level, shape (B, 1)."""
        return log_snr_condition(u, alpha, sigma)

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        s, scale2 = self.std, (alpha * self.std) ** 2 + sigma**2
        root = scale2.sqrt()
        return Coefficients(
            skip=alpha * s**2 / scale2,
            out=sigma * s / root,
            in_=1 / root,
            cond=self.condition(u, alpha, sigma),
            noise_skip=sigma / scale2,
            noise_out=-alpha * s / root,
        )


class ScorePrediction(KarrasPrediction):
    r"""The score as a Gaussian fit's score and what the network adds; the loss is the score's.

    .. math:: \sigma \nabla \log p_t(x) = -E[n|x] =
              -\frac{\sigma u}{\alpha^2 s^2 + \sigma^2}
              + \frac{\alpha s}{\sqrt{\alpha^2 s^2 + \sigma^2}} F.

    The coefficients are EDM's; the squared error counts :math:`\sigma` times the score, the weight
    of the score-SDE paper. The network need not spend itself on the Gaussian part, whose error at
    high noise would be magnified by sigma / alpha.

    Reference: Song et al. (2021), https://arxiv.org/abs/2011.13456, eq. 7 with lambda = sigma^2.

    Arguments:
        std: the data's rms standard deviation s.
    """

    def loss_scale(self, c: Coefficients) -> Tensor:
        """The error of sigma times the score, for a unit error of the network."""
        return c.noise_out.abs()


class CoordinatePrediction(KarrasPrediction):
    r"""EDM's preconditioning of each coordinate, where alpha is a factor of each.

    Where :math:`\alpha_k` vanishes the data estimate is :math:`m + s F` and that of the noise
    :math:`u / \sigma`, so that nothing is divided by it. The network is told the scalar level,
    that of the coordinate 0, which no decay touches.

    Arguments:
        std: the data's rms standard deviation s.
    """

    by_level, by_coordinate = False, True

    def condition(self, u: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network is told of the noise level, shape (B, 1)."""
        first, sigma = (v.expand(len(u), *v.shape[1:]).flatten(1)[:, 0] for v in (alpha, sigma))
        return log_snr_condition(u, first, sigma)

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        return super().coefficients(u, alpha, _aligned(sigma, alpha), t)

    def target(
        self, x0: Tensor, n: Tensor, alpha: Tensor, sigma: Tensor, c: Coefficients
    ) -> Tensor:
        """What the output should be for centred data x0 and noise n."""
        return super().target(x0, n, alpha, _aligned(sigma, alpha), c)


def _aligned(sigma: Tensor, alpha: Tensor) -> Tensor:
    return sigma.reshape(-1, *[1] * (alpha.ndim - 1))
