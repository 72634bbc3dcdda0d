r"""A factor for each coordinate beside a scalar schedule: blur, or heat dissipation.

A path may lose its data at another rate in each direction of an orthonormal basis V,

.. math:: x_t = V^T \big( \alpha_t \, d(t) * V x_0 \big) + \sigma_t n,
          \qquad 0 < d_k(t) \le 1, \quad d_0(t) = 1.

Spherical noise is the same in every orthonormal basis, so sigma stays one number and the prior,
the score and the noise's law stay what they are. A sigma for each coordinate is no new model:
:math:`x_k \to x_k \sigma / \sigma_k` makes it one number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffode.doors import as_positive, unwritten
from diffode.fields.schedules import Rates, Schedule
from diffode.fields.tables import Tables


class Decay(Tables):
    """Factors d(t) of the data's coordinates in a basis; write ``at``.

    Without ``to_basis`` and ``from_basis`` the basis is that of the points as they are.
    """

    def at(self, t: Tensor) -> Tensor:
        r"""The factors d at times t of shape (S,), a shape that broadcasts with (S, \*event).

        The rates are found by forward-mode differentiation of this method, which must therefore
        treat each time alone.
        """
        raise unwritten(self, "at")

    def to_basis(self, x: Tensor) -> Tensor:
        r"""The coordinates V x of points x, shape (B, \*event)."""
        return x

    def from_basis(self, c: Tensor) -> Tensor:
        r"""The points V^T c of coordinates c, shape (B, \*event)."""
        return c

    def require(self, schedule: Schedule) -> None:
        """Refuse a schedule whose time the factors have no meaning for.

        Raises:
            ValueError: such a schedule.
        """

    def rates(self, schedule: Schedule, t: Tensor) -> Rates:
        r"""Alpha d and sigma at times t, and their derivatives.

        Arguments:
            schedule: alpha and sigma.
            t: float64, shape () or (B,).

        Returns:
            alpha d and its rate, shape (1, \*event) or (B, \*event), or one that broadcasts with
            these; sigma and its rate, shape () or (B,).
        """
        alpha, sigma, d_alpha, d_sigma = schedule.rates(t)
        s = t.reshape(-1).contiguous()
        d, d_rate = torch.func.jvp(self.at, (s,), (torch.ones_like(s),))[:2]
        alpha, d_alpha = (v.reshape(-1, *[1] * (d.ndim - 1)) for v in (alpha, d_alpha))
        return alpha * d, sigma, d_alpha * d + alpha * d_rate, d_sigma

    def level(self, schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha d and sigma at times t, shaped as by `rates`."""
        d = self.at(t.reshape(-1))
        return schedule.alpha(t).reshape(-1, *[1] * (d.ndim - 1)) * d, schedule.sigma(t)


class Heat(Decay):
    r"""Heat dissipation: the data blurred, fine detail first.

    .. math:: d_k(t) = (1 - d_{min}) e^{-\lambda_k \tau(t)} + d_{min}, \qquad
              \tau(t) = \tfrac12 \big(b \sin^2(\pi t / 2)\big)^2, \qquad
              \lambda_{ij} = \pi^2 \Big(\frac{i^2}{H^2} + \frac{j^2}{W^2}\Big)

    in the basis of the orthonormal cosine transform (DCT-II) over the last two axes; the numbers
    of an event (N,) are taken as N neighbours on a line, :math:`\lambda_i = \pi^2 i^2 / N^2`.
    Heat that spreads for the time :math:`\tau` blurs with a Gaussian of the standard deviation
    :math:`\sqrt{2 \tau}`.

    Reference: Hoogeboom and Salimans (2022), https://arxiv.org/abs/2209.05557, section 4;
        Rissanen et al. (2022), https://arxiv.org/abs/2206.13397, section 3.

    Arguments:
        event_shape: of one sample.
        blur_max: b, the width of the blur at t = 1, in pixels.
        d_min: the factor that no frequency falls below, above 0 and at most 1.

    Raises:
        ValueError: a width that is negative or not finite, or a d_min out of range.
    """

    def __init__(self, event_shape: Sequence[int], blur_max: float, d_min: float = 1e-3) -> None:
        super().__init__()
        self.blur_max = 0.0 if blur_max == 0 else as_positive(blur_max, "blur_max", "in pixels")
        if not 0 < d_min <= 1:
            raise ValueError(f"got d_min {d_min}; wanted a number above 0 and at most 1")
        self.d_min = float(d_min)
        sides = tuple(event_shape)[-2:]
        rates = [math.pi**2 * (torch.arange(n).double() / n).square() for n in sides]
        total = rates[0] if len(sides) == 1 else rates[0][:, None] + rates[1]
        total = total.reshape(*[1] * (len(event_shape) - len(sides)), *sides)
        self.register_buffer("rates_of_decay", total, persistent=False)
        self.register_buffer("last", _cosines(sides[-1]), persistent=False)
        self.register_buffer(
            "first", _cosines(sides[0]) if len(sides) > 1 else None, persistent=False
        )

    rates_of_decay: Tensor
    last: Tensor
    first: Tensor | None

    def at(self, t: Tensor) -> Tensor:
        r"""The factors at times t, shape (S, \*event) but for 1 in the place of channels."""
        rate = self.rates_of_decay.to(t.device)
        width = self.blur_max * torch.sin(math.pi / 2 * t).square()
        time = (width.square() / 2).reshape(-1, *[1] * rate.ndim)
        return (1 - self.d_min) * torch.exp(-rate * time) + self.d_min

    def to_basis(self, x: Tensor) -> Tensor:
        """The cosine transform of points."""
        x = x @ self.last.to(x).T
        return x if self.first is None else self.first.to(x) @ x

    def from_basis(self, c: Tensor) -> Tensor:
        """The points of a cosine transform."""
        c = c @ self.last.to(c)
        return c if self.first is None else self.first.to(c).T @ c

    def require(self, schedule: Schedule) -> None:
        """Refuse a schedule whose time does not run from 1 at the prior to 0 at the data."""
        first, last = schedule.span
        if not 0 <= last < first <= 1:
            raise ValueError(
                f"got {schedule} with the span {first:g} -> {last:g}; heat spreads over a time "
                "from 0 at the data to 1 at the prior, as that of VP, Cosine or Rectified"
            )

    def extra_repr(self) -> str:
        """The options."""
        return f"blur_max={self.blur_max:g}, d_min={self.d_min:g}"


def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II of n numbers as a matrix, float64."""
    k = torch.arange(n).double()
    rows = torch.cos(math.pi / n * k[:, None] * (k + 0.5)) * math.sqrt(2 / n)
    rows[0] = math.sqrt(1 / n)
    return rows
