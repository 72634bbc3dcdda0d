"""DDPM's chain of betas as a schedule."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffode.fields.schedules import Rates, Schedule


class DiscreteBetas(Schedule):
    r"""DDPM's chain made continuous: :math:`\log \rho` linear in t between the integers.

    At an integer t, :math:`\alpha^2 = \prod_{i \le t} (1 - \beta_i)` and :math:`\sigma^2 = 1 -
    \alpha^2`.

    Reference: Ho et al. (2020), https://arxiv.org/abs/2006.11239, eq. 4.

    Arguments:
        betas: the T >= 2 variances, each in (0, 1).
    """

    def __init__(self, betas: Sequence[float] | Tensor) -> None:
        b = torch.as_tensor(betas, dtype=torch.float64)
        if b.ndim != 1 or len(b) < 2 or not bool(((b > 0) & (b < 1)).all()):
            raise ValueError(
                f"got betas of shape {tuple(b.shape)}; wanted T >= 2 values in (0, 1)"
            )
        log_alpha2 = torch.log1p(-b).cumsum(0)
        self._log_rho = (torch.log(-torch.expm1(log_alpha2)) - log_alpha2) / 2
        self.span = (len(b) - 1.0, 0.0)

    def _log_rho_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Log rho and its slope."""
        table = self._log_rho.to(t)
        left = t.detach().floor().clamp(0, len(table) - 2).long()
        slope = table[left + 1] - table[left]
        return table[left] + slope * (t - left), slope

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data, 1 / sqrt(1 + rho^2)."""
        return torch.sigmoid(-2 * self._log_rho_at(t)[0]).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise, rho / sqrt(1 + rho^2)."""
        return torch.sigmoid(2 * self._log_rho_at(t)[0]).sqrt()

    def rates(self, t: Tensor) -> Rates:
        """Alpha, sigma and their derivatives d_alpha, d_sigma at time t."""
        alpha, sigma, slope = self.alpha(t), self.sigma(t), self._log_rho_at(t)[1]
        return alpha, sigma, -slope * alpha * sigma**2, slope * sigma * alpha**2

    def time(self, rho: Tensor) -> Tensor:
        """The time at which sigma / alpha equals rho, by inverting the piecewise-linear log."""
        table = self._log_rho.to(rho)
        value = rho.log()
        left = (torch.searchsorted(table, value.contiguous()) - 1).clamp(0, len(table) - 2)
        return left + (value - table[left]) / (table[left + 1] - table[left])

    def __repr__(self) -> str:
        return f"DiscreteBetas(T={len(self._log_rho)})"
