r"""One flow on another clock.

For one noise law every affine path is the same ODE: in :math:`y = x/\alpha`, :math:`\rho =
\sigma/\alpha` it reads :math:`dy/d\rho = E[n | y, \rho]`, whatever the schedule. So a schedule can
be exchanged for another, and a solver may choose the one in which the flow is easiest. The clocks
offered by name:

* "rho": :math:`\alpha = 1, \sigma = t`; the velocity is E[n | x].
* "logsnr": :math:`\alpha = 1, \sigma = e^t`, half the log-SNR with its sign turned; log z of PFGM.
* "inverse": :math:`\alpha = t, \sigma = 1`; the velocity is E[x_0 | x].
* "theta": :math:`\alpha = \cos(t) / s, \sigma = \sin t` about the data's mean, s its standard
  deviation: the state has unit variance throughout, the time is an angle, and the flow of a
  single Gaussian N(m, s^2) stands still.

References: Karras et al. (2022), https://arxiv.org/abs/2206.00364, appendix B.2; Lu and Song
(2024), https://arxiv.org/abs/2410.11081, section 3 (the angle).
"""

from __future__ import annotations

import copy
import math
from typing import Literal, get_args

import torch
from torch import Tensor

from diffode.data.scaling import Scaling
from diffode.doors import as_time
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Start, expand_like
from diffode.fields.schedules import Karras, Rates, Schedule
from diffode.fields.wrapped import Wrapped
from diffode.rng import Rng

Clock = Literal["native", "rho", "logsnr", "inverse", "theta"]
CLOCKS: tuple[str, ...] = get_args(Clock)


class _Rho(Karras):
    def __init__(self) -> None:
        self.span = (math.inf, 0.0)  # until `spanning` gives it the field's


class _LogRho(Schedule):
    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t.exp()

    def rates(self, t: Tensor) -> Rates:
        one, sigma = torch.ones_like(t), t.exp()
        return one, sigma, 0 * one, sigma

    def time(self, rho: Tensor) -> Tensor:
        return rho.log()


