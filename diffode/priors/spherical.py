r"""Spherical laws: the noise of a path and the prior of a flow.

A spherical law on :math:`\mathbb{R}^N` has a density of the radius alone. Two are written here,
the normal (diffusion, EDM, rectified flow) and the multivariate Student-t with D degrees of
freedom; any other is a `Radial`, of its own density.

.. math:: x = \mu + \sigma \, n \sqrt{D / \chi^2_D}, \qquad n \sim N(0, I_N),

which is the kernel of PFGM++ with :math:`r = \sigma \sqrt{D}`, and at D = 1 the Poisson kernel of
PFGM. Events may have any shape; N is the number of their coordinates.

Reference: PFGM++ (Xu et al., 2023), https://arxiv.org/abs/2302.04265, the perturbation kernel.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Self, TypeGuard

import numpy as np
import torch
from torch import Tensor

from diffode.doors import as_state, unwritten
from diffode.rng import Rng, as_rng

_STIRLING = 10.0  # from where on differences of log Gamma are taken from its series


class Spherical:
    r"""A law with density :math:`p(x) = \sigma^{-N} g(|x - \mu|^2 / \sigma^2)`.

    Arguments:
        scale: :math:`\sigma > 0`.
        loc: the centre :math:`\mu`, a number or a tensor of the event's shape.

    Attributes:
        smooth: whether its density has no edge, at which an exact field's velocity would jump.
    """

    smooth: bool = True

    def __init__(self, *, scale: float = 1.0, loc: Tensor | float = 0.0) -> None:
        if not 0 < scale < math.inf:
            raise ValueError(f"got scale {scale}; a scale is a positive finite number")
        self.scale, self.loc = float(scale), loc

    def at(self, scale: float, loc: Tensor | float = 0.0) -> Self:
        """The same law with another scale and centre."""
        law = copy.copy(self)
        Spherical.__init__(law, scale=scale, loc=loc)
        return law

    def log_radial(self, r2: Tensor, dim: int) -> Tensor:
        """Log-density at squared radius ``r2`` for unit scale, up to its constant ``log_norm``."""
        raise unwritten(self, "log_radial")

    def log_weight(self, r2: Tensor, dim: int) -> Tensor:
        """What points of data are weighed by: ``log_radial``, or a continuation where it ends."""
        return self.log_radial(r2, dim)

    def log_norm(self, dim: int) -> float:
        """The constant that makes ``log_radial`` a density in ``dim`` coordinates."""
        raise unwritten(self, "log_norm")

    def log_potential(self, r2: Tensor, dim: int) -> Tensor:
        r"""Log of the potential of ``log_radial`` at squared radius ``r2``, without ``log_norm``.

        .. math:: \Phi(r) = \int_r^\infty s \, g(s^2) \, ds

        Raises:
            TypeError: a law that does not state it.
        """
        raise TypeError(f"the potential of {self} noise is not known; use Normal or StudentT")

    def mixing(self, n: int, rng: Rng, name: str) -> Tensor | None:
        """The factor that a row's normal draw is multiplied by, shape (n,), or None for 1."""
        raise unwritten(self, "mixing")

    def radius_icdf(self, u: Tensor, dim: int) -> Tensor:
        """The radius that a draw in ``dim`` coordinates stays below with probability ``u``."""
        raise unwritten(self, "radius_icdf")

    def radius_cdf(self, radius: float, dim: int) -> float:
        """The probability that a draw in ``dim`` coordinates has at most this radius."""
        raise unwritten(self, "radius_cdf")

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
        """Draw a batch of the given shape, rows first.

        Arguments:
            shape: (B, *event).
            rng: where the numbers come from.
            name: the name of the draw; the same name and rng give the same numbers.
            max_radius: draw conditioned on :math:`|x - \\mu|` at most this (exact, no clipping).
        """
        n = as_rng(rng).normal(name, shape, torch.float64, device)
        if max_radius is None:
            factor = self.mixing(len(n), rng, name)
            x = self.scale * (n if factor is None else n * _column(factor, n))
        else:
            x = n * _column(_stretch(self, max_radius, n, rng, name), n)
        return (x + _like(self.loc, x)).to(dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats at each row of x, shape (B,)."""
        x = as_state(x, self.loc.shape if isinstance(self.loc, Tensor) and self.loc.ndim else None)
        u = ((x - _like(self.loc, x)) / self.scale).reshape(len(x), -1)
        r2, dim = u.square().sum(1), u.shape[1]
        return self.log_radial(r2, dim) + self.log_norm(dim) - dim * math.log(self.scale)

    def _options(self) -> list[str]:
        return []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([*self._options(), *_placed(self)])})"


def _stretch(law: Spherical, radius: float, n: Tensor, rng: Rng, name: str) -> Tensor:
    """The factors, shape (B,), that turn normal draws n into draws of at most this radius."""
    dim = n.shape[1:].numel()
    u = rng.uniform(f"{name}/radius", (len(n),)) * law.radius_cdf(radius, dim)
    length: Tensor = n.flatten(1).norm(dim=1)
    return law.radius_icdf(u, dim).to(n.device) / length


def _column(factor: Tensor, x: Tensor) -> Tensor:
    r"""A number of each row, shape (B,), to multiply x of shape (B, \\*event) with."""
    return factor.to(x.device).view(-1, *[1] * (x.ndim - 1))


def _like(loc: Tensor | float, x: Tensor) -> Tensor | float:
    return loc.to(x) if isinstance(loc, Tensor) else loc


def _placed(law: Spherical) -> list[str]:
    parts = [] if law.scale == 1 else [f"scale={law.scale:g}"]
    if isinstance(law.loc, Tensor):
        return [*parts, "loc=tensor"]
    return parts if law.loc == 0 else [*parts, f"loc={law.loc:g}"]


class Normal(Spherical):
    r"""The isotropic normal law, :math:`\log g(u) = -u/2 - \tfrac N2 \log 2\pi`."""

    def log_radial(self, r2: Tensor, dim: int) -> Tensor:
        """Log-density at squared radius ``r2`` for unit scale, up to its constant ``log_norm``."""
        return -r2 / 2

    def log_norm(self, dim: int) -> float:
        """The constant that makes ``log_radial`` a density in ``dim`` coordinates."""
        return -dim / 2 * math.log(2 * math.pi)

    def log_potential(self, r2: Tensor, dim: int) -> Tensor:
        """The density itself, whose slope is -r times it."""
        return self.log_radial(r2, dim) if is_normal(self) else super().log_potential(r2, dim)

    def mixing(self, n: int, rng: Rng, name: str) -> None:
        """A normal draw needs no factor."""
        return None

    def radius_icdf(self, u: Tensor, dim: int) -> Tensor:
        """The radius that a draw in ``dim`` coordinates stays below with probability ``u``."""
        from scipy.special import gammaincinv

        return self.scale * torch.as_tensor(2 * gammaincinv(dim / 2, probabilities(u))).sqrt()

    def radius_cdf(self, radius: float, dim: int) -> float:
        """The probability that a draw in ``dim`` coordinates has at most this radius."""
        from scipy.special import gammainc

        return float(gammainc(dim / 2, (radius / self.scale) ** 2 / 2))


class StudentT(Spherical):
    r"""The multivariate Student-t law, :math:`\log g(u) = c - \tfrac{D+N}{2} \log(1 + u/D)`.

    Drawn as a normal over a chi: no Beta variate (which rounds to 1 at D = 1) and no clip. Second
    moments exist for D > 2 only, and in float32 a draw can overflow where D is below about
    0.3.

    Reference: PFGM++ (Xu et al., 2023), https://arxiv.org/abs/2302.04265, the perturbation kernel.

    Arguments:
        dof: degrees of freedom D, any real number > 0; PFGM is D = 1, D to infinity is the normal
            law.
        scale: :math:`\sigma`; PFGM's z and PFGM++'s r are :math:`\sigma \sqrt{D}`.
        loc: the centre, a number or a tensor of the event's shape.
    """

    def __init__(self, dof: float, *, scale: float = 1.0, loc: Tensor | float = 0.0) -> None:
        if not 0 < dof < math.inf:
            raise ValueError(
                f"got dof {dof}; StudentT takes a finite dof > 0 (use Normal() for infinity)"
            )
        super().__init__(scale=scale, loc=loc)
        self.dof = float(dof)

    def log_radial(self, r2: Tensor, dim: int) -> Tensor:
        """Log-density at squared radius ``r2`` for unit scale, up to its constant ``log_norm``."""
        return torch.log1p(r2 / self.dof) * (-(self.dof + dim) / 2)

    def log_norm(self, dim: int) -> float:
        """The constant that makes ``log_radial`` a density in ``dim`` coordinates."""
        half, more = self.dof / 2, dim / 2
        if half < _STIRLING:
            gammas = math.lgamma(half + more) - math.lgamma(half)
            return gammas - more * math.log(math.pi * self.dof)
        growth = (half + more - 0.5) * math.log1p(more / half) - more
        growth += _stirling_rest(half + more) - _stirling_rest(half)
        return growth - more * math.log(2 * math.pi)

    def log_potential(self, r2: Tensor, dim: int) -> Tensor:
        r"""Its exponent is that of the density in two coordinates less, for N + D > 2.

        .. math:: \log \Phi = \log \tfrac{D}{D+N-2} - \tfrac{D+N-2}{2} \log(1 + r^2 / D)

        Raises:
            ValueError: N + D of 2 or less, for which the integral is infinite.
        """
        rest = self.dof + dim - 2
        if not is_student(self):
            return super().log_potential(r2, dim)
        if rest <= 0:
            raise ValueError(
                f"got {self} noise in {dim} coordinates; its potential is finite for N + D > 2"
            )
        return math.log(self.dof / rest) - rest / 2 * torch.log1p(r2 / self.dof)

    def mixing(self, n: int, rng: Rng, name: str) -> Tensor:
        r"""The factor :math:`\sqrt{D / \chi^2_D}` of each row, shape (n,)."""
        return (self.dof / rng.chi2(f"{name}/chi2", n, self.dof)).sqrt()

    def radius_icdf(self, u: Tensor, dim: int) -> Tensor:
        """The radius that a draw in ``dim`` coordinates stays below with probability ``u``."""
        from scipy.special import betainccinv, betaincinv

        p = probabilities(u)
        beta = betaincinv(dim / 2, self.dof / 2, p)
        rest = betainccinv(self.dof / 2, dim / 2, p)  # 1 - beta, without the cancellation
        return self.scale * torch.as_tensor(self.dof * beta / rest).sqrt()

    def radius_cdf(self, radius: float, dim: int) -> float:
        """The probability that a draw in ``dim`` coordinates has at most this radius."""
        from scipy.special import betainc

        u = (radius / self.scale) ** 2
        return float(betainc(dim / 2, self.dof / 2, u / (self.dof + u)))

    def _options(self) -> list[str]:
        return [f"dof={self.dof:g}"]


def _stirling_rest(x: float) -> float:
    r"""What Stirling's formula for log Gamma leaves, to 1e-14 from x = 10 on.

    .. math:: \log\Gamma(x) - (x - \tfrac12) \log x + x - \tfrac12 \log 2\pi
              = \tfrac1{12 x} - \tfrac1{360 x^3} + \tfrac1{1260 x^5} - \tfrac1{1680 x^7} + \ldots
    """
    u = 1 / (x * x)
    return (1 / 12 - u * (1 / 360 - u * (1 / 1260 - u * (1 / 1680 - u / 1188)))) / x


def is_normal(law: object) -> TypeGuard[Normal]:
    """Whether a law is the normal one: not a law of its own that is derived from the class."""
    return isinstance(law, Normal) and _unchanged(law, Normal)


def is_student(law: object) -> TypeGuard[StudentT]:
    """Whether a law is Student's: not a law of its own that is derived from the class."""
    return isinstance(law, StudentT) and _unchanged(law, StudentT)


def _unchanged(law: Spherical, known: type[Spherical]) -> bool:
    own = type(law)
    return own.log_radial is known.log_radial and own.mixing is known.mixing


def probabilities(u: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Probabilities as a numpy array."""
    p = u if isinstance(u, Tensor) and u.ndim == 0 else as_state(u, name="u", fewest=0)
    if bool(((p < 0) | (p > 1)).any()):
        raise ValueError("got u outside of [0, 1]; a probability lies between the two")
    return p.double().cpu().numpy()
