"""Fields on a grid of a plane: velocities and log-densities, and where they are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.poisson import PoissonField
from diffode.fields.schedules import Schedule
from diffode.fields.wrapped import Wrapped
from diffode.likelihood import log_prob
from diffode.viz.scene import Scene

ROWS = 4096  # of a grid that are evaluated at once

Law = Callable[[Tensor, float], Tensor]


def mesh(centre: Tensor, half: float, side: int) -> Tensor:
    """The middles of a square's cells on one or two axes, shape (side, 1) or (side^2, 2).

    Of two axes the first changes fastest, as in the rows of a picture.
    """
    line = torch.linspace(-half, half, side, dtype=torch.float64)
    if len(centre) == 1:
        return centre + line[:, None]
    b, a = torch.meshgrid(line, line, indexing="ij")
    return centre + torch.stack((a, b), -1).flatten(0, 1)


def velocities(scene: Scene, x: Tensor, t: float) -> Tensor:
    """The field's velocity at points x (B, N) and a time, float64, (B, N)."""
    y, parts = scene.label, []
    with torch.no_grad():
        for rows in torch.split(x.float(), ROWS):
            labels = None if y is None else torch.full((len(rows),), y)
            points = rows.view(-1, *scene.shape).to(scene.field.device)
            labels = None if labels is None else labels.to(points.device)
            parts.append(scene.field.velocity(points, t, labels).cpu().double().flatten(1))
    return torch.cat(parts)


def is_exact(field: Field) -> bool:
    """Whether a field knows the log-density of x_t."""
    known = field.inner if isinstance(field, PoissonField) else field
    return hasattr(known, "log_marginal")


def law_of(scene: Scene) -> Law | None:
    """The log-density of x_t: exact where the field knows it, else of the field's own flow.

    Returns:
        A function of points (B, N) and a time; None where there is no density that is known.
    """
    field: Any = scene.field
    known: Any = field.inner if isinstance(field, PoissonField) else field
    y = scene.label
    if is_exact(field):

        def exact(x: Tensor, t: float) -> Tensor:
            parts = []
            with torch.no_grad():
                for rows in torch.split(x.double(), ROWS):
                    more = {} if y is None else {"y": torch.full((len(rows),), y)}
                    parts.append(known.log_marginal(rows.view(-1, *scene.shape), t, **more))
            return torch.cat(parts)

        return exact
    if not field.smooth or field.prior is None or scene.size > 2:
        return None

    def of_the_flow(x: Tensor, t: float) -> Tensor:
        points = x.view(-1, *scene.shape).to(field.device)
        if t == field.span[0]:
            return torch.as_tensor(field.prior.log_prob(points)).cpu()
        return log_prob(until(field, t), points, y=y, batch=ROWS).nats.cpu()

    return of_the_flow


def until(field: Field, t: float) -> Field:
    """The field whose flow ends at t: its samples have the law of its flow's states there."""
    if isinstance(field, AffineField):
        return _Cut(field, t)
    return _Until(field, t)


class _Ending(Schedule):
    """A schedule that ends at another time."""

    def __init__(self, schedule: Schedule, t: float) -> None:
        self.alpha, self.sigma = schedule.alpha, schedule.sigma  # type: ignore[method-assign]
        self.time, self.rates = schedule.time, schedule.rates  # type: ignore[method-assign]
        self.span = (schedule.span[0], t)


class _Cut(Wrapped):
    """An affine field whose span ends at another time, in the field's units."""

    def __init__(self, inner: AffineField, t: float) -> None:
        super().__init__(inner, _Ending(inner.schedule, t))
        self.sampling_defaults = None

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The inner field's."""
        return self.inner.posterior(x, t, y)


class _Until(Field):
    """A field whose span ends at another time."""

    def __init__(self, inner: Field, t: float) -> None:
        super().__init__()
        self.inner, self.prior, self.event_shape = inner, inner.prior, inner.event_shape
        self.span, self.smooth, self.classes = (inner.span[0], t), inner.smooth, inner.classes

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The inner field's."""
        return self.inner.velocity(x, t, y)
