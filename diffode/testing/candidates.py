r"""Velocities that common mistakes give, worked out from the exact field.

Any velocity on the path :math:`x = \alpha x_0 + \sigma n` is a pair of conditional means, so a
mistake is a wrong pair: a wrong noise estimate with the data estimate that follows from it, the
same beside the right data estimate, estimates of another level, or a wrong way to make a velocity
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.fields.exact import Empirical
from diffode.fields.schedules import Schedule
from diffode.priors import Spherical
from diffode.testing.kernels import other_kernels, other_schedules


class Candidate(NamedTuple):
    """The velocity of one mistake at some points.

    Attributes:
        name: of the mistake, as in `MISTAKES`; empty for a field that knows nothing yet.
        form: how it comes about.
        value: the velocity, shape (B, *event).
    """

    name: str
    form: str
    value: Tensor


class Place(NamedTuple):
    """Points of the path at one time."""

    t: float
    x: Tensor


class Swapped(Schedule):
    """A schedule with alpha and sigma exchanged."""

    def __init__(self, inner: Schedule) -> None:
        first, last = inner.span
        self.inner = inner
        self.span = (first + 0.01 * (last - first), last - 0.01 * (last - first))  # sigma > 0

    def alpha(self, t: Tensor) -> Tensor:
        """The inner sigma."""
        return self.inner.sigma(t)

    def sigma(self, t: Tensor) -> Tensor:
        """The inner alpha."""
        return self.inner.alpha(t)

    def time(self, rho: Tensor) -> Tensor:
        """The inner time at 1 / rho."""
        return self.inner.time(1 / rho)


_UNITS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("halved", lambda x: x / 2),
    ("doubled", lambda x: 2 * x),
    ("to (x + 1) / 2", lambda x: (x + 1) / 2),
    ("to 2 x - 1", lambda x: 2 * x - 1),
    ("times 255", lambda x: 255 * x),
    ("to 127.5 (x + 1)", lambda x: 127.5 * (x + 1)),
    ("divided by 255", lambda x: x / 255),
    ("divided by their std", lambda x: x / x.std()),
    ("less their mean", lambda x: x - x.mean(0)),
    ("standardised", lambda x: (x - x.mean(0)) / x.std()),
)


class Candidates:
    """The candidates of a path and a data set.

    Arguments:
        data: the points, shape (M, *event), float64.
        schedule: alpha, sigma and the span.
        noise: the law of n.
        times: the grid that the field was made for, if it has one.
    """

    def __init__(
        self, data: Tensor, schedule: Schedule, noise: Spherical, times: Tensor | None = None
    ) -> None:
        self.data, self.schedule, self.noise, self.times = data, schedule, noise, times
        self.exact = Empirical(data, schedule, noise)
        self.swapped = Empirical(data, Swapped(schedule), noise)
        self.units = [(form, Empirical(f(data), schedule, noise)) for form, f in _UNITS]
        self.kernels = [
            (name, form, Empirical(data, schedule, law))
            for name, form, law in other_kernels(noise, data[0].numel())
        ]
        self.paths = [
            (name, form, Empirical(data, other, noise))
            for name, form, other in other_schedules(schedule)
        ]

    def at(self, place: Place) -> Iterator[Candidate]:
        """All candidates at one place."""
        yield from self._readings(place)
        for name, form, t in self._other_times(place.t):
            yield from self.shifted(place, t, name, form)
            if name == "reversed time":
                yield Candidate("other clock", form, -self.exact.velocity(place.x, t))
        yield from self._exchanged(place)
        for form, exact in self.units:
            yield Candidate("data scale", f"data {form}", exact.velocity(place.x, place.t))
        for name, form, exact in self.kernels:
            yield Candidate(name, form, exact.velocity(place.x, place.t))
        for name, form, exact in self.paths:
            yield from self._read(exact, place, place.t, name, form)
        yield from self._ignorant(place)

    def shifted(self, place: Place, t: float, name: str, form: str = "") -> Iterator[Candidate]:
        """The velocities of a field that takes the time t for that of the place."""
        yield from self._read(self.exact, place, t, name, form)

    def _read(
        self, exact: Empirical, place: Place, t: float, name: str, form: str
    ) -> Iterator[Candidate]:
        """The velocities of a field at time t, taken for the exact one's at the place."""
        s = _Scalars.of(self.schedule, place.t)
        x = place.x
        x0, n = exact.posterior(x, t)
        rates = _Scalars.of(exact.schedule, t)
        yield Candidate(name, form, rates.d_alpha * x0 + rates.d_sigma * n)
        yield Candidate(name, f"{form}, in the estimates", s.d_alpha * x0 + s.d_sigma * n)
        yield Candidate(name, f"{form}, in the noise estimate", s.of_noise(x, n))
        yield Candidate(name, f"{form}, in the data estimate", s.of_data(x, x0))

    def _readings(self, place: Place) -> Iterator[Candidate]:
        """One estimate read as another, and wrong velocities of right estimates."""
        s, x = _Scalars.of(self.schedule, place.t), place.x
        x0, n = self.exact.posterior(x, place.t)
        alpha, sigma, v = s.alpha, s.sigma, s.d_alpha * x0 + s.d_sigma * n
        prediction = alpha * n - sigma * x0
        yield Candidate("sign", "", -v)
        noises = [
            ("missing minus", -n),
            ("missing 1/sigma", sigma * n),
            ("eps as score", -sigma * n),
            ("score as eps", -n / sigma),
            ("extra 1/sigma", n / sigma),
            ("x0 as noise", x0),
            ("v-prediction as noise", prediction),
            ("velocity as noise", n - x0),
            ("missing alpha", (x - x0) / sigma),
        ]
        for name, value in noises:
            yield Candidate(name, "with the data estimate that follows", s.of_noise(x, value))
            yield Candidate(name, "beside", s.d_alpha * x0 + s.d_sigma * value)
        datas = [
            ("noise as x0", n),
            ("v-prediction as x0", prediction),
            ("missing 1/alpha", alpha * x0),
        ]
        for name, value in datas:
            yield Candidate(name, "with the noise that follows", s.of_data(x, value))
            yield Candidate(name, "beside", s.d_alpha * value + s.d_sigma * n)
        square, w = alpha**2 + sigma**2, n - x0
        yield Candidate(
            "velocity as v-prediction",
            "",
            (s.d_alpha * (alpha * x - sigma * w) + s.d_sigma * (sigma * x + alpha * w)) / square,
        )
        part = s.d_sigma - (sigma * s.d_alpha / alpha if alpha else 0.0)
        yield Candidate("missing 1/2", "", v + part * n)
        yield Candidate("missing drift", "", part * n)
        yield Candidate("missing 1/sigma", "in the velocity", sigma * v)
        yield Candidate("extra 1/sigma", "in the velocity", v / sigma)
        yield Candidate("v-prediction as velocity", "", prediction)
        yield Candidate("straight velocity", "", n - x0)
        yield Candidate("straight velocity", "turned", x0 - n)
        yield Candidate("noise as velocity", "", n)
        yield Candidate("x0 as velocity", "", x0)
        yield Candidate("score as velocity", "", -n / sigma)

    def _exchanged(self, place: Place) -> Iterator[Candidate]:
        """Alpha and sigma in each other's place."""
        s, x, name = _Scalars.of(self.schedule, place.t), place.x, "swapped alpha and sigma"
        x0, n = self.exact.posterior(x, place.t)
        yield Candidate(name, "rates", s.d_sigma * x0 + s.d_alpha * n)
        yield Candidate("x0 as noise", "exchanged", s.d_alpha * n + s.d_sigma * x0)
        if not s.alpha:
            return
        yield Candidate(name, "x0", s.d_alpha * (x - s.alpha * n) / s.sigma + s.d_sigma * n)
        yield Candidate(name, "n", s.d_alpha * x0 + s.d_sigma * (x - s.sigma * x0) / s.alpha)
        x0, n = self.swapped.posterior(x, place.t)
        yield Candidate(name, "all", s.d_sigma * x0 + s.d_alpha * n)
        yield Candidate(name, "levels", s.d_alpha * x0 + s.d_sigma * n)
        yield Candidate(name, "noise estimate", s.of_noise(x, n))
        yield Candidate(name, "data estimate", s.of_data(x, x0))

    def _other_times(self, t: float) -> Iterator[tuple[str, str, float]]:
        first, last = self.schedule.span
        low, high = min(first, last), max(first, last)
        yield "reversed time", f"{first:g} + {last:g} - t", first + last - t
        if low >= 0 and high == 1 and first + last != 1:
            yield "reversed time", "1 - t", min(max(1 - t, low), high)
        for form, moved in self.neighbours(t):
            yield "off-by-one grid", form, moved
        for dtype in (torch.float16, torch.bfloat16):
            yield f"{dtype}"[6:] + " time", "rounded", float(torch.tensor(t).to(dtype))

    def neighbours(self, t: float) -> Iterator[tuple[str, float]]:
        """The time one step later and earlier, on the field's grid or a chain's integers."""
        if self.times is not None:
            k = int((self.times - t).abs().argmin())
            for j, form in ((k + 1, "a step later"), (k - 1, "a step earlier")):
                if 0 <= j < len(self.times):
                    yield form, float(self.times[j])
        if is_chain(self.schedule):
            low, high = sorted(self.schedule.span)
            yield "t - 1 in place of t", max(low, t - 1)
            yield "t + 1 in place of t", min(high, t + 1)

    def _ignorant(self, place: Place) -> Iterator[Candidate]:
        """Velocities of a network that says nothing, by what it should predict."""
        s, x = _Scalars.of(self.schedule, place.t), place.x
        mean, std = self.exact.moments
        u = x - s.alpha * mean
        yield Candidate("", "no velocity", torch.zeros_like(x) + s.d_alpha * mean)
        yield Candidate("", "no noise", s.of_noise(x, torch.zeros_like(x)))
        yield Candidate("", "the mean", s.of_data(x, mean.expand_as(x)))
        for form, scale in (("a Gaussian", std), ("no v", 1.0)):
            weight = s.alpha * scale**2 / (s.alpha**2 * scale**2 + s.sigma**2)
            yield Candidate("", form, s.of_data(x, mean + weight * u))
        weight = 1 / (s.alpha + s.sigma)
        yield Candidate("", "no straight velocity", s.of_data(x, mean + weight * u))


