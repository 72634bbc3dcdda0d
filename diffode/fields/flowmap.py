r"""Flow maps: fields that go from one time of their flow to another in one evaluation.

In the angle :math:`\theta = \arctan(\sigma / \alpha s)` and the state :math:`z = (x - \alpha m) /
\sqrt{\alpha^2 s^2 + \sigma^2}`, m and s the data's mean and standard deviation, all affine fields
of one noise law are the same flow. Its map is written

.. math:: Z_{s \to t}(z) = \cos(s - t) \, z + \sin(s - t) \, F(z, s, t),

so that :math:`Z_{s \to s} = z` whatever F is. With an F that does not look at t this is a step of
DDIM; :math:`-F(z, s, s)` is the velocity dz/dt of the flow.

References: Boffi et al. (2025), https://arxiv.org/abs/2505.18825 (flow maps); Lu and Song (2024),
https://arxiv.org/abs/2410.11081, section 3 (the angle).
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from diffode.doors import as_time, unwritten
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, SamplingDefaults, expand_like
from diffode.fields.poisson import PoissonField
from diffode.fields.reschedule import Rescheduled
from diffode.fields.wrapped import Wrapped

SOLVER = "jump"


class Path(AffineField):
    """A path without an answer: schedule, noise, prior and moments of a field that is elsewhere.

    It is what a flow map is built around where the field itself is not kept.
    """


class FlowMap(Wrapped):
    r"""The map of a flow, :math:`Z_{s \to t}`; write ``direction``.

    Start, prior, span, moments, rows, labels and units are those of the field inside, which may
    be a `Path`. Its velocity is its diagonal, :math:`-F(z, s, s)`, so that every solver moves it.

    Arguments:
        path: an affine field, a `PoissonField` included.
        evaluations: how many jumps it is sampled with if nothing else is asked for.

    Attributes:
        lands_only: whether it knows jumps to the data alone, as a consistency model does.

    Raises:
        TypeError: a field with a factor for each frequency.
    """

    lands_only = False

    def __init__(self, path: AffineField, evaluations: int = 1) -> None:
        if path.decay is not None:
            raise TypeError(
                f"{type(path).__name__} has a factor for each frequency, so that its points have "
                "no one angle to jump in; use a field on a plain schedule"
            )
        super().__init__(path)
        self.evaluations = evaluations
        self.sampling_defaults = SamplingDefaults(SOLVER, self._times(evaluations))

    def direction(self, z: Tensor, s: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        r"""F(z, s, t), shape (B, \*event).

        Arguments:
            z: states of unit scale at s, shape (B, \*event).
            s, t: the angles to jump from and to, float64, shape (B,); 0 is the data.
            y: labels, shape (B,), or None.
        """
        raise unwritten(self, "direction")

    def angle(self, t: Tensor | float, like: Tensor) -> Tensor:
        """The angle at time t, float64, shape (B,)."""
        alpha, sigma = self.level(t, like)
        return torch.atan2(sigma, alpha * self.moments[1]).expand(len(like))

    def time(self, angle: Tensor) -> Tensor:
        """The time of an angle, inside of the span."""
        low, high = sorted(self.span)
        return self.schedule.time(self.moments[1] * torch.tan(angle)).clamp(low, high)

    def to_angle(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The state z of points x at time t."""
        alpha, sigma = self.level(t, x)
        mean, std = self.moments
        size = ((alpha * std).square() + sigma.square()).sqrt()
        return (x - expand_like(alpha, x) * mean.to(x)) / expand_like(size, x)

    def from_angle(self, z: Tensor, t: Tensor | float) -> Tensor:
        """The points x of states z at time t."""
        alpha, sigma = self.level(t, z)
        mean, std = self.moments
        size = ((alpha * std).square() + sigma.square()).sqrt()
        return expand_like(size, z) * z + expand_like(alpha, z) * mean.to(z)

    def turned(self, z: Tensor, s: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        r"""The map itself, :math:`Z_{s \to t}(z)`, with angles s and t of shape (B,)."""
        gap = expand_like(s - t, z)
        return torch.cos(gap) * z + torch.sin(gap) * self.direction(z, s, t, y)

    def jump(
        self, x: Tensor, s: Tensor | float, t: Tensor | float, y: Tensor | None = None
    ) -> Tensor:
        """Where the flow takes points x of time s at time t, one evaluation.

        Arguments:
            x: points at time s, shape (B, *event).
            s, t: times of this field's span, shape () or (B,).
            y: labels, shape (B,), or None.

        Raises:
            ValueError: a map that goes to the data alone.
        """
        if self.lands_only:
            raise ValueError(
                "got a jump that ends before the data for a consistency model, which knows none; "
                "sample it with nfe=1, or with another solver"
            )
        x = self.as_state(x)
        s, t = as_time(s, x), as_time(t, x)
        z = self.turned(self.to_angle(x, s), self.angle(s, x), self.angle(t, x), y)
        return self.from_angle(z, t)

    def land(self, x: Tensor, s: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The data x_0 that the flow takes points x of time s to, where no noise is left."""
        x = self.as_state(x)
        s = as_time(s, x)
        angle = self.angle(s, x)
        z = self.turned(self.to_angle(x, s), angle, torch.zeros_like(angle), y)
        mean, std = self.moments
        return mean.to(z) + std * z

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""The conditional means by the diagonal, :math:`m + s (\cos t z + \sin t F)` of x_0."""
        x = self.as_state(x)
        t = as_time(t, x)
        angle, z = self.angle(t, x), self.to_angle(x, t)
        sine, cosine = expand_like(angle.sin(), z), expand_like(angle.cos(), z)
        f = self.direction(z, angle, angle, y)
        mean, std = self.moments
        return mean.to(z) + std * (cosine * z + sine * f), sine * z - cosine * f

    def sampled_with(self, evaluations: int) -> Self:
        """The same map, by default sampled with so many jumps."""
        other = self.copied()
        other.evaluations = evaluations
        other.sampling_defaults = SamplingDefaults(SOLVER, self._times(evaluations))
        return other

    def _times(self, count: int) -> tuple[float, ...]:
        """The times of so many jumps, evenly spaced in the angle."""
        ends = torch.tensor(self.span, dtype=torch.float64)
        first, last = self.angle(ends, self.moments[0].expand(2, *self.event_shape)).tolist()
        angles = torch.linspace(first, last, count + 1, dtype=torch.float64)
        return (self.span[0], *self.time(angles[1:-1]).tolist(), self.span[1])

    def _describe(self) -> list[str]:
        return [*super()._describe(), f"sampled with {self.evaluations} jumps"]


def map_in(field: Field) -> FlowMap | None:
    """The flow map that a field is, on whatever clock; None for another field."""
    while isinstance(field, Rescheduled):
        field = field.inner
    return field if isinstance(field, FlowMap) else None


def jumped(
    field: Field, x: Tensor, s: Tensor | float, t: Tensor | float | None, y: Tensor | None
) -> Tensor:
    """A jump of a flow map on whatever clock, from its time s to t, or for None to the data."""
    if isinstance(field, Rescheduled):
        s = as_time(s, x)
        inner, native = field.from_state(x, s), field.native(s)
        if t is not None:
            t = as_time(t, x)
            end = field.native(t)
            return field.to_state(jumped(field.inner, inner, native, end, y), end)
        landed = jumped(field.inner, inner, native, None, y)
        return landed if field.shift is None else landed - field.shift.to(landed)
    assert isinstance(field, FlowMap)
    return field.land(x, s, y) if t is None else field.jump(x, s, t, y)


def bound_radius(field: AffineField) -> Tensor | None:
    r"""A bound Poisson field's :math:`q / \sqrt D` of each row, shape (B,); None for others."""
    if isinstance(field, PoissonField) and field.q is not None:
        return field.q / math.sqrt(field.dof)
    return None
