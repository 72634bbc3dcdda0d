"""A field with a factor for each frequency, seen in its pixels or in its frequencies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffode.doors import Numbers
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Start
from diffode.fields.decay import Decay
from diffode.fields.exact import Empirical
from diffode.fields.labelled import Labelled
from diffode.fields.schedules import Schedule
from diffode.fields.wrapped import Wrapped
from diffode.priors import Spherical
from diffode.rng import Rng


class Turned(Wrapped):
    r"""The same flow with points in the basis of its `Decay` if they were not, and else not.

    .. math:: x' = V x \quad \text{or} \quad x' = V^T x, \qquad V^T V = 1.

    Points, means and the prior are turned; all that rotations leave alone stays. A model is built
    in its basis, where alpha is a factor of each coordinate, and turned: its points are then
    pixels. Solvers turn it back for the time of a solve.

    Arguments:
        inner: a field with a ``decay``.

    Raises:
        TypeError: a field without one.
    """

    def __init__(self, inner: AffineField) -> None:
        if inner.decay is None:
            raise TypeError(f"{type(inner).__name__} has one alpha for all coordinates; use it")
        to = inner.decay.from_basis if inner.in_basis else inner.decay.to_basis
        super().__init__(inner, mean=to(inner.moments[0][None])[0])

    @property
    def in_basis(self) -> bool:
        """Whether its points are coordinates in the basis of its ``decay``."""
        return not self.inner.in_basis

    @property
    def prior(self) -> Spherical | None:  # type: ignore[override]
        """The inner field's prior, turned."""
        prior = self.inner.prior
        if prior is None or not isinstance(prior.loc, Tensor):
            return prior
        return self.noise.at(prior.scale, self.to_state(prior.loc[None])[0])

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """Draw n starting points from the prior of this field's own points."""
        return Field.start(self, n, rng, y)

    def to_state(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        """This field's points for those of the field itself, at any time."""
        return self._turn(x, self.in_basis)

    def from_state(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        """The points of the field itself for those of this one, at any time."""
        return self._turn(x, not self.in_basis)

    def shown(self, x0: Tensor) -> Tensor:
        """An estimate of the data by this field as the field itself has it."""
        return self.from_state(x0)

    def times(self, t: Tensor) -> Tensor:
        """This field's times for times of the field itself: the same."""
        return t

    def native(self, t: Tensor) -> Tensor:
        """The field's own times for times of this one: the same."""
        return t

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x], each (B, *event)."""
        x = self.as_state(x)
        if isinstance(self.inner, Turned):  # turned twice
            return self.inner.inner.posterior(x, t, y)
        x0, n = self.inner.posterior(self.from_state(x), t, y)
        return self.to_state(x0), self.to_state(n)

    def _turn(self, x: Tensor, to_basis: bool) -> Tensor:
        decay = self.decay
        assert decay is not None
        return decay.to_basis(x) if to_basis else decay.from_basis(x)


def by_coordinate(field: Field, x: Tensor) -> tuple[Field, Tensor]:
    """The field and its points in a basis where ``level`` is that of each coordinate."""
    if not isinstance(field, AffineField) or field.decay is None or field.in_basis:
        return field, x
    view = Turned(field)
    return view, view.to_state(x)


class Blurred(Turned):
    """An exact field in its frequencies, turned to pixels."""

    inner: Labelled

    def sample(self, n: int, rng: Rng, y: Numbers | int | None = None) -> Tensor:
        """Draw n points of the law, or of the class of each label, shape (n, *event)."""
        return self.to_state(self.inner.sample(n, rng, y))

    def log_marginal(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """The log-density of x_t, given its class y if labels are given, in nats, shape (B,)."""
        return self.inner.log_marginal(self.from_state(self.as_state(x)), t, y)


def blurred(
    data: Tensor,
    schedule: Schedule,
    decay: Decay,
    noise: Spherical | None = None,
    **settings: Any,  # noqa: ANN401
) -> Blurred:
    r"""The exact field of a data set that is blurred on its way, in pixels.

    Arguments:
        data: the points, shape (M, \*event).
        schedule: alpha, sigma and the span.
        decay: the factors beside alpha, as `Heat`.
        noise, settings: as for `Empirical`.

    Raises:
        ValueError: as by `Empirical`; a schedule that does not fit the decay.
    """
    with torch.no_grad():
        points = decay.to_basis(data)
    return Blurred(Empirical(points, schedule, noise, decay=decay, **settings))


def on_path_of(field: AffineField, data: Tensor) -> Empirical | Blurred:
    r"""The exact field of data on another field's path.

    Arguments:
        field: whose schedule, noise and decay are taken.
        data: points in the field's own units, shape (M, \*event).
    """
    if field.decay is None:
        return Empirical(data, field.schedule, field.noise)
    return blurred(data, field.schedule, field.decay, field.noise)
