r"""Poisson flows started on the hemisphere: a noise scale of its own for every sample.

PFGM and PFGM++ are affine fields with Student-t noise of D degrees of freedom: at augmented
radius r the posterior mean is taken under :math:`w_i \propto (|x - y_i|^2 + r^2)^{-(N+D)/2}`, and
:math:`dx/dr = (x - E[x_0|x, r]) / r`. In the plane form all samples share :math:`r = \sigma
\sqrt{D}` and the prior is Cauchy-tailed for D = 1. In the bound form sample i has :math:`r =
\sigma q_i`, with :math:`(x - m, \sigma_{max} q)` on a hemisphere of :math:`\mathbb{R}^{N+D}`: the
same field lines, no tails.

References: PFGM (Xu et al., 2022), https://arxiv.org/abs/2209.11178; PFGM++ (Xu et al., 2023),
https://arxiv.org/abs/2302.04265.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from diffode.doors import Numbers, as_state, as_time
from diffode.fields.affine import AffineField
from diffode.fields.base import Latent, Start, expand_like
from diffode.fields.schedules import Karras
from diffode.fields.wrapped import Wrapped
from diffode.priors import Spherical, is_student
from diffode.rng import Rng, as_rng

Radius = Literal["auto", "fixed", "chi", "plane"]
_FAR = 7.0  # a draw of chi_D is further above sqrt(D) with a probability below 3e-11


class PoissonField(Wrapped):
    r"""A Student-t field that starts on the hemisphere, and its bound form.

    With ``q=None`` this is ``inner`` itself (plane form: one r for all rows). `start` draws the
    pair (x, q) and returns the field bound to q: the latent of a sample is the pair, and q is
    never drawn anew.

    Arguments:
        inner: an affine field with `Karras` schedule and `StudentT` noise: learned, or exact.
        q: the augmented radius of each row in units of sigma, shape (B,); None for the plane form.
        radius: of the hemisphere that flows start on, in units of sigma_max. "fixed" is
            sqrt(N + D); "chi" draws it from chi_{N+D}, which is x = m + sigma_max n with normal n;
            "auto" is "fixed" for N <= 16 and "chi" beyond. "plane" starts from the plane form's
            prior instead, with no q.
        max_radius: the largest distance from m of such a start on the plane; None for no limit.

    Raises:
        TypeError: ``inner`` has another noise law or schedule.
        ValueError: a q that is not positive and finite, or an inner field bound already.
    """

    def __init__(
        self,
        inner: AffineField,
        q: Numbers | None = None,
        radius: Radius = "auto",
        max_radius: float | None = None,
    ) -> None:
        if not isinstance(inner, AffineField):
            raise TypeError(f"a PoissonField is built around a field, got {type(inner).__name__}")
        if not is_student(inner.noise) or not isinstance(inner.schedule, Karras):
            raise TypeError(
                "a PoissonField needs StudentT noise on the Karras schedule, got "
                f"{inner.noise} on {inner.schedule}"
            )
        if inner.decay is not None:
            raise TypeError(f"got a field with {inner.decay}; Poisson flows have no blur")
        super().__init__(inner)
        self.radius, self.max_radius, self.dof = radius, max_radius, inner.noise.dof
        if q is not None:
            q = as_state(q, (), "q", fewest=0)
            if inner.prior is None or not bool(((q > 0) & q.isfinite()).all()):
                raise ValueError("q is a positive finite number for each row, bound once")
        self.register_buffer("q", q)

    q: Tensor | None

    @property
    def prior(self) -> Spherical | None:  # type: ignore[override]
        """The inner field's prior for the plane form; None for the bound form."""
        return self.inner.prior if self.q is None else None

    @property
    def levels(self) -> tuple[float, float]:
        """The least and the largest noise level of its rows, each with a q of its own.

        Of all starts on a hemisphere: but one of 10^10 of a drawn radius may have a larger one.
        """
        least, most = self.inner.levels
        if self.q is not None:
            low, high = (float(v) / math.sqrt(self.dof) for v in self.q.aminmax())
            return least * low, most * high
        if self.radius == "plane":
            return least, most
        fixed = math.sqrt(self.mean.numel() + self.dof)
        q = fixed if self._is_fixed else math.sqrt(self.dof) + _FAR
        return 0.0, most * q / math.sqrt(self.dof)

    @property
    def _is_fixed(self) -> bool:
        """Whether all starts have one distance from the mean."""
        return self.radius == "fixed" or (self.radius == "auto" and self.mean.numel() <= 16)

    def bind(self, q: Numbers) -> PoissonField:
        """The bound form for rows of augmented radius q (B,), in units of sigma."""
        if self.q is not None:
            raise ValueError("this PoissonField is bound to q already; bind its plane form")
        return PoissonField(self.inner, q, self.radius, self.max_radius)

    def rows(self, index: Tensor) -> PoissonField:
        """The field of these rows of the batch, each with its own q."""
        other = super().rows(index)
        if self.q is None:
            return other
        other = other.copied()
        try:
            other.q = self.q[index]
        except (IndexError, TypeError):
            raise ValueError(
                f"got rows that do not fit a field bound to {len(self.q)}; pass their indices"
            ) from None
        return other

    def latent(self, x: Tensor) -> Latent:
        """The latent of points x: the pair (x, q)."""
        return Latent(x, self.q)

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """Draw (x, q) on the hemisphere about the data mean, and the field bound to q.

        With u uniform on the sphere of R^{N+D}, (x - m, q sigma_max) = c sigma_max u.
        """
        rng = as_rng(rng)
        if self.q is not None:
            raise ValueError("a bound PoissonField has no prior; start from its plane form")
        mean, _ = self.moments
        if self.radius == "plane":
            assert self.prior is not None
            shape, cap = (n, *self.event_shape), self.max_radius
            return Start(self.prior.sample(shape, rng, max_radius=cap, device=self.device), self)
        normal = rng.normal("prior", (n, *self.event_shape), torch.float64, self.device)
        chi = rng.chi2("prior/q", n, self.dof, self.device).sqrt()
        if self._is_fixed:
            length = (normal.flatten(1).square().sum(1) + chi.square()).sqrt()
            stretch = math.sqrt(mean.numel() + self.dof) / length
            normal, chi = normal * expand_like(stretch, normal), chi * stretch
        x = mean.double() + self.span[0] * normal
        return Start(x.to(torch.float32), self.bind(chi))

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x, r] and (x - E[x_0 | x, r]) / t."""
        if self.q is None:
            return self.inner.posterior(x, t, y)
        x = self.as_state(x)
        t = as_time(t, x)
        if len(self.q) != len(x):
            raise ValueError(
                f"got {len(x)} rows for a field bound to {len(self.q)}; call field.rows(index)"
            )
        x0 = self.inner.denoise(x, self._own(t), y)
        return x0, (x - x0) / expand_like(t, x)

    @property
    def jumps(self) -> tuple[float, ...] | None:  # type: ignore[override]
        """The levels of the inner field's jumps; None where each row has its own."""
        return None if self.q is not None and self.inner.jumps else self.inner.jumps

    def calls_at(self, t: Tensor) -> int:
        """The network calls of an evaluation at time t, each row at a level of its own."""
        return self.inner.calls_at(t if self.q is None else self._own(t))

    def _own(self, t: Tensor) -> Tensor:
        """Each row's time of the inner field, q t / sqrt(D)."""
        assert self.q is not None
        return t * self.q / math.sqrt(self.dof)

    def _describe(self) -> list[str]:
        form = "plane form" if self.q is None else f"bound to {len(self.q)} rows"
        return [*super()._describe(), form]


def around_plane_form(
    field: AffineField, wrap: Callable[[AffineField], AffineField]
) -> AffineField:
    """A wrapper around a field: inside of a `PoissonField`, where each row has its own level.

    Arguments:
        field: what to wrap.
        wrap: makes the wrapper.

    Raises:
        ValueError: a PoissonField inside of another wrapper, whose one level for all rows is not
            that of the rows.
    """
    if isinstance(field, PoissonField):
        return PoissonField(wrap(field.inner), field.q, field.radius, field.max_radius)
    inner = field
    while isinstance(inner, Wrapped):
        inner = inner.inner
        if isinstance(inner, PoissonField):
            raise ValueError(
                f"got a {type(field).__name__} around a PoissonField, whose rows have levels of "
                "their own; change the PoissonField first, then put the other around it"
            )
    return wrap(field)
