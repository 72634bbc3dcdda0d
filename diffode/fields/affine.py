r"""A field with the one structure that solvers may exploit: a path of signal and noise.

Its path is :math:`x_t = \alpha_t x_0 + \sigma_t n` with spherical noise n, so that its velocity is
the conditional mean rate

.. math:: f_t(x) = \dot\alpha_t \, E[x_0 | x_t = x] + \dot\sigma_t \, E[n | x_t = x].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffode.doors import as_state, as_time, unwritten
from diffode.fields.base import Field, expand_like
from diffode.fields.decay import Decay
from diffode.fields.noise import require_independent, require_score, require_unit
from diffode.fields.schedules import Rates, Schedule
from diffode.priors import Spherical
from diffode.rng import Rng

PosteriorAt = Callable[[int, Tensor, Tensor | None], tuple[Tensor, Tensor]]


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
        decay: a factor of each coordinate beside alpha; the points x are then coordinates in its
            basis, until the field is turned (`diffode.fields.Turned`).

    Attributes:
        guidance: how far its answers reach, 1 for a conditional mean; else a guidance weight.
        jumps: levels sigma / alpha where they jump; None where its rows do not share them.
        principal_std: the data's standard deviation along their main axes; None if not known.
        coupled: whether n depends on x_0, as in pairs of optimal transport. The velocity is then
            as right as ever, and no score follows from E[n | x].
    """

    usual = "default"
    guidance: float = 1.0
    jumps: tuple[float, ...] | None = ()
    principal_std: float | None = None
    coupled: bool = False

    def __init__(
        self,
        schedule: Schedule,
        noise: Spherical,
        mean: Tensor,
        std: float,
        decay: Decay | None = None,
    ) -> None:
        super().__init__()
        self.schedule, self.noise = schedule, require_unit(noise)
        self.smooth = self.smooth and noise.smooth
        if decay is not None:
            decay.require(schedule)
        self._decay = decay
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
        if self.decay is None:
            return self.noise.at(sigma, self.mean * alpha)
        t = torch.tensor(self.span[0], dtype=torch.float64, device=self.mean.device)
        signal = self._multiplied(self._level(t)[0], self.mean[None])
        return self.noise.at(sigma, signal[0])

    @property
    def decay(self) -> Decay | None:
        """The factors of each coordinate beside alpha; None where alpha is one number."""
        return self._decay

    @property
    def in_basis(self) -> bool:
        """Whether its points are coordinates in the basis of its ``decay``."""
        return self.decay is not None

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
        r"""The noise level: alpha and sigma at time t in float64, each of shape () or (B,).

        With a ``decay`` alpha is a factor of each coordinate, of a shape that broadcasts with
        (1, \*event) or (B, \*event).

        Raises:
            TypeError: alpha is a factor of coordinates that the points are not in.
        """
        self._require_coordinates()
        return self._level(as_time(t, like))

    def rates(self, t: Tensor | float, like: Tensor) -> Rates:
        """Alpha and sigma at time t and their derivatives, float64, shaped as by `level`.

        Raises:
            TypeError: as by `level`.
        """
        self._require_coordinates()
        return self._rates(as_time(t, like))

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
        _, _, d_alpha, d_sigma = self._rates(as_time(t, x))
        x0, n = self.posterior(x, t, y)
        return self._multiplied(d_alpha, x0) + expand_like(d_sigma, x) * n

    def score(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        r"""The gradient of the log-density of x_t, :math:`-E[n | x] / \sigma`, for normal noise.

        Raises:
            TypeError: the noise is not normal or not independent of the data, where this quotient
                is not the score.
        """
        require_score(self.noise)
        require_independent(self.coupled, "the score")
        x = self.as_state(x)
        return -self.noise_part(x, t, y) / expand_like(self._level(as_time(t, x))[1], x)

    def faded(self, x0: Tensor, t: Tensor | float) -> Tensor:
        """What is left of points x_0 at time t, alpha x_0, shape (B, *event)."""
        return self._multiplied(self._level(as_time(t, x0))[0], x0)

    def corrupt(
        self, x0: Tensor, t: Tensor | float, rng: Rng, n: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw x_t given x_0, and the noise n that it was made with, drawn where it is not given.

        Raises:
            TypeError: a field of coupled pairs, and no noise given.
        """
        x0 = as_state(x0, self.event_shape, "x0")
        alpha, sigma = self._level(as_time(t, x0))
        if n is None:
            require_independent(self.coupled, "noise that is drawn anew")
            n = self.noise.sample(x0.shape, rng, name="noise", dtype=x0.dtype, device=x0.device)
        return self._multiplied(alpha, x0) + expand_like(sigma, x0) * n, n

    def _level(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if self.decay is None:
            return self.schedule.alpha(t), self.schedule.sigma(t)
        return self.decay.level(self.schedule, t)

    def _rates(self, t: Tensor) -> Rates:
        return self.schedule.rates(t) if self.decay is None else self.decay.rates(self.schedule, t)

    def _multiplied(self, alpha: Tensor, x: Tensor) -> Tensor:
        """Alpha, or its rate, times points x."""
        if self.decay is None or self.in_basis:
            return expand_like(alpha, x) * x
        return self.decay.from_basis(expand_like(alpha, x) * self.decay.to_basis(x))

    def _require_coordinates(self) -> None:
        if self.decay is not None and not self.in_basis:
            raise TypeError(
                f"{type(self).__name__} has a factor for each frequency ({self.decay}), so that "
                "no number alpha multiplies its points, and what was asked for needs one; use a "
                "field without blur, or diffode.fields.Turned(field), whose points are frequencies"
            )

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
        *([] if field.decay is None else [f"decay {field.decay}"]),
    ]