class _Inverse(Schedule):
    def alpha(self, t: Tensor) -> Tensor:
        return t

    def sigma(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def rates(self, t: Tensor) -> Rates:
        one = torch.ones_like(t)
        return t, one, one, 0 * one

    def time(self, rho: Tensor) -> Tensor:
        return 1 / rho


class _Angle(Schedule):
    def __init__(self, std: float) -> None:
        self.std = std

    def alpha(self, t: Tensor) -> Tensor:
        return t.cos() / self.std

    def sigma(self, t: Tensor) -> Tensor:
        return t.sin()

    def rates(self, t: Tensor) -> Rates:
        sine, cosine = t.sin(), t.cos()
        return cosine / self.std, sine, -sine / self.std, cosine

    def time(self, rho: Tensor) -> Tensor:
        return torch.atan(rho / self.std)


def clock(field: AffineField, name: str) -> Schedule:
    """The schedule that this clock gives a field, with the field's own range of rho.

    Raises:
        ValueError: an unknown clock, or one in which the field's prior lies at infinity.
    """
    if name == "native":
        return field.schedule
    if name not in CLOCKS:
        raise ValueError(f"no clock named {name!r}; clocks: {', '.join(CLOCKS)}")
    makers = {"rho": _Rho, "logsnr": _LogRho, "inverse": _Inverse}
    schedule = makers[name]() if name in makers else _Angle(field.moments[1])
    return spanning(schedule, field)


def spanning(schedule: Schedule, field: AffineField) -> Schedule:
    """A copy of the schedule whose span covers the field's range of rho."""
    rho = field.schedule.rho(torch.tensor(field.span, dtype=torch.float64))
    times = schedule.time(rho)
    if not bool(times.isfinite().all()):
        raise ValueError(
            f"rho goes from {float(rho[0]):g} to {float(rho[1]):g}, which is no finite range of "
            f"time for {type(schedule).__name__.strip('_')}; use the clock 'theta'"
        )
    schedule = copy.copy(schedule)
    schedule.span = (float(times[0]), float(times[1]))
    return schedule


class Rescheduled(Wrapped):
    r"""The flow of an affine field on another schedule, the same points at the same rho.

    .. math:: x' = c \, (x - \alpha m) [+ \alpha' m], \qquad
              c = \sqrt{\frac{\alpha'^2 s^2 + \sigma'^2}{\alpha^2 s^2 + \sigma^2}}.

    It is made for the field as it is: where the field's schedule changes, it is made anew.

    Arguments:
        field: the field.
        schedule: the other schedule, its span as `spanning` gives it.
        centred: leave the data's mean out of the state.

    Raises:
        TypeError: a field with a factor for each frequency, whose size is no one number.
    """

    def __init__(self, field: AffineField, schedule: Schedule, centred: bool = False) -> None:
        if field.decay is not None:
            raise TypeError(
                f"{type(field).__name__} has a factor for each frequency, so that its points have "
                "no one size to exchange the schedule by; use clock='native'"
            )
        mean = field.moments[0]
        super().__init__(field, schedule, torch.zeros_like(mean) if centred else mean)
        self.shift = mean if centred else None
        if field.sampling_defaults is not None:
            times = self.times(torch.tensor(field.sampling_defaults.times, dtype=torch.float64))
            self.sampling_defaults = field.sampling_defaults._replace(times=tuple(times.tolist()))

    @property
    def scaling(self) -> Scaling | None:
        """From the data's units to those of this state, whose zero is the mean if centred."""
        own = self.inner.scaling
        if self.shift is None:
            return own
        shift = self.shift.double().cpu()
        if own is None:
            return Scaling("centred", shift, torch.ones(()), "the data less their mean")
        return Scaling(own.kind, own.to_data(shift), own.width)

    @scaling.setter
    def scaling(self, scaling: Scaling | None) -> None:
        if self.shift is not None:
            raise ValueError(
                "got a scaling for a field on a clock about the mean, whose units are those of "
                "the field inside; set its scaling, then take the clock"
            )
        self.inner.scaling = scaling

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """The starting points of the field itself, in this state."""
        x, moved = super().start(n, rng, y)
        return Start(self.to_state(x, self.inner.span[0]), moved)

    def to_state(self, x: Tensor, t: Tensor | float) -> Tensor:
        """This field's state for the point x of the field itself at its time t."""
        x = self.as_state(x)
        t = as_time(t, x)
        alpha, _ = self.inner.level(t, x)
        ratio = self.factor(t)
        if self.shift is None:
            return expand_like(ratio, x) * x
        return expand_like(ratio, x) * (x - expand_like(alpha, x) * self.shift.to(x))

    def factor(self, t: Tensor) -> Tensor:
        """The factor c from the field's points at its time t to this state."""
        return self._size(self.schedule, self.times(t)) / self._size(self.inner.schedule, t)

    def from_state(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The point of the field itself for this field's state x at this field's time t."""
        x = self.as_state(x)
        return self._leave(x, self.native(as_time(t, x)), as_time(t, x))

    def from_data(self, x: Tensor) -> Tensor:
        """The states at t_data of points in the units of the data, as the field has them."""
        return self.to_state(self.inner.from_data(x), self.inner.span[1])

    def to_data(self, x: Tensor, t: Tensor | float) -> Tensor:
        """States at this field's time t as the field has them, in the units of the data."""
        return self.inner.to_data(self.from_state(x, t), self.native(as_time(t, x)))

    @property
    def log_volume(self) -> float:
        """The log of the volume of states at t_data for a unit of the data's volume."""
        t_data = torch.tensor(self.inner.span[1], dtype=torch.float64)
        return self.inner.log_volume + self.mean.numel() * float(self.factor(t_data).log())

    def shown(self, x0: Tensor) -> Tensor:
        """An estimate of the data by this field as the field itself has it."""
        return x0 if self.shift is None else x0 + self.shift.to(x0)

    def times(self, t: Tensor) -> Tensor:
        """This field's times for times of the field itself; the ends are exact."""
        return _transported(t, self.inner.schedule, self.schedule)

    def native(self, t: Tensor) -> Tensor:
        """The field's own times for times of this one; the ends are exact."""
        return _transported(t, self.schedule, self.inner.schedule)

    def calls_at(self, t: Tensor) -> int:
        """The network calls of an evaluation at this field's time t."""
        return self.inner.calls_at(self.native(t))

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] (without m if centred) and E[n | x_t = x]."""
        x = self.as_state(x)
        t = as_time(t, x)
        native = self.native(t)
        x0, n = self.inner.posterior(self._leave(x, native, t), native, y)
        return (x0 if self.shift is None else x0 - self.shift.to(x0)), n

    def _leave(self, x: Tensor, native: Tensor, t: Tensor) -> Tensor:
        ratio = self._size(self.inner.schedule, native) / self._size(self.schedule, t)
        out = expand_like(ratio, x) * x
        if self.shift is None:
            return out
        return out + expand_like(self.inner.schedule.alpha(native), x) * self.shift.to(x)

    def _size(self, schedule: Schedule, t: Tensor) -> Tensor:
        return ((schedule.alpha(t) * self.moments[1]).square() + schedule.sigma(t).square()).sqrt()


def usual_clock(field: Field) -> str:
    """The clock of adaptive methods that says auto: the angle where there is one."""
    return "theta" if isinstance(field, AffineField) and field.decay is None else "native"


def _transported(t: Tensor, source: Schedule, target: Schedule) -> Tensor:
    """The target's times of equal rho, never outside its span."""
    low, high = sorted(target.span)
    out = target.time(source.rho(t)).clamp(low, high)
    for first, second in zip(source.span, target.span, strict=True):
        out = torch.where(t == first, second, out)
    return out


def require_uncentred(field: object, what: str) -> None:
    """Refuse a field whose state, or that of one inside it, leaves the data's mean out.

    Arguments:
        field: to look at.
        what: to do with it before it is rescheduled, for the message.

    Raises:
        ValueError: such a field.
    """
    while isinstance(field, Wrapped):
        if isinstance(field, Rescheduled) and field.shift is not None:
            raise ValueError(
                "got a field on the clock 'theta', whose state leaves the data's mean out; "
                f"{what} the field, then reschedule it"
            )
        field = field.inner


def rescheduled(field: Field, clock_or_schedule: str | Schedule) -> Field:
    """The same flow on another clock: `Rescheduled`, or the field itself for "native".

    Arguments:
        field: an affine field.
        clock_or_schedule: "native", "rho", "logsnr", "inverse", "theta", or a schedule.

    Raises:
        TypeError: the field has no schedule to exchange.
        ValueError: an unknown clock, or one that cannot show the field's range of rho.
    """
    if clock_or_schedule == "native":
        return field
    if not isinstance(field, AffineField):
        raise TypeError(
            f"{type(field).__name__} has no schedule to exchange; only affine fields have clocks"
        )
    if isinstance(clock_or_schedule, Schedule):
        return Rescheduled(field, spanning(clock_or_schedule, field))
    return Rescheduled(field, clock(field, clock_or_schedule), clock_or_schedule == "theta")
