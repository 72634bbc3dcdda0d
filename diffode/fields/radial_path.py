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
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from diffode.doors import unwritten
from diffode.fields.base import expand_like
from diffode.priors import Normal, Radial, Spherical, StudentT
from diffode.priors.radii import DEPTH, RANGE, Array, as_array, log_area, window
from diffode.rng import Rng

_CELLS, _ORDER = 512, 8
_PLACES, _WEIGHTS = legendre.leggauss(_ORDER)
_TRUSTED = DEPTH - 20  # nats under the top: the table's own ends lack what lies beyond them
_RHO = 7  # of the widths' steps
_NORMAL = 1e12  # degrees of freedom that are as many as infinitely many
_SMALL = 1e-2  # below which log(1 + z) / z is taken from its series


class RadialRate(NamedTuple):
    """The rate of log r at one time, h(v) = f_r / r, and the density's constant; or at K times.

    Attributes:
        first, step: the least tabled v and the distance of the next, shape () or (K,).
        rate, slope: h and its derivative in v at each v, shape (V,) or (K, V).
        low, high: the first and the last place of the table that are used.
        log_norm: what makes exp(log_g) a density in N coordinates.
    """

    first: Tensor
    step: Tensor
    rate: Tensor
    slope: Tensor
    low: Tensor
    high: Tensor
    log_norm: Tensor

    def at(self, index: Tensor) -> RadialRate:
        """Those of K times that each of B rows is at."""
        return RadialRate(*(part.to(index.device)[index] for part in self))

    def __call__(self, v: Tensor) -> Tensor:
        """The rate at logarithms v of radii: cubic inside, going on straight outside.

        Arguments:
            v: of any shape for one time; of shape (B,) for the times of B rows.
        """
        first, step, rate, slope, low, high = (part.to(v) for part in self[:-1])
        place = (v - first) / step
        inside = torch.minimum(torch.maximum(place, low), high)
        k = torch.minimum(inside.detach().floor(), high - 1).long()
        u, slope = inside - k, slope * step[..., None]
        a, b, da, db = (_picked(part, k + more) for part in (rate, slope) for more in (0, 1))
        rise = b - a
        cubic = a + u * (da + u * (3 * rise - 2 * da - db + u * (da + db - 2 * rise)))
        end = torch.where(place > low, _picked(slope, high.long()), _picked(slope, low.long()))
        return cubic + (place - inside) * end


def _picked(table: Tensor, k: Tensor) -> Tensor:
    """The entries k of a table (V,), or of the row of each in a table (B, V)."""
    return table[k] if table.ndim == 1 else table.gather(1, k[:, None])[:, 0]


class RadialPath:
    r"""Laws of the distance from a data point, one for each time; write ``log_g``.

    Attributes:
        span: the times (t_prior, t_data).
    """

    span: tuple[float, float] = (1.0, 0.0)

    def log_g(self, r: Tensor, t: Tensor, dim: int) -> Tensor:
        """The log-density at radii r in ``dim`` coordinates, up to a constant of t.

        Arguments:
            r: radii, of any shape; each answer depends on its own radius alone.
            t: the time, of shape () or of that of r.
            dim: N.
        """
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
        every = np.append(v, v[:-1, None] + step / 2 * (1 + _PLACES))
        r = torch.from_numpy(every).exp()
        logs, pull = torch.func.vjp(  # type: ignore[misc]
            lambda s, x: self.log_g(x, s, dim), t.expand(len(r)), r
        )
        by_t, by_r = pull(torch.ones_like(r))
        log, change = as_array(logs) + dim * every, as_array(by_t)
        top, inner, own = log.max(), log[len(v) :], change[len(v) :]
        p = np.exp(inner - top).reshape(-1, _ORDER) * (_WEIGHTS * step / 2)
        own = own.reshape(p.shape)
        mean = float((p * own).sum() / p.sum())
        below, above = _both_ways(p.sum(1))
        gained, lost = _both_ways((p * (own - mean)).sum(1))
        log, change = log[: len(v)], change[: len(v)]
        rate = np.where(below < above, -gained, lost) * np.exp(top - log)
        steep = as_array(r * by_r)[: len(v)]
        slope = mean - change - rate * (dim + steep)
        kept = np.flatnonzero(log > top - _TRUSTED)
        log_norm = -(top + math.log(below[-1])) - log_area(dim)
        ends = float(v[0]), step, rate, slope, float(kept[0]), float(kept[-1]), log_norm
        return RadialRate(*(torch.as_tensor(part, dtype=torch.float64) for part in ends))

    def rates(self, times: Tensor, dim: int) -> RadialRate:
        """The rates at K times, shape (K,)."""
        parts = zip(*(self.rate(t, dim) for t in times), strict=True)
        return RadialRate(*(torch.stack(part) for part in parts))

    def sigma(self, t: Tensor) -> Tensor:
        """The width of the law at time t, which a network is told; for training."""
        raise unwritten(self, "sigma")

    def draw(self, t: Tensor, shape: Sequence[int], rng: Rng) -> Tensor:
        """Draws of the law, one at each of B times, in float64; for training."""
        raise unwritten(self, "draw")


class GaussianToStudent(RadialPath):
    r"""From a narrow normal law to a wide Student-t law, both width and shape changing.

    .. math:: \log g = -\frac{D + N}{2} \log\Big(1 + \frac{r^2}{D \sigma^2}\Big), \qquad
              \sigma^{1/7} = (1 - t) \sigma_{min}^{1/7} + t \, \sigma_{max}^{1/7}, \quad
              D = d / t^2.

    At t = 0 it is :math:`N(0, \sigma_{min}^2)`, at t = 1 Student's law with d degrees of freedom.
    Even steps of t are those of Karras et al. (2022), https://arxiv.org/abs/2206.00364, eq. 5.

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
        low, high = self.sigma_min ** (1 / _RHO), self.sigma_max ** (1 / _RHO)
        width: Tensor = (low + t * (high - low)) ** _RHO
        return width

    def log_g(self, r: Tensor, t: Tensor, dim: int) -> Tensor:
        """The log-density at radii r and time t in ``dim`` coordinates, up to a constant of t."""
        square = (r / self.sigma(t)).square()
        z = t.square() / self.dof * square
        return -(square * _log1p_ratio(z) + dim * torch.log1p(z)) / 2

    def draw(self, t: Tensor, shape: Sequence[int], rng: Rng) -> Tensor:
        """Draws of the law, one at each of B times: normal ones over the root of a chi-square."""
        from scipy.special import gammaincinv

        n = rng.normal("noise", shape, torch.float64, t.device)
        dof = (self.dof / t.double().square()).clamp_max(_NORMAL)
        u = rng.uniform("noise/chi2", (len(t),))
        half = torch.from_numpy(gammaincinv(dof.cpu().numpy() / 2, u.numpy())).to(dof)
        size = self.sigma(t.double()) * (dof / (2 * half)).sqrt()
        return expand_like(size, n) * n

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


def _both_ways(parts: Array) -> tuple[Array, Array]:
    """Sums up to each edge of cells, from the first and from the last."""
    return np.append(0.0, np.cumsum(parts)), np.append(np.cumsum(parts[::-1])[::-1], 0.0)
