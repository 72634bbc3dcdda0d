r"""The exact twin of a field: same schedule, noise, prior and moments, the true E[x_0 | x].

A solver treats the two alike, start included, so that all that differs between their end points
is the model.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from diffode.data import Dataset
from diffode.fields.base import AffineField, Field
from diffode.fields.exact import Empirical
from diffode.fields.mixture import Mixture
from diffode.fields.poisson import PoissonField
from diffode.fields.reschedule import Rescheduled
from diffode.fields.schedules import Schedule
from diffode.priors import Spherical

Exact = Mixture | Empirical
_END = 1e-4  # rho in units of the data's std: E[x_0 | x] and the flow's limit agree to 1e-8


class Twin(AffineField):
    """A field with the posterior of another one.

    Arguments:
        field: whose schedule, noise, prior, moments and own solver it has.
        exact: whose posterior it has; alpha and sigma are those of the field at every time.
        schedule: the field's, with another span.
    """

    def __init__(
        self, field: AffineField, exact: AffineField, schedule: Schedule | None = None
    ) -> None:
        super().__init__(schedule or field.schedule, field.noise, *field.moments)
        self.exact, self.own, self.prior = exact, field.own, field.prior

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The exact conditional means E[x_0 | x_t = x] and E[n | x_t = x]."""
        return self.exact.posterior(x, t)


def twin(field: AffineField, exact: AffineField, to_the_end: bool = False) -> AffineField:
    """The field's exact twin; a Poisson field's starts on the same hemisphere.

    Arguments:
        field: a field that starts from its prior.
        exact: from `exact_field`.
        to_the_end: continue the span to where no noise is left.
    """
    schedule = continued(field.schedule, field.moments[1]) if to_the_end else None
    if isinstance(field, PoissonField):
        inner = Twin(field.inner, exact, schedule)
        return PoissonField(inner, None, field.radius, field.max_radius)
    return Twin(field, exact, schedule)


def continued(schedule: Schedule, std: float) -> Schedule:
    """The schedule with its span continued to a noise of 1e-4 of the data's spread.

    Raises:
        ValueError: a schedule whose formulas do not reach so far.
    """
    ends = torch.tensor(schedule.span, dtype=torch.float64)
    rho = torch.minimum(schedule.rho(ends)[1], torch.tensor(_END * std).double())
    t = schedule.time(rho)
    if not torch.allclose(schedule.rho(t), rho, rtol=1e-3):
        raise ValueError(
            f"{schedule} does not reach rho = {float(rho):.1e}, where the converged flow ends; "
            "its alpha, sigma and time must hold beyond the span"
        )
    longer = copy.copy(schedule)
    longer.span = (schedule.span[0], float(t))
    return longer


def exact_field(field: Field, data: Dataset | Tensor) -> Exact:
    """The exact field of the data on the schedule and noise of a field.

    A `Mixture` where the data set is one, else the `Empirical` law of the training points.

    Raises:
        TypeError: a field without schedule and noise, or on another field's clock.
        ValueError: data of another shape than the field moves.
    """
    affine = require_affine(field)
    law = data.law if isinstance(data, Dataset) else None
    points = data.train if isinstance(data, Dataset) else data
    if tuple(points.shape[1:]) != tuple(affine.event_shape):
        raise ValueError(
            f"got data of shape {tuple(points.shape[1:])} for a field of shape "
            f"{tuple(affine.event_shape)}"
        )
    return exact_law(law or points, affine.schedule, affine.noise).to(affine.device)


def exact_law(law: object, schedule: Schedule, noise: Spherical | None = None) -> Exact:
    """The exact field of a mixture of round Gaussians, or of points (M, *event)."""
    if isinstance(law, Tensor):
        return Empirical(law, schedule, noise)
    from diffode.data.toys import Gaussians

    assert isinstance(law, Gaussians)
    stds = torch.full_like(law.weights, law.std)
    return Mixture(law.weights, law.means, stds, schedule, noise)


def require_affine(field: Field) -> AffineField:
    """The field, if it has the parts that an exact twin takes over.

    Raises:
        TypeError: it has not.
    """
    if isinstance(field, Rescheduled):
        raise TypeError(
            "got a field on another clock; pass the field itself, and a solver with this clock"
        )
    if not isinstance(field, AffineField):
        raise TypeError(
            f"{type(field).__name__} states no path alpha x_0 + sigma n, so its exact field is "
            "not known; the budget takes affine fields, and MonoFlow on mixtures"
        )
    if field.prior is None:
        raise TypeError("got a bound Poisson field; pass its plane form, which draws its start")
    return field


def require_same_path(field: AffineField, exact: AffineField) -> None:
    """Refuse an exact field of another path or noise.

    Raises:
        ValueError: alpha, sigma or the noise differ.
    """
    t = torch.linspace(*field.span, 5, dtype=torch.float64)
    for name in ("alpha", "sigma"):
        ours, theirs = (getattr(f.schedule, name)(t) for f in (field, exact))
        if not torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12):
            raise ValueError(
                f"the exact field has {exact.schedule}, another {name} than {field.schedule}; "
                "build it with field.schedule"
            )
    if repr(field.noise) != repr(exact.noise):
        raise ValueError(
            f"the exact field has {exact.noise} noise, the field {field.noise}; build it with "
            "field.noise"
        )
