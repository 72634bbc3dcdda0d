"""A field around a field: what every wrapper shares."""

from __future__ import annotations

import copy
from typing import Self

from torch import Tensor

from diffode.data.scaling import Scaling
from diffode.doors import Numbers
from diffode.fields.affine import AffineField
from diffode.fields.base import Latent, Start
from diffode.fields.decay import Decay
from diffode.fields.schedules import Schedule
from diffode.priors import Spherical
from diffode.rng import Rng


class Wrapped(AffineField):
    r"""An affine field that changes the answer of another; write ``posterior``.

    All else is the inner field's: prior, start, rows, latent, bound values, labels, moments,
    units, network calls and the settings that it is sampled with. Other clocks, bound values,
    guidance and observations are wrappers.

    Arguments:
        inner: the field.
        schedule: another schedule than the inner field's.
        mean: the data's mean in this field's state, where that is another, shape (\*event).
    """

    def __init__(
        self, inner: AffineField, schedule: Schedule | None = None, mean: Tensor | None = None
    ) -> None:
        own_mean, std = inner.moments
        super().__init__(
            schedule or inner.schedule, inner.noise, own_mean if mean is None else mean, std
        )
        self.inner, self.smooth, self.classes = inner, inner.smooth, inner.classes
        self.unconditional = inner.unconditional
        self.sampling_defaults = inner.sampling_defaults

    inner: AffineField

    @property
    def prior(self) -> Spherical | None:  # type: ignore[override]
        """The inner field's prior, or that of the same noise on another schedule."""
        same = self.schedule is self.inner.schedule or self.inner.prior is None
        return self.inner.prior if same else super().prior

    @property
    def decay(self) -> Decay | None:
        """The inner field's factors of each coordinate."""
        return self.inner.decay

    @property
    def in_basis(self) -> bool:
        """Whether the inner field's points are coordinates in the basis of its ``decay``."""
        return self.inner.in_basis

    @property
    def scaling(self) -> Scaling | None:
        """From the data's units to those of the inner field, which keeps it."""
        return self.inner.scaling

    @scaling.setter
    def scaling(self, scaling: Scaling | None) -> None:
        self.inner.scaling = scaling

    def from_data(self, x: Tensor) -> Tensor:
        """The states at t_data of points, as the inner field has them."""
        return self.inner.from_data(x)

    def to_data(self, x: Tensor, t: Tensor | float) -> Tensor:
        """States at time t in the units of the data, as the inner field has them."""
        return self.inner.to_data(x, t)

    @property
    def log_volume(self) -> float:
        """The log of the volume of states at t_data for a unit of the data's volume."""
        return self.inner.log_volume

    @property
    def calls_per_evaluation(self) -> int:  # type: ignore[override]
        """The most network calls that an evaluation of the inner field takes."""
        return self.inner.calls_per_evaluation

    @property
    def principal_std(self) -> float | None:  # type: ignore[override]
        """Of the inner field's data."""
        return self.inner.principal_std

    @property
    def coupled(self) -> bool:  # type: ignore[override]
        """Whether the inner field's noise depends on its data."""
        return self.inner.coupled

    @property
    def guidance(self) -> float:  # type: ignore[override]
        """How far the inner field's answers reach."""
        return self.inner.guidance

    @property
    def jumps(self) -> tuple[float, ...] | None:  # type: ignore[override]
        """The levels at which the inner field's answers jump."""
        return self.inner.jumps

    def calls_at(self, t: Tensor) -> int:
        """The network calls of an evaluation of the inner field at time t."""
        return self.inner.calls_at(t)

    def around(self, inner: AffineField) -> Self:
        """The same change made to another inner field."""
        if inner is self.inner:
            return self
        other = self.copied()
        other.inner = inner
        return other

    def copied(self) -> Self:
        """A copy with the same parts, any of which can be exchanged."""
        other = copy.copy(self)
        for table in ("_parameters", "_buffers", "_modules"):
            other.__dict__[table] = dict(self.__dict__[table])
        return other

    def require_rows(self, count: int) -> None:
        """Refuse another number of rows than the inner field holds values for."""
        self.inner.require_rows(count)

    def rows(self, index: Tensor) -> Self:
        """The field of these rows of the batch."""
        return self.around(_affine(self.inner.rows(index)))

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """The starting points of the inner field, and this field for them."""
        x, inner = self.inner.start(n, rng, y)
        return Start(x, self.around(_affine(inner)))

    def latent(self, x: Tensor) -> Latent:
        """The latent of points x, with what the inner field holds for them."""
        return Latent(x, self.inner.latent(x).q)

    def bind(self, q: Tensor) -> Self:
        """This field around the inner field bound to q, shape (B,)."""
        return self.around(_affine(self.inner.bind(q)))

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels that the inner field knows."""
        return self.inner.as_labels(y, rows)

    def changes(self) -> list[str]:
        """What this field and those inside it change, in words, the innermost first."""
        return self.inner.changes() if isinstance(self.inner, Wrapped) else []

    def _describe(self) -> list[str]:
        return [*super()._describe(), f"around {type(self.inner).__name__}", *self.changes()]


def _affine(field: object) -> AffineField:
    assert isinstance(field, AffineField)
    return field
