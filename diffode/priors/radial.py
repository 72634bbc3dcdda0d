r"""Radial laws: a density of the radius, and all that follows from it.

A law that depends on the radius alone is given by one function, :math:`\log g(r)`. Its constant,
the distribution of the radius, draws and densities follow by quadrature in one dimension. And
since :math:`x_t = \alpha_t x_0 + \sigma_t n` keeps the shape of the law of n, so do the path, the
exact field of data, the denoising objective and every solver that adds no noise of its own:

.. math:: f_t(x) = \dot\alpha_t E[x_0|x] + \dot\sigma_t \, \frac{x - \alpha_t E[x_0|x]}{\sigma_t}.

Reference: Su (2022), A ramble on generative diffusion models, part 14, https://kexue.fm/archives/9370,
the solutions that are isotropic in space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from diffode.doors import unwritten
from diffode.priors.radii import Array, Radii, as_array, log_area
from diffode.priors.spherical import Spherical, probabilities
from diffode.rng import Rng

_STEEP = 1e6  # of the continuation beyond an edge: far enough out the nearest point has all weight
_PROBE = np.linspace(-40.0, 40.0, 161)  # logarithms of radii by whose values a table is known


class Radial(Spherical):
    r"""The law with density :math:`g(|x| / w)`; give ``log_g``, or write it in a class.

    A class may write ``radius_icdf`` in its place: it can then be drawn from and trained with, and
    what needs its density says so.

    Arguments:
        log_g: :math:`\log g` at radii, up to a constant.
        edge: the radius beyond which the density is 0.
        width: w, the radius that g takes for 1.
        scale: :math:`\sigma`; noise has 1, which its schedule scales.
        loc: the centre, a number or a tensor of the event's shape.

    Raises:
        ValueError: a width or an edge that is not positive.
    """

    def __init__(
        self,
        log_g: Callable[[Tensor], Tensor] | None = None,
        *,
        edge: float = math.inf,
        width: float = 1.0,
        scale: float = 1.0,
        loc: Tensor | float = 0.0,
    ) -> None:
        if not 0 < width < math.inf:
            raise ValueError(f"got width {width}; a width is a positive finite number")
        if not edge > 0:
            raise ValueError(f"got edge {edge}; an edge is a radius above 0")
        super().__init__(scale=scale, loc=loc)
        self._given, self.edge, self.width = log_g, float(edge), float(width)
        self.smooth = math.isinf(self.edge)
        self._tables: dict[tuple[Any, ...], Radii] = {}

    def log_g(self, r: Tensor) -> Tensor:
        r"""The logarithm of g at radii r, up to a constant."""
        if self._given is None:
            raise unwritten(self, "log_g")
        return self._given(r)

    def log_radial(self, r2: Tensor, dim: int) -> Tensor:
        """Log-density at squared radius ``r2`` for unit scale, up to its constant ``log_norm``."""
        r = self._radius(r2)
        return self.log_g(r) if self.smooth else self.log_g(r).where(r <= self.edge, -math.inf)

    def log_weight(self, r2: Tensor, dim: int) -> Tensor:
        """The same, continued beyond an edge so steeply that the nearest point has all weight."""
        if self.smooth:
            return self.log_radial(r2, dim)
        r = self._radius(r2)
        beyond = ((r / self.edge).square() - 1).clamp_min(0)
        return self.log_g(r.clamp_max(self.edge * (1 - 1e-9))) - _STEEP * beyond

    def _radius(self, r2: Tensor) -> Tensor:
        return r2.clamp_min(torch.finfo(r2.dtype).tiny).sqrt() / self.width

    def log_norm(self, dim: int) -> float:
        """The constant that makes ``log_radial`` a density in ``dim`` coordinates."""
        return -self._radii(dim).log_total - log_area(dim)

    def rms(self, dim: int) -> float:
        r"""The root mean square of a coordinate, :math:`\sqrt{E|n|^2 / N}`.

        Raises:
            ValueError: it is infinite.
        """
        squares = self._radii(dim, dim + 2).log_total - self._radii(dim).log_total
        return self.scale * math.sqrt(math.exp(squares) / dim)

    def standard(self, dim: int) -> Self:
        """The same law, as wide as gives a coordinate of ``dim`` the root mean square 1."""
        law = self.at(1.0)
        law.width = self.width * self.scale / self.rms(dim)
        return law

    def radius_icdf(self, u: Tensor, dim: int) -> Tensor:
        """The radius that a draw in ``dim`` coordinates stays below with probability ``u``."""
        p = probabilities(u)
        r = np.exp(self._radii(dim).icdf(np.atleast_1d(p)))
        return self.scale * torch.from_numpy(r.reshape(p.shape))

    def radius_cdf(self, radius: float, dim: int) -> float:
        """The probability that a draw in ``dim`` coordinates has at most this radius."""
        if not 0 < radius < math.inf:
            return float(radius > 0)
        v = np.array([math.log(radius / self.scale)])
        return float(self._radii(dim).cdf(v)[0])

    def sample(
        self,
        shape: Sequence[int],
        rng: Rng,
        *,
        name: str = "prior",
        max_radius: float | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw a batch: the direction of a normal draw, times a radius. See `Spherical.sample`."""
        most = math.inf if max_radius is None else max_radius
        where: dict[str, Any] = {"dtype": dtype, "device": device}
        return super().sample(shape, rng, name=name, max_radius=most, **where)

    def _radii(self, dim: int, power: int | None = None) -> Radii:
        """The law of the radius; with another power of it than N in the place of N."""
        power = power or dim

        def log_radial(v: Array) -> Array:
            return as_array(self.log_radial(torch.from_numpy(2 * v).exp(), dim))

        key = dim, power, self.edge, self.width, log_radial(_PROBE).tobytes()
        if key not in self._tables:
            last = math.log(self.edge * self.width)
            try:
                made = Radii(lambda v: power * v + log_radial(v), last)
            except ValueError as error:
                what = "" if power == dim else " with a finite mean square"
                raise ValueError(f"{self} is no law{what} in {dim} coordinates: {error}") from None
            self._tables[key] = made
        return self._tables[key]

    def _options(self) -> list[str]:
        given = [] if self._given is None else [f"log_g={self._given!r}"]
        return [*given, *self._shape()]

    def _shape(self) -> list[str]:
        edge = [] if self.smooth or self._given is None else [f"edge={self.edge:g}"]
        return edge + ([] if self.width == 1 else [f"width={self.width:g}"])
