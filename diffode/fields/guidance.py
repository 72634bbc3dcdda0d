r"""Guidance by a second field: away from what knows less, towards what knows more.

Both halves of an affine field's posterior are linear in :math:`E[x_0 | x]`, so that guiding the
data, the noise or the velocity is one thing:

.. math:: E[x_0|x] \leftarrow E_{ref}[x_0|x] + w \, (E[x_0|x, y] - E_{ref}[x_0|x]).

The reference is the field itself without a label (classifier-free guidance), or a weaker field
(autoguidance). w = 1 is the conditional field, w = 0 the reference, w > 1 extrapolates. Ho and
Salimans write 1 + w for it. A weight below 0, away from the label, is refused: what it names,
:math:`p \, (p / p(\cdot | y))^{|w|}`, grows without bound where the label is unlikely, and need be
no law (Koulischer et al. say where it fails). For normal noise the guided score is that of
:math:`p_t^{1-w} \, p_t(\cdot | y)^w` at each level t. These are not the noisy versions of any one
law, so that the samples are not those of :math:`p^{1-w} \, p(\cdot | y)^w`.

References: Ho and Salimans (2022), https://arxiv.org/abs/2207.12598, eq. 6; Karras et al. (2024),
https://arxiv.org/abs/2406.02507, eq. 3 (autoguidance); Kynkaanniemi et al. (2024),
https://arxiv.org/abs/2404.07724, eq. 6 (the interval); Koulischer et al. (2024),
https://arxiv.org/abs/2410.14398 (negative weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Self

import torch
from torch import Tensor

from diffode.data.scaling import require_units
from diffode.doors import Numbers, as_number, as_time, needs_labels, transformed
from diffode.fields.affine import AffineField, PosteriorAt
from diffode.fields.along import posterior_along
from diffode.fields.base import Field, expand_like
from diffode.fields.intervals import as_interval, inside, require_met
from diffode.fields.poisson import PoissonField, around_plane_form
from diffode.fields.strength import edges, in_words, reach
from diffode.fields.wrapped import Wrapped

_ByLabel = Callable[[Tensor | None], tuple[Tensor, Tensor]]


class ClassifierFree(Wrapped):
    """An affine field guided by itself or by a weaker one; `classifier_free` builds it.

    Arguments:
        field: the field that is told the label y.
        weight: w >= 0. 1 and 0 cost one evaluation of the network, others two.
        interval: (lo, hi): guidance is on where lo <= sigma / alpha <= hi, and elsewhere w = 1;
            None is everywhere.
        weak: the reference, which is told y too if it knows labels; None is the field itself
            without a label.

    Raises:
        ValueError: a weight or an interval that are no numbers to use, a field that knows no
            labels or no null label, or a weaker field of another path, units or labels.
        TypeError: a weaker field without E[x_0 | x].
    """

    weak: AffineField | None

    def __init__(
        self,
        field: AffineField,
        weight: float,
        interval: tuple[float, float] | None = None,
        weak: AffineField | None = None,
    ) -> None:
        super().__init__(field)
        self.weight, self.interval = as_weight(weight), as_interval(interval)
        self.weak = None if weak is None else _on_the_path(weak, field)
        told = not field.unconditional and (self.weight != 0 or interval is not None)
        self.unconditional = not told and (weak is None or weak.unconditional)
        self.classes = None if self.unconditional else self._labelled.classes
        if weak is not None:
            self.smooth = field.smooth and weak.smooth
        elif field.unconditional:
            raise ValueError(
                "got a field that knows no labels, and guidance is towards one; train it with "
                "labels, or give a weaker field to guide it away from"
            )
        elif self.weight != 1 and needs_labels(field):
            raise ValueError(
                "got a field that draws nothing without a label, as one trained with label_drop=0 "
                "or guided already; give a weaker field to guide it away from"
            )

    @property
    def _labelled(self) -> AffineField:
        """The field whose labels are told."""
        return self.weak if self.weak is not None and self.inner.unconditional else self.inner

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels that the field knows, or else the weaker one."""
        return self._labelled.as_labels(y, rows)

    @property
    def needs_labels(self) -> bool | None:
        """Whether it has nothing to draw without labels; None leaves it to the fields inside."""
        if self.unconditional:
            return False
        return True if self.weak is None else None

    @property
    def calls_per_evaluation(self) -> int:  # type: ignore[override]
        """The most network calls that an evaluation takes."""
        told = self.weight != 0 or self.interval is not None
        most, other = self.inner.calls_per_evaluation, self._other.calls_per_evaluation
        return most * told + other * (self.weight != 1)

    @property
    def guidance(self) -> float:  # type: ignore[override]
        """The weight, where that is above 1."""
        return reach(self.inner, self.weight)

    @property
    def jumps(self) -> tuple[float, ...] | None:  # type: ignore[override]
        """The ends of the interval, where guidance changes anything."""
        return edges(self.inner, None if self.weight == 1 else self.interval)

    def calls_at(self, t: Tensor) -> int:
        """The network calls of an evaluation at time t."""
        told, reference = self._needs(self.guided_at(t))
        return self.inner.calls_at(t) * told + self._other.calls_at(t) * reference

    def _needs(self, on: Tensor) -> tuple[bool, bool]:
        """Whether the field that is told y is needed, and the reference."""
        if self.interval is None or self.weight == 1:
            return self.weight != 0, self.weight != 1
        if transformed():  # no value can be looked at
            return True, True
        return self.weight != 0 or not bool(on.all()), self.weight != 1 and bool(on.any())

    def guided_at(self, t: Tensor) -> Tensor:
        """Whether guidance is on at time t, shape () or (B,)."""
        if self.interval is None:
            return torch.ones_like(t, dtype=torch.bool)
        return inside(self.interval, self.schedule.rho(t))

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x], both guided."""
        x = self.as_state(x)
        t = as_time(t, x)
        told, reference = (partial(f.posterior, x, t) for f in (self.inner, self._other))
        return self._combined(self.guided_at(t), x, y, told, reference)

    def prepared(self, times: Tensor, like: Tensor) -> PosteriorAt:
        """The posterior at known times, of what the fields inside prepare."""
        told = posterior_along(self.inner, times, like)
        reference = told if self.weak is None else posterior_along(self.weak, times, like)
        on = self.guided_at(times).unbind()

        def posterior(k: int, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
            return self._combined(on[k], x, y, partial(told, k, x), partial(reference, k, x))

        return posterior

    @property
    def _other(self) -> AffineField:
        return self.weak or self.inner

    def _combined(
        self, on: Tensor, x: Tensor, y: Tensor | None, told: _ByLabel, reference: _ByLabel
    ) -> tuple[Tensor, Tensor]:
        if y is None and self.needs_labels:
            raise ValueError(
                "got no labels y for a field with classifier-free guidance; pass the class to "
                "guide to, or take the field without guidance"
            )
        inner, weak = (
            None if f is None or f.unconditional else y for f in (self.inner, self.weak)
        )
        needs_told, needs_reference = self._needs(on)
        if not needs_reference:
            return told(inner)
        low = reference(weak)
        if not needs_told:
            return low
        on = expand_like(on, x).bool()
        x0, n = (
            torch.where(on, r + self.weight * (v - r), v)
            for v, r in zip(told(inner), low, strict=True)
        )
        return x0, n

    def rows(self, index: Tensor) -> Self:
        """The field of these rows of the batch, its reference too."""
        other = super().rows(index)
        weak = None if self.weak is None else self.weak.rows(index)
        if weak is self.weak:
            return other
        other = other.copied()
        other.weak = weak  # type: ignore[assignment]
        return other

    def changes(self) -> list[str]:
        """What this field and those inside it change, in words, the innermost first."""
        weak = None if self.weak is None else type(self.weak).__name__
        return [*super().changes(), in_words(self.weight, self.interval, weak)]


def classifier_free(
    field: AffineField,
    weight: float,
    interval: tuple[float, float] | None = None,
    weak: AffineField | None = None,
) -> AffineField:
    r"""A field guided to its labels, or away from a weaker field.

    .. math:: E[x_0|x] \leftarrow E_{ref}[x_0|x] + w \, (E[x_0|x, y] - E_{ref}[x_0|x])

    Arguments:
        field: an affine field with labels (without ``weak``, it must know the null label: a
            network trained with ``label_drop`` above 0). In a `PoissonField`, each row is guided
            at its own noise level.
        weight: w >= 0; 1 is the field as it is, which costs what it did; 0 the reference, in
            which no label plays a part unless a weaker field is told one; larger weights
            extrapolate. Ho and Salimans write 1 + w.
        interval: (lo, hi): guidance for lo <= sigma / alpha <= hi alone.
        weak: a weaker field of the same path, for autoguidance: the same network trained for a
            shorter time, or a smaller one. It is told the label too, unless it knows none.

    Raises:
        TypeError: a field without E[x_0 | x].
        ValueError: a weight or an interval that are no numbers to use, an interval outside of
            the field's levels, a field that knows no labels or no null label, a weaker field that
            is the field itself or of another path, units or labels, or another wrapper around a
            `PoissonField`, which is put around the guided one.

    References: Ho and Salimans (2022), https://arxiv.org/abs/2207.12598, eq. 6; Karras et al.
    (2024), https://arxiv.org/abs/2406.02507, eq. 3.
    """
    require_affine(field)
    if weak is field:
        raise ValueError("got the field itself as the weaker one; guidance would change nothing")
    require_met(interval, field.levels)
    weak = _plane(weak) if isinstance(field, PoissonField) else weak
    return around_plane_form(field, lambda inner: ClassifierFree(inner, weight, interval, weak))


def require_affine(field: object) -> None:
    """Refuse what states no E[x_0 | x].

    Raises:
        TypeError: a field of another kind.
    """
    if isinstance(field, AffineField):
        return
    own = isinstance(getattr(field, "field", None), Field)
    raise TypeError(
        f"got a {type(field).__name__}, which "
        + ("is not a field itself; pass its .field" if own else "states no E[x_0 | x], as needed")
    )


def as_weight(weight: float) -> float:
    """A guidance weight as a finite number, 0 or more.

    Raises:
        ValueError: anything else.
    """
    value = as_number(weight)
    if not 0 <= value < math.inf:
        raise ValueError(f"got weight {weight!r:.40}; wanted a finite number, 0 or more")
    return value


def _plane(weak: AffineField | None) -> AffineField | None:
    """A weaker Poisson field as one of a common radius, as the guided one's inner field is."""
    return weak.inner if isinstance(weak, PoissonField) and weak.q is None else weak


def _on_the_path(weak: AffineField, field: AffineField) -> AffineField:
    """A weaker field, if its x_t have the law of noise and the levels of the field's own."""
    require_affine(weak)
    ends = torch.tensor([*field.span, sum(field.span) / 2], dtype=torch.float64)
    a, b = (torch.stack((f.schedule.alpha(ends), f.schedule.sigma(ends))) for f in (weak, field))
    one, two = (f"{f.noise!r}, points {f.event_shape}, decay {f.decay}" for f in (weak, field))
    if one != two or not torch.allclose(a, b, rtol=1e-9, atol=0):
        raise ValueError(
            f"got a weaker field on {weak.schedule} with noise {one}; wanted those of the field "
            f"that it guides: {field.schedule}, {two}"
        )
    require_units("a weaker field", weak.scaling, field.scaling)
    if None not in (weak.classes, field.classes) and weak.classes != field.classes:
        raise ValueError(
            f"got a weaker field of {weak.classes} labels; wanted {field.classes}, as the field "
            "that it guides has, or none"
        )
    return weak