def is_chain(schedule: Schedule) -> bool:
    """Whether the schedule's times count the steps of a chain, 0 to T - 1."""
    first, last = schedule.span
    return first == round(first) and last == round(last) and abs(first - last) >= 8


class _Scalars(NamedTuple):
    """The schedule at one time."""

    alpha: float
    sigma: float
    d_alpha: float
    d_sigma: float

    @classmethod
    def of(cls, schedule: Schedule, t: float) -> _Scalars:
        return cls(*(float(r) for r in schedule.rates(torch.tensor(t, dtype=torch.float64))))

    def of_noise(self, x: Tensor, n: Tensor) -> Tensor:
        """The velocity of a noise estimate and the data estimate that follows from it."""
        return self.d_alpha * (x - self.sigma * n) / (self.alpha or 1e-12) + self.d_sigma * n

    def of_data(self, x: Tensor, x0: Tensor) -> Tensor:
        """The velocity of a data estimate and the noise estimate that follows from it."""
        return self.d_alpha * x0 + self.d_sigma * (x - self.alpha * x0) / self.sigma


def scores(candidates: Candidates, place: Place) -> Iterator[Candidate]:
    """What a field with one mistake returns as its score."""
    sigma = _Scalars.of(candidates.schedule, place.t).sigma
    x0, n = candidates.exact.posterior(place.x, place.t)
    yield Candidate("missing minus", "", n / sigma)
    yield Candidate("eps as score", "", n)
    yield Candidate("missing 1/sigma", "", -n)
    yield Candidate("extra 1/sigma", "", -n / sigma**2)
    yield Candidate("x0 as noise", "", -x0 / sigma)
    yield Candidate("missing 1/sigma", "twice", -sigma * n)
