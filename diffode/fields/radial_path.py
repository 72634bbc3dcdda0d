r"""Isotropic laws whose shape changes with time, and the rate that carries each into the next.

Let the distance r from a data point have the distribution function :math:`F_t(r)`. Moving along r
with

.. math:: f_r = -\frac{\partial_t F}{\partial_r F} = -\frac{\partial_t \log S}{\partial_r \log S},
          \qquad S = 1 - F,

keeps every quantile where it belongs, so it solves the equation of continuity for that point. In
the tail F is 1 to rounding and the first form is 0/0: below the median F is summed from 0, above
it S from infinity, by quadrature in :math:`v = \log r`. What is tabled is :math:`h = f_r / r`,
with its exact slope in v.

Reference: Su (2022), A ramble on generative diffusion models, part 14,
https://kexue.fm/archives/9370, the solutions that are isotropic in space.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from diffode.doors import unwritten
from diffode.priors import Normal, Radial, Spherical, StudentT
from diffode.priors.radii import DEPTH, RANGE, Array, as_array, log_area, window

_CELLS, _ORDER = 512, 8
_TRUSTED = DEPTH - 20  # nats under the top: the table's own ends lack what lies beyond them
_SMALL = 1e-2  # below which log(1 + z) / z is taken from its series


class RadialRate(NamedTuple):
    """The rate of log r at one time, h(v) = f_r / r, and the density's constant.

    Attributes:
        first, step: the least tabled v and the distance of the next.
        rate, slope: h and its derivative in v at each.
        log_norm: what makes exp(log_g) a density in N coordinates.
    """

    first: float
    step: float
    rate: Tensor
    slope: Tensor
    log_norm: float

    def __call__(self, v: Tensor) -> Tensor:
        """The rate at logarithms v of radii: cubic inside, going on straight outside."""
        place = (v - self.first) / self.step
        inside = place.clamp(0, len(self.rate) - 1)
        k = inside.detach().floor().long().clamp_max(len(self.rate) - 2)
        u = inside - k
        rate, slope = self.rate.to(v), self.slope.to(v) * self.step
        a, b, da, db = rate[k], rate[k + 1], slope[k], slope[k + 1]
        rise = b - a
        cubic = a + u * (da + u * (3 * rise - 2 * da - db + u * (da + db - 2 * rise)))
        end = torch.where(place > 0, slope[-1], slope[0])
        return cubic + (place - inside) * end


class RadialPath:
    r"""Laws of the distance from a data point, one for each time; write ``log_g``.

    Attributes:
        span: the times (t_prior, t_data).
    """

    span: tuple[float, float] = (1.0, 0.0)

    def log_g(self, r: Tensor, t: Tensor, dim: int) -> Tensor:
        """The log-density at radii r and time t in ``dim`` coordinates, up to a constant of t."""
        raise unwritten(self, "log_g")

    def law(self, t: float, dim: int) -> Spherical:
        """The law at a time, about 0."""
        at = torch.tensor(t, dtype=torch.float64)
        return Radial(lambda r: self.log_g(r, at.to(r), dim))

    def rate(self, t: Tensor, dim: int) -> RadialRate:
        """The rate of log r at a time t, of shape ()."""
        t = torch.func.debug_unwrap(t).detach().double().cpu()

        def log_density(v: Array) -> Array:
            return as_array(self.log_g(torch.from_numpy(v).exp(), t, dim)) + dim * v

        v = np.linspace(*window(log_density, -RANGE, RANGE, DEPTH), _CELLS + 1)
        step = float(v[1] - v[0])
        places, weights = legendre.leggauss(_ORDER)
        every = np.append(v, v[:-1, None] + step / 2 * (1 + places))
        r, one = torch.from_numpy(every).exp(), torch.ones_like(t)
        logs, changes = _slope(lambda s: self.log_g(r, s, dim), t, one)
        log, change = as_array(logs) + dim * every, as_array(changes)
        top, inner, own = log.max(), log[len(v) :], change[len(v) :]
        p = np.exp(inner - top).reshape(-1, _ORDER) * (weights * step / 2)
        own = own.reshape(p.shape)
        mean = float((p * own).sum() / p.sum())
        below, above = _both_ways(p.sum(1))
        gained, lost = _both_ways((p * (own - mean)).sum(1))
        log, change = log[: len(v)], change[: len(v)]
        rate = np.where(below < above, -gained, lost) * np.exp(top - log)
        at = r[: len(v)]
        steep = as_array(_slope(lambda x: self.log_g(x, t, dim), at, at)[1])
        slope = mean - change - rate * (dim + steep)
        kept = np.flatnonzero(log > top - _TRUSTED)
        part = slice(kept[0], kept[-1] + 1)
        rates, slopes = (torch.from_numpy(u[part].copy()) for u in (rate, slope))
        total = top + math.log(below[-1])
        return RadialRate(float(v[kept[0]]), step, rates, slopes, -total - log_area(dim))


class GaussianToStudent(RadialPath):
    r"""From a narrow normal law to a wide Student-t law, both width and shape changing.

    .. math:: \log g = -\frac{D + N}{2} \log\Big(1 + \frac{r^2}{D \sigma^2}\Big), \qquad
              \sigma = \sigma_{min}^{1 - t} \sigma_{max}^t, \quad D = d / t^2.

    At t = 0 it is :math:`N(0, \sigma_{min}^2)`, at t = 1 Student's law with d degrees of freedom.

    Arguments:
        dof: d.
        sigma_min, sigma_max: the width of the law at t = 0 and at t = 1.

    Raises:
        ValueError: numbers that are not positive, or widths that do not grow.
    """

    def __init__(self, dof: float = 3.0, sigma_min: float = 0.01, sigma_max: float = 20.0) -> None:
        if not 0 < dof < math.inf:
            raise ValueError(f"got dof {dof}; wanted a finite one above 0")
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(
                f"got sigma_min {sigma_min:g} and sigma_max {sigma_max:g}; wanted 0 < sigma_min < "
                "sigma_max"
            )
        self.dof, self.sigma_min, self.sigma_max = float(dof), sigma_min, sigma_max

    def sigma(self, t: Tensor) -> Tensor:
        """The width of the law at time t."""
        growth = math.log(self.sigma_max / self.sigma_min)
        return self.sigma_min * torch.exp(growth * t)

    def log_g(self, r: Tensor, t: Tensor, dim: int) -> Tensor:
        """The log-density at radii r and time t in ``dim`` coordinates, up to a constant of t."""
        square = (r / self.sigma(t)).square()
        z = t.square() / self.dof * square
        return -(square * _log1p_ratio(z) + dim * torch.log1p(z)) / 2

    def law(self, t: float, dim: int) -> Spherical:
        """The law at a time, about 0."""
        scale = float(self.sigma(torch.tensor(t, dtype=torch.float64)))
        return StudentT(self.dof / t**2, scale=scale) if t else Normal(scale=scale)

    def __repr__(self) -> str:
        widths = f"sigma_min={self.sigma_min:g}, sigma_max={self.sigma_max:g}"
        return f"{type(self).__name__}(dof={self.dof:g}, {widths})"


def _log1p_ratio(z: Tensor) -> Tensor:
    """The ratio log(1 + z) / z, 1 at z = 0, and its derivatives."""
    small = z < _SMALL
    low, high = z.where(small, 0.0), z.where(~small, 1.0)
    series = 1 - low * (
        1 / 2 - low * (1 / 3 - low * (1 / 4 - low * (1 / 5 - low * (1 / 6 - low / 7))))
    )
    return torch.where(small, series, torch.log1p(high) / high)


def _slope(
    function: Callable[[Tensor], Tensor], x: Tensor, along: Tensor
) -> tuple[Tensor, Tensor]:
    """The values of a function, and their rate of change where x changes along a tangent."""
    out = torch.func.jvp(function, (x,), (along,))
    return out[0], out[1]


def _both_ways(parts: Array) -> tuple[Array, Array]:
    """Sums up to each edge of cells, from the first and from the last."""
    return np.append(0.0, np.cumsum(parts)), np.append(np.cumsum(parts[::-1])[::-1], 0.0)
