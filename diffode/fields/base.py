r"""What a generative ODE is: a prior moved by a velocity.

A `Field` states a velocity :math:`f_t(x)`, a prior and a span of time. An `AffineField` adds the
one structure that solvers may exploit: its path is :math:`x_t = \alpha_t x_0 + \sigma_t n`
with spherical noise n, so that its velocity is the conditional mean rate

.. math:: f_t(x) = \dot\alpha_t \, E[x_0 | x_t = x] + \dot\sigma_t \, E[n | x_t = x].

Shapes, everywhere: x is (B, \*event); t is () or (B,); y is (B,) integer labels or None; scalar
    fields return (B,).
Whole numbers as x or y are converted, other shapes refused (`diffode.doors`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.compiled import SeenThrough
from diffode.data.scaling import Scaling, data_units, model_units
from diffode.doors import Numbers, as_labels, as_state, as_time, unwritten
from diffode.fields.noise import require_score, require_unit
from diffode.fields.schedules import Schedule
from diffode.fields.tables import Tables
from diffode.priors import Spherical
from diffode.rng import Rng


def expand_like(t: Tensor, like: Tensor) -> Tensor:
    """A scalar of each row, shape () or (B,), typed and shaped to broadcast with ``like``."""
    t = t.to(like)
    return t.reshape(-1, *[1] * (like.ndim - 1)) if t.ndim else t


PosteriorAt = Callable[[int, Tensor, Tensor | None], tuple[Tensor, Tensor]]


class SamplingDefaults(NamedTuple):
    """How a field is sampled if nothing else is asked for.

    Attributes:
        solver: the solver's name.
        times: the times of its steps, from t_prior to t_data: the grid "own".
    """

    solver: str
    times: tuple[float, ...]


class Start(NamedTuple):
    """Where a flow starts: points x at ``field.span[0]``, and the field that moves these rows."""

    x: Tensor
    field: Field


class Latent(NamedTuple):
    """What a flow starts from: points x (B, *event), and q (B,) for a bound Poisson field."""

    x: Tensor
    q: Tensor | None = None


class Field(Tables, metaclass=SeenThrough):
    """A velocity, a prior and a span; write ``velocity`` and set the other three.

    Cast to another type, its networks change and its own buffers do not (`Tables`).

    Attributes:
        prior: the law of x at ``span[0]``.
        span: the times (t_prior, t_data); either may be the larger.
        event_shape: the shape of one sample.
        sampling_defaults: the solver and the times that it was made for, if it was.
        smooth: whether differentiating the velocity gives its divergence, which a likelihood
            needs. It does not where a network inside is linear piece by piece and the velocity is
            its gradient: the second derivative is then 0 almost everywhere.
        classes: the number of labels, 0 to classes - 1; None where the field does not say. A
            network is trained with ``classes`` itself as the null label. `as_labels`, and with it
            `diffode.sample` and all else that moves points, refuses that: no label is y = None.
        unconditional: whether no label plays a part; False where the field does not say.
        scaling: from the data's units to the field's, None for the same; see also `from_data`.
        calls_per_evaluation: the most calls of a network that an evaluation takes: 1, and 2 under
            guidance. `calls_at` says it for a time.
    """

    prior: Spherical | None
    span: tuple[float, float]
    event_shape: tuple[int, ...]
    sampling_defaults: SamplingDefaults | None = None
    smooth: bool = True
    classes: int | None = None
    unconditional: bool = False
    scaling: Scaling | None = None
    calls_per_evaluation: int = 1

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The rate of change of x at time t, shape (B, *event)."""
        raise unwritten(self, "velocity")

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """Draw n starting points, and the field that moves them: the prior's draw, and itself."""
        prior = self.prior
        if prior is None:
            raise ValueError(f"{type(self).__name__} has no prior to start from")
        return Start(prior.sample((n, *self.event_shape), rng, device=self.device), self)

    def calls_at(self, t: Tensor) -> int:
        """The calls of a network that an evaluation at time t, shape () or (B,), takes."""
        return self.calls_per_evaluation

    def require_rows(self, count: int) -> None:
        """Refuse another number of rows than the field holds values for.

        Raises:
            ValueError: it holds some, for more rows or for fewer.
        """

    def rows(self, index: Tensor) -> Field:
        """The field of these rows of the batch: itself, unless it holds per-row values."""
        return self

    def as_state(self, x: Tensor) -> Tensor:
        """Points for this field, see `diffode.doors.as_state`."""
        return as_state(x, self.event_shape)

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels that this field knows for so many rows, see `diffode.doors.as_labels`.

        Solvers call it once, before they start: under ``torch.func`` no value can be looked at.
        """
        return as_labels(y, rows, None if self.classes is None else self.classes - 1)

    def from_data(self, x: Tensor) -> Tensor:
        r"""The states at t_data of points x in the units of the data, shape (B, \*event)."""
        return model_units(x, self.scaling)

    def to_data(self, x: Tensor, t: Tensor | float) -> Tensor:
        r"""States x at time t, shape () or (B,), in the units of the data, shape (B, \*event)."""
        return data_units(x, self.scaling)

    @property
    def log_volume(self) -> float:
        """The log of the volume of states at t_data for a unit of the data's volume."""
        return 0.0 if self.scaling is None else -self.scaling.log_volume(self.event_shape)

    def latent(self, x: Tensor) -> Latent:
        """The latent that starts at points x, with the values that this field is bound to."""
        return Latent(x)

    def bind(self, q: Tensor) -> Field:
        """The field of rows with these q, shape (B,).

        Raises:
            TypeError: a field that has none.
        """
        raise TypeError(f"got q for a {type(self).__name__}; q belongs to an unbound PoissonField")

    @property
    def device(self) -> torch.device:
        """Where the field's tensors live."""
        tensors = [*self.parameters(), *self.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        end = f"{self.span[0]:g} -> {self.span[1]:g}"
        event = "x".join(map(str, self.event_shape))
        parts = [f"event {event}", f"span {end}", *self._describe(), f"prior {self.prior}"]
        parts += [] if self.scaling is None else [f"units {self.scaling}"]
        return f"{type(self).__name__}({', '.join(parts)}, {count:,} parameters)"

    def _describe(self) -> list[str]:
        return []


class AffineField(Field):
    r"""A field on the path :math:`x_t = \alpha_t x_0 + \sigma_t n`; write ``posterior``.

    Its span is the schedule's, and its prior the law of the noise at that end, scaled by sigma
    about alpha m: both follow a schedule that changes. A subclass with another prior states it as
    an attribute of the class.

    Arguments:
        schedule: alpha, sigma and the span.
        noise: the law of n at unit scale.
        mean: the data's mean m, shape (\*event); the prior is centred at alpha m.
        std: the data's rms standard deviation s about m.

    Attributes:
        guidance: how far its answers reach, 1 for a conditional mean; else a guidance weight.
        jumps: levels sigma / alpha where they jump; None where its rows do not share them.
        principal_std: the data's standard deviation along their main axes; None if not known.
    """

    guidance: float = 1.0
    jumps: tuple[float, ...] | None = ()
    principal_std: float | None = None

    def __init__(self, schedule: Schedule, noise: Spherical, mean: Tensor, std: float) -> None:
        super().__init__()
        self.schedule, self.noise = schedule, require_unit(noise)
        self.event_shape = tuple(mean.shape)
        self.register_buffer("mean", mean)
        self._std = float(std)

    mean: Tensor

    @property
    def span(self) -> tuple[float, float]:  # type: ignore[override]
        """The times (t_prior, t_data) of the schedule."""
        return self.schedule.span

    @property
    def prior(self) -> Spherical | None:  # type: ignore[override]
        """The law of x at t_prior: the noise, scaled by sigma about alpha m."""
        alpha, sigma = self.schedule.ends()[0]
        return self.noise.at(sigma, self.mean * alpha)

    @property
    def moments(self) -> tuple[Tensor, float]:
        """The data's mean, shape (*event), and its rms standard deviation."""
        return self.mean, self._std

    @property
    def signal(self) -> float:
        """How much of the data the path still shows at t_prior, alpha s / sigma."""
        alpha, sigma = self.schedule.ends()[0]
        return alpha * self._std / sigma

    @property
    def levels(self) -> tuple[float, float]:
        """The least and the largest noise level sigma / alpha of its points."""
        t = torch.tensor(self.span, dtype=torch.float64)
        most, least = self.schedule.rho(t).tolist()
        return least, most

    def level(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """The noise level: alpha and sigma at time t in float64, each of shape () or (B,)."""
        t = as_time(t, like)
        return self.schedule.alpha(t), self.schedule.sigma(t)

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x], each (B, *event)."""
        raise unwritten(self, "posterior")

    def prepared(self, times: Tensor, like: Tensor) -> PosteriorAt | None:
        """What `diffode.fields.along` returns; None where nothing can be computed beforehand."""
        return None

    def denoise(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The conditional mean of the data, E[x_0 | x_t = x]."""
        return self.posterior(self.as_state(x), t, y)[0]

    def noise_part(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The conditional mean of the noise, E[n | x_t = x]."""
        return self.posterior(self.as_state(x), t, y)[1]

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The rate of change d_alpha E[x_0 | x] + d_sigma E[n | x]."""
        x = self.as_state(x)
        _, _, d_alpha, d_sigma = self.schedule.rates(as_time(t, x))
        x0, n = self.posterior(x, t, y)
        return expand_like(d_alpha, x) * x0 + expand_like(d_sigma, x) * n

    def score(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        r"""The gradient of the log-density of x_t, :math:`-E[n | x] / \sigma`, for normal noise.

        Raises:
            TypeError: the noise is not normal, where this quotient is not the score.
        """
        require_score(self.noise)
        x = self.as_state(x)
        return -self.noise_part(x, t, y) / expand_like(self.level(t, x)[1], x)

    def corrupt(self, x0: Tensor, t: Tensor | float, rng: Rng) -> tuple[Tensor, Tensor]:
        """Draw x_t given x_0, and the noise n that it was made with."""
        x0 = as_state(x0, self.event_shape, "x0")
        alpha, sigma = self.level(t, x0)
        n = self.noise.sample(x0.shape, rng, name="noise", dtype=x0.dtype, device=x0.device)
        return expand_like(alpha, x0) * x0 + expand_like(sigma, x0) * n, n

    def _describe(self) -> list[str]:
        return _described(self)


def _described(field: AffineField) -> list[str]:
    (alpha, sigma), (alpha1, sigma1) = field.schedule.ends()
    rho = f"{sigma / alpha:.4g}" if alpha > 0 else "inf"
    return [
        repr(field.schedule),
        f"alpha(t_prior) {alpha:.4g}",
        f"rho {rho} -> {sigma1 / alpha1:.4g}",
        f"signal {field.signal:.2g} at t_prior",
        f"noise {field.noise}",
    ]
