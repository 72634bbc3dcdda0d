r"""Interpolants: fields made by choosing the curves that points move on.

Instead of solving for a velocity, choose a curve for each pair of a data point :math:`x_0` and a
starting point :math:`x_1`, and noise that is 0 at both ends,

.. math:: x_t = I(t, x_0, x_1) + \gamma(t) z, \qquad z \sim N(0, 1).

The law of :math:`x_t` then moves by the conditional mean rate, and its score follows:

.. math:: f_t(x) = E[\partial_t I + \dot\gamma z \,|\, x_t = x], \qquad
          \nabla \log p_t(x) = -E[z | x_t = x] / \gamma.

Time is as everywhere here: data at t = 0, the other end at t = 1, span (1, 0). The starting points
may be noise or data of any kind.

Reference: Albergo, Boffi and Vanden-Eijnden (2023), https://arxiv.org/abs/2303.08797, section 2,
where the data are x_1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from diffode.doors import as_state, as_time, transformed, unwritten
from diffode.fields.base import Field, expand_like
from diffode.fields.curves import CURVES, Curve, Gamma, Sine
from diffode.inputs import quoted

END = 1e-5  # how far a curve may end from its point, beside the size of the points


class Interpolant:
    r"""The curve and the noise of :math:`x_t = I(t, x_0, x_1) + \gamma(t) z`.

    Arguments:
        curve: I: "linear", "trigonometric", "bridge", or a function of t, x_0 and x_1, t of a
            shape that broadcasts with the points. It is at x_0 at t = 0 and at x_1 at t = 1.
        gamma: the noise level: a `diffode.fields.curves.Gamma`, another function of t, or a number
            a for :math:`a \sin(\pi t)`.

    Raises:
        ValueError: no curve of this name, or an amplitude that is negative or not finite.
    """

    def __init__(
        self,
        curve: str | Curve = "linear",
        gamma: float | Gamma | Callable[[Tensor], Tensor] = 0.0,
    ) -> None:
        if isinstance(curve, str) and curve not in CURVES:
            known = ", ".join(CURVES)
            raise ValueError(f"got the curve {quoted(curve)}; wanted {known}, or a function")
        if isinstance(gamma, int | float):
            if not 0 <= gamma < math.inf:
                raise ValueError(f"got gamma {gamma}; wanted a finite number, 0 or more")
            gamma = Sine(gamma)
        self.name = curve if isinstance(curve, str) else getattr(curve, "__name__", "curve")
        self.curve = CURVES[curve] if isinstance(curve, str) else curve
        self.gamma = gamma

    def point(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        r"""The point I(t, x_0, x_1) at times t of shape () or (B,), shape (B, \*event)."""
        return self.curve(_broadcast(t, x0), x0, x1)

    def rate(self, t: Tensor, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
        r"""The point I and its rate of change :math:`\partial_t I`, each (B, \*event)."""
        return _with_slope(lambda s: self.curve(s, x0, x1), _broadcast(t, x0))

    def level(self, t: Tensor) -> tuple[Tensor, Tensor]:
        r"""The noise level :math:`\gamma` and its slope at times t, float64."""
        return _with_slope(self.gamma, t.double())

    def square(self, t: Tensor) -> tuple[Tensor, Tensor]:
        r"""The square :math:`\gamma^2` and half its slope, :math:`\gamma \dot\gamma`, float64."""
        own = self.gamma
        square = own.square if isinstance(own, Gamma) else lambda s: own(s).square()
        value, slope = _with_slope(square, t.double())
        return value, slope / 2

    @property
    def is_noisy(self) -> bool:
        """Whether the noise level is above 0 somewhere."""
        return bool((self.gamma(inner_times()) > 0).any())

    def require_ends(self, x0: Tensor, x1: Tensor) -> None:
        r"""Refuse a curve that does not end at its points, from as many rows of the two.

        Raises:
            ValueError: it does not, or it gives another shape or what is not finite.
        """
        for t, end, name in ((0.0, x0, "x_0"), (1.0, x1, "x_1")):
            found = self.point(torch.tensor(t, dtype=torch.float64), x0, x1)
            if found.shape != end.shape:
                shapes = f"{tuple(found.shape)} for points {tuple(end.shape)}"
                raise ValueError(f"the curve {self.name} gave the shape {shapes}")
            gap, size = float((found - end).abs().max()), 1 + float(end.abs().max())
            if not gap <= END * size:
                raise ValueError(
                    f"the curve {self.name} is {gap:.2g} away from {name} at t = {t:g}; a curve "
                    "is at x_0 at t = 0 and at x_1 at t = 1"
                )

    def __repr__(self) -> str:
        return f"{self.name}, gamma {self.gamma}" if self.is_noisy else self.name


class InterpolantField(Field):
    r"""A field of an `Interpolant`; write ``velocity``, and ``noise_part`` where there is noise.

    Attributes:
        interpolant: curve and noise.
    """

    span = (1.0, 0.0)

    def __init__(self, interpolant: Interpolant) -> None:
        super().__init__()
        self.interpolant = interpolant

    def spread(self, t: Tensor | float, like: Tensor) -> Tensor:
        r"""The standard deviation of the noise at time t, :math:`\gamma`, shape () or (B,)."""
        return self.interpolant.level(as_time(t, like))[0]

    @property
    def has_score(self) -> bool:
        """Whether its law has a density whose score it states: there is noise."""
        return self.interpolant.is_noisy

    def noise_part(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        r"""The conditional mean of the noise, E[z | x_t = x], shape (B, \*event)."""
        raise unwritten(self, "noise_part")

    def score(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        r"""The gradient of the log-density of x_t, :math:`-E[z | x] / \gamma`.

        Raises:
            ValueError: a time without noise, as the ends are.
        """
        x = as_state(x, self.event_shape)
        noise, spread = self.noise_part(x, t, y), self.spread(t, x)
        if not transformed() and not bool((spread > 0).all()):
            raise ValueError(
                "the noise of this interpolant is 0 at this time, where it tells no score; stay "
                "between the ends"
            )
        return -noise / expand_like(spread, x)

    def _describe(self) -> list[str]:
        return [f"curve {self.interpolant}"]


def inner_times() -> Tensor:
    """Times between the two ends, where a noise level is looked at."""
    return torch.linspace(0, 1, 65, dtype=torch.float64)[1:-1]


def _with_slope(function: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """A function's value at t and its rate of change there."""
    value, slope, *_ = torch.func.jvp(function, (t,), (torch.ones_like(t),))
    return value, slope


def _broadcast(t: Tensor, like: Tensor) -> Tensor:
    """Times with an axis for each of the points', so that a curve is written for one point."""
    return expand_like(t, like)
