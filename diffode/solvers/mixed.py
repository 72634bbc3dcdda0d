r"""The default's grid: a part of the steps where data and noise balance, a part in log rho.

.. math:: w(\rho) = (1 - a) \Big(\frac{\rho}{c + \rho}\Big)^{2/3} + a \,
          \frac{\log(1 + \rho / \rho_0)}{\log(1 + \rho_{max} / \rho_0)}, \qquad
          \rho_0 = \rho_{data}, \qquad
          a = \min\Big(\frac15, \frac{K}{400}\Big), \qquad
          c = \frac{9}{10} \, s^{1/4} \, \bar s^{3/4}

for K steps, with the data's standard deviations s of a coordinate and :math:`\bar s` along their
main axes (`diffode.data.principal`). It is along those that a flow decides where it goes: an image
has few of them, with many times the variance of a pixel, and their noise is balanced long before
that of a pixel is. Where :math:`\bar s` is not known, c is 1.

An exact field is all but a Gaussian's at high noise and a point's at low noise, and
f1.5 takes few steps there. A network is neither: where many steps are spent, it is those few that
limit it. On a rough one (`diffode.solvers.roughness`) more of the steps are uniform in the
logarithm from 10 steps on: :math:`a = (K - 10) / 30`, but not below .3 or above .5, from 40 steps
on :math:`a = (K - 10) / 60` up to .9. The logarithm is linear below :math:`\rho_0`: where that is
:math:`\rho_{data}`, the last steps are up to twice as long in log rho as those before. That is
what limits a rough network from 50 steps on, and there :math:`\rho_0 = \rho_{data} / 10`. Between
50 and 100 steps the two ends of the logarithm are not worth the same: the error is largest in the
last steps and smallest in the first, above c. There it is

.. math:: L(\rho) = \log(1 + \rho / \rho_0) - b \log(1 + \rho / c), \qquad
          b = \frac{100 - K}{50} \min\Big(\frac12, \frac{50 \, \rho_{data}}{c}\Big),

again relative to its value at :math:`\rho_{max}`; :math:`1 - b` is the part of the steps that is
left above c. A field that goes on to a small :math:`\rho_{data}` has enough steps below, and one
that is very rough at the prior needs those above: there b is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from diffode.fields.affine import AffineField

_MOST, _PER_STEP = 0.2, 1 / 400
_GUIDED = 0.15  # the least a, where guidance is above 2
_BALANCE = 0.9
FEW, MANY = 9, 50
_LESS, _PER_RHO, _EVEN = 0.5, 50.0, 100  # the most b, its rate, and the steps from which it is 0


@dataclass(frozen=True)
class Mixed:
    """The function w and its inverse.

    Attributes:
        part: a.
        knee: rho_0, above 0.
        rho_max: sigma / alpha at t_prior, finite.
        scale: c.
        less: b, the part of the logarithm that is left out above c; below 1.
    """

    part: float
    knee: float
    rho_max: float
    scale: float = 1.0
    less: float = 0.0

    @classmethod
    def of(
        cls,
        steps: int,
        rho_data: float,
        rho_max: float,
        scale: float = 1.0,
        guided: bool = False,
        rough: bool = False,
        very_rough: bool = False,
    ) -> Mixed:
        """That of so many steps from one finite sigma / alpha to another."""
        part, knee, less = min(_MOST, steps * _PER_STEP), rho_data, 0.0
        if guided:
            part = max(part, _GUIDED)
        elif rough:
            part = max(0.3, min(0.5, (steps - 10) / 30), min(0.9, (steps - 10) / 60))
            if steps >= MANY:
                knee = rho_data / 10
                most = 0.0 if very_rough else min(_LESS, _PER_RHO * rho_data / scale)
                less = most * max(0, _EVEN - steps) / (_EVEN - MANY)
        return cls(part, knee, rho_max, scale, less)

    @property
    def slope(self) -> float:
        """The factor of the logarithm."""
        above = self.less * math.log1p(self.rho_max / self.scale)
        return self.part / (math.log1p(self.rho_max / self.knee) - above)

    def warp(self, rho: Tensor) -> Tensor:
        """w at rho."""
        balanced = (rho / (self.scale + rho)) ** (2 / 3)
        log = torch.log1p(rho / self.knee) - self.less * torch.log1p(rho / self.scale)
        return (1 - self.part) * balanced + self.slope * log

    def inverse(self, w: Tensor) -> Tensor:
        """The rho of each w, shape (K,) or of rows; those of shape (K,) are kept."""
        if w.ndim > 1:
            return self.found(w)
        return torch.tensor(_kept(self, tuple(w.tolist())), dtype=w.dtype, device=w.device)

    def found(self, w: Tensor) -> Tensor:
        """The inverse by Newton's steps in log rho, each within the bounds that are known by then.

        They solve log w(rho) = log w, which is all but linear in log rho at low noise.
        """
        low, high = torch.full_like(w, -700.0), torch.full_like(w, 700.0)
        log_rho, log_w = torch.zeros_like(w), w.log()
        for _ in range(100):
            rho, before = log_rho.exp(), log_rho
            value = self.warp(rho)
            below = value < w
            low, high = torch.where(below, before, low), torch.where(below, high, before)
            log_rho = before - (value.log() - log_w) * value / self._rate(rho)
            inside = (log_rho > low) & (log_rho < high)
            log_rho = torch.where(inside, log_rho, (low + high) / 2)
            if bool(((log_rho - before).abs() <= 1e-13 * before.abs().clamp_min(1)).all()):
                break
        return log_rho.exp()

    def _rate(self, rho: Tensor) -> Tensor:
        """The derivative of w with respect to log rho."""
        balanced = (rho / (self.scale + rho)) ** (2 / 3)
        rate = (1 - self.part) * (2 / 3) * balanced * self.scale / (self.scale + rho)
        log = rho / (rho + self.knee) - self.less * rho / (rho + self.scale)
        return rate + self.slope * log


def balance(field: AffineField) -> float:
    """The c of a field, times the root of a guidance weight above 2."""
    std, wide = field.moments[1], field.principal_std
    c = 1.0 if wide is None else _BALANCE * std**0.25 * wide**0.75
    return c * math.sqrt(field.guidance) if field.guidance > 2 else c


def principal_of(balance: float, std: float) -> float:
    """The standard deviation along the main axes that has this c."""
    return float((balance / (_BALANCE * std**0.25)) ** (4 / 3))


@lru_cache(maxsize=64)
def _kept(mixed: Mixed, w: tuple[float, ...]) -> list[float]:
    rho: list[float] = mixed.found(torch.tensor(w, dtype=torch.float64)).tolist()
    return rho
