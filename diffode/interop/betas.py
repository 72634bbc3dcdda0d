r"""The chains of betas that schedulers of diffusers name, in float64.

Their own tables are float32: at the clean end :math:`1 - \alpha^2` there is off by 1e-4 of itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffode.fields.discrete import DiscreteBetas
from diffode.fields.schedules import Rates

LARGEST = 0.999  # of the chains that are made from a function of alpha^2


def linear(first: float, last: float, count: int) -> Tensor:
    """Equally spaced betas: Ho et al. (2020), https://arxiv.org/abs/2006.11239, section 4."""
    return torch.linspace(first, last, count, dtype=torch.float64)


def scaled_linear(first: float, last: float, count: int) -> Tensor:
    """Equally spaced roots of beta: the chain of latent diffusion."""
    return linear(math.sqrt(first), math.sqrt(last), count).square()


def sigmoid(first: float, last: float, count: int) -> Tensor:
    """A logistic curve from -6 to 6 between the two: the chain of GeoDiff."""
    return torch.sigmoid(linear(-6, 6, count)) * (last - first) + first


def squared_cosine(first: float, last: float, count: int) -> Tensor:
    """Nichol and Dhariwal (2021), https://arxiv.org/abs/2102.09672, eq. 17."""
    return _falling(lambda s: math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2, count)


def laplace(first: float, last: float, count: int) -> Tensor:
    """Hang et al. (2024), https://arxiv.org/abs/2407.03297, table 1, as diffusers has it."""

    def alpha2(s: float) -> float:
        edge = 1 - 2 * abs(0.5 - s) + 1e-6
        snr = math.exp(-0.5 * math.copysign(1, 0.5 - s) * math.log(edge))
        return math.sqrt(snr / (1 + snr))

    return _falling(alpha2, count)


def _falling(f: Callable[[float], float], count: int) -> Tensor:
    """The betas of alpha^2 = f(i / T), none above 0.999."""
    betas = [min(1 - f((i + 1) / count) / f(i / count), LARGEST) for i in range(count)]
    return torch.tensor(betas, dtype=torch.float64)


BETAS: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "squaredcos_cap_v2": squared_cosine,
    "sigmoid": sigmoid,
    "laplace": laplace,
}


class ZeroTerminalBetas(DiscreteBetas):
    r"""A chain moved and stretched so that alpha is 0 at its last time, exactly.

    With a the root of :math:`\prod (1 - \beta)` and T times,

    .. math:: \alpha_t = (a_t - a_{T-1}) \frac{a_0}{a_0 - a_{T-1}}, \qquad
              \sigma_t^2 = 1 - \alpha_t^2.

    Between the last two times alpha is linear in t, elsewhere :math:`\log \rho` is.

    Reference: Lin et al. (2024), https://arxiv.org/abs/2305.08891, algorithm 1.

    Arguments:
        betas: the T >= 3 variances of the chain that is stretched, each in (0, 1).
    """

    def __init__(self, betas: Tensor) -> None:
        super().__init__(betas)
        if len(self._log_rho) < 3:
            raise ValueError(f"got {len(self._log_rho)} betas; zero terminal SNR needs 3 or more")
        a = torch.sigmoid(-2 * self._log_rho).sqrt()
        alpha = ((a - a[-1]) * a[0] / (a[0] - a[-1]))[:-1]
        self._log_rho = (torch.log1p(-alpha.square()) / 2) - alpha.log()
        self._last_alpha = float(alpha[-1])

    def _in_last_step(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Whether t is after the last finite entry, and alpha there."""
        return t > self.span[0] - 1, self._last_alpha * (self.span[0] - t)

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data, 0 at t_prior."""
        last, alpha = self._in_last_step(t)
        return torch.where(last, alpha, super().alpha(t.clamp_max(self.span[0] - 1)))

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise, 1 at t_prior."""
        last, alpha = self._in_last_step(t)
        sigma = (1 - alpha.where(last, 0.0).square()).sqrt()
        return torch.where(last, sigma, super().sigma(t.clamp_max(self.span[0] - 1)))

    def rates(self, t: Tensor) -> Rates:
        """Alpha, sigma and their derivatives d_alpha, d_sigma at time t."""
        _, _, d_alpha, d_sigma = super().rates(t.clamp_max(self.span[0] - 1))
        alpha, sigma, last = self.alpha(t), self.sigma(t), self._in_last_step(t)[0]
        slope = self._last_alpha
        d_alpha = torch.where(last, -slope, d_alpha)
        return alpha, sigma, d_alpha, torch.where(last, slope * alpha / sigma, d_sigma)

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho; t_prior where rho is infinite."""
        alpha = (1 + rho.square()).rsqrt()
        most, value = float(self._log_rho[-1]), rho.log()
        last, before = value > most, value.clamp_max(most)
        in_last = self.span[0] - alpha / self._last_alpha
        return torch.where(last, in_last, super().time(before.exp()))

    def __repr__(self) -> str:
        return f"ZeroTerminalBetas(T={len(self._log_rho) + 1})"
