r"""Schedules: the path :math:`x_t = \alpha_t x_0 + \sigma_t n` as two functions of time.

A schedule states alpha and sigma; their rates come from forward-mode differentiation, and
``time`` inverts :math:`\rho = \sigma / \alpha`, the one number that two schedules share at equal
noise level. Every schedule keeps its paper's own clock: ``span = (t_prior, t_data)`` may run up
or down. Times are float64 tensors of shape () or (B,).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.doors import unwritten

Rates = tuple[Tensor, Tensor, Tensor, Tensor]


class Schedule:
    """Two functions of time, alpha and sigma, and the interval they are used on.

    A new schedule writes ``alpha``, ``sigma`` and ``span``; ``rates`` and ``time`` follow from
    them. A schedule here also writes those out, for speed.
    """

    span: tuple[float, float]

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data at time t."""
        raise unwritten(self, "alpha")

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise at time t."""
        raise unwritten(self, "sigma")

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho (infinite where alpha reaches 0).

        Here it is found in the span by bisection: sigma / alpha falls from t_prior to t_data.
        """
        noisy, clean = (torch.full_like(rho, t) for t in self.span)
        for _ in range(64):
            middle = (noisy + clean) / 2
            above = self.rho(middle) > rho
            noisy, clean = torch.where(above, middle, noisy), torch.where(above, clean, middle)
        return clean

    def rho(self, t: Tensor) -> Tensor:
        """The noise-to-signal ratio sigma / alpha at time t."""
        return self.sigma(t) / self.alpha(t)

    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The pairs (alpha, sigma) at t_prior and at t_data."""
        t = torch.tensor(self.span, dtype=torch.float64)
        first, last = zip(self.alpha(t).tolist(), self.sigma(t).tolist(), strict=True)
        return first, last

    def rates(self, t: Tensor) -> Rates:
        r"""The numbers :math:`\alpha, \sigma, d\alpha/dt, d\sigma/dt` at time t, each like t.

        Here the derivatives are found by forward-mode differentiation of ``alpha`` and ``sigma``,
        which must therefore treat each time of a batch alone. A schedule that knows them in
        closed form overrides this method, for speed.
        """
        t = t.contiguous()  # forward mode refuses an expanded tensor
        one = torch.ones_like(t)
        alpha, d_alpha = torch.func.jvp(self.alpha, (t,), (one,))[:2]
        sigma, d_sigma = torch.func.jvp(self.sigma, (t,), (one,))[:2]
        return alpha, sigma, d_alpha, d_sigma

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v:g}" for k, v in vars(self).items() if isinstance(v, float))
        return f"{type(self).__name__}({options})"


def _range(low: float, high: float, names: str) -> tuple[float, float]:
    if not 0 < low < high < math.inf:
        raise ValueError(f"got {names} = {low}, {high}; wanted 0 < first < second")
    return float(low), float(high)


class _LinearBeta(Schedule):
    r"""What VP and sub-VP share: :math:`B(t) = \beta_0 t + (\beta_1 - \beta_0) t^2 / 2`."""

    span = (1.0, 1e-3)

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        self.beta_min, self.beta_max = _range(beta_min, beta_max, "beta_min, beta_max")

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) * t * t / 2

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def _integral_inverse(self, b: Tensor) -> Tensor:
        root = (self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * b).sqrt()
        return 2 * b / (self.beta_min + root)

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data, exp(-B(t) / 2)."""
        return torch.exp(-self._integral(t) / 2)


class VP(_LinearBeta):
    r"""Variance-preserving: :math:`\alpha = e^{-B/2}`, :math:`\sigma^2 = 1 - e^{-B}`.

    At its defaults alpha(1) is 0.0066, not 0: the prior differs from p_1 by about 1e-2 nats.

    Reference: Song et al. (2021), https://arxiv.org/abs/2011.13456, eq. 33 (B the integral of
        beta).

    Arguments:
        beta_min, beta_max: the rate beta at t = 0 and at t = 1.
    """

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise, sqrt(1 - exp(-B(t)))."""
        return (-torch.expm1(-self._integral(t))).sqrt()

    def rates(self, t: Tensor) -> Rates:
        """Alpha, sigma and their derivatives d_alpha, d_sigma at time t."""
        alpha, sigma, beta = self.alpha(t), self.sigma(t), self._beta(t)
        return alpha, sigma, -beta * alpha / 2, beta * alpha**2 / (2 * sigma)

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho."""
        return self._integral_inverse(torch.log1p(rho * rho))


class SubVP(_LinearBeta):
    r"""Sub-variance-preserving: :math:`\alpha = e^{-B/2}`, :math:`\sigma = 1 - e^{-B}`.

    Reference: Song et al. (2021), https://arxiv.org/abs/2011.13456, section 3.4.

    Arguments:
        beta_min, beta_max: the rate beta at t = 0 and at t = 1.
    """

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise, 1 - exp(-B(t))."""
        return -torch.expm1(-self._integral(t))

    def rates(self, t: Tensor) -> Rates:
        """Alpha, sigma and their derivatives d_alpha, d_sigma at time t."""
        alpha, sigma, beta = self.alpha(t), self.sigma(t), self._beta(t)
        return alpha, sigma, -beta * alpha / 2, beta * alpha**2

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho."""
        return self._integral_inverse(2 * torch.asinh(rho / 2))


class VE(Schedule):
    r"""Variance-exploding: :math:`\alpha = 1`, :math:`\sigma = \sigma_0 (\sigma_1 / \sigma_0)^t`.

    Reference: Song et al. (2021), https://arxiv.org/abs/2011.13456, eq. 31.

    Arguments:
        sigma_min, sigma_max: the noise at t = 0 and at t = 1, in units of the data.
    """

    span = (1.0, 0.0)

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        self.sigma_min, self.sigma_max = _range(sigma_min, sigma_max, "sigma_min, sigma_max")

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data, 1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise, geometric between its ends."""
        return self.sigma_min * torch.exp(t * math.log(self.sigma_max / self.sigma_min))

    def rates(self, t: Tensor) -> Rates:
        """Alpha, sigma and their derivatives d_alpha, d_sigma at time t."""
        one, sigma = torch.ones_like(t), self.sigma(t)
        return one, sigma, 0 * one, sigma * math.log(self.sigma_max / self.sigma_min)

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma equals rho."""
        return (rho / self.sigma_min).log() / math.log(self.sigma_max / self.sigma_min)


class Karras(Schedule):
    r"""The clock of EDM, PFGM++ and PFGM: :math:`\alpha = 1`, :math:`\sigma = t`.

    Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, table 1, last column.

    Arguments:
        sigma_min, sigma_max: the ends of the span, in units of the data.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        self.span = _range(sigma_min, sigma_max, "sigma_min, sigma_max")[::-1]

    @property
    def sigma_min(self) -> float:
        """The noise at the data's end of the span."""
        return self.span[1]

    @property
    def sigma_max(self) -> float:
        """The noise at the prior's end of the span."""
        return self.span[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sigma_min={self.sigma_min:g}, sigma_max={self.sigma_max:g})"

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data, 1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise, t itself."""
        return t

    def rates(self, t: Tensor) -> Rates:
        """Alpha, sigma and their derivatives d_alpha, d_sigma at time t."""
        one = torch.ones_like(t)
        return one, t, 0 * one, one

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma equals rho."""
        return rho


class Rectified(Schedule):
    r"""The straight path: :math:`\alpha = 1 - t`, :math:`\sigma = t`, data at t = 0.

    Reference: Liu et al. (2023), https://arxiv.org/abs/2209.03003, eq. 1 (there with t reversed).
    """

    span = (1.0, 1e-3)

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data, 1 - t."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise, t."""
        return t

    def rates(self, t: Tensor) -> Rates:
        """Alpha, sigma and their derivatives d_alpha, d_sigma at time t."""
        one = torch.ones_like(t)
        return 1 - t, t, -one, one

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho; 1 where rho is infinite."""
        return 1 - 1 / (1 + rho)


class Cosine(Schedule):
    r"""The quarter circle: :math:`\alpha = \cos(\pi t / 2)`, :math:`\sigma = \sin(\pi t / 2)`.

    Reference: Nichol and Dhariwal (2021), https://arxiv.org/abs/2102.09672, eq. 17 with s = 0.
    """

    span = (1.0, 1e-3)

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data."""
        return torch.cos(math.pi / 2 * t)

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise."""
        return torch.sin(math.pi / 2 * t)

    def rates(self, t: Tensor) -> Rates:
        """Alpha, sigma and their derivatives d_alpha, d_sigma at time t."""
        alpha, sigma = self.alpha(t), self.sigma(t)
        return alpha, sigma, -math.pi / 2 * sigma, math.pi / 2 * alpha

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho."""
        return torch.atan(rho) * (2 / math.pi)
