r"""MonoFlow: a GAN as an ODE, samples that climb a monotone function of the critic's log-ratio.

With a critic :math:`d(x, t) = \log p(x) / q_t(x)` between data p and the samples' law
:math:`q_t` at that time, the flow

.. math:: \frac{dx}{dt} = \eta(t) \, \nabla_x h(d(x, t)), \qquad h' > 0,

started from the prior at t = 0, lowers :math:`KL(q_t \| p)` at the rate :math:`\eta \, E[h'(d)
|\nabla d|^2]`. For h(d) = d it is :math:`\nabla \log p - \nabla \log q_t`, the probability flow
of Langevin dynamics. A GAN's generator takes Euler steps of it, its own training time being t.

Time runs up, span (0, T), with the data at T; diffusion fields here run down to theirs.

Reference: MonoFlow (Yi et al., 2023), https://arxiv.org/abs/2302.01075.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffode.doors import as_labels, as_time
from diffode.fields.base import Field, SamplingDefaults, expand_like
from diffode.fields.critics import CriticBank, is_smooth
from diffode.fields.divergences import Divergence, Elementwise, get_divergence
from diffode.priors import Normal, Spherical


@dataclass(frozen=True)
class Mobility:
    r"""The speed of a flow whose critics see both laws through noise that fades.

    .. math:: \sigma(u) = \sigma_0 (\sigma_1 / \sigma_0)^u, \qquad
              \eta(u) = c \, (\sigma(u)^2 + \epsilon^2), \qquad u = t / T.

    Noise of :math:`\sigma` on data and samples bounds the curvature of d by about
    :math:`\sigma^{-2}`: with this speed, steps of one length in t stay stable throughout.

    Arguments:
        first, last: :math:`\sigma_0` and :math:`\sigma_1`, positive, in units of the data.
        scale: c.
        floor: :math:`\epsilon`, in units of the data.

    Raises:
        ValueError: a number out of range.
    """

    first: float = 1.0
    last: float = 0.1
    scale: float = 20.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        positive = all(0 < v < math.inf for v in (self.first, self.last, self.scale))
        if not positive or not 0 <= self.floor < math.inf:
            raise ValueError(f"got {self}; first, last and scale are positive, floor is not < 0")

    def sigma(self, u: Tensor) -> Tensor:
        """The noise on data and samples at u = t / T."""
        return self.first * torch.exp(u * math.log(self.last / self.first))

    def __call__(self, u: Tensor) -> Tensor:
        """The speed eta at u = t / T."""
        return self.scale * (self.sigma(u).square() + self.floor**2)


class MonoFlow(Field):
    r"""The field :math:`\eta(t) \, \nabla_x h(d(x, t))` of a critic d, started from any prior.

    `diffode.sample` takes Euler steps on the stages of a `CriticBank`, one evaluation each, and
    Heun's method for other critics.

    `diffode.log_prob` follows the flow in continuous time, for critics that declare themselves
    smooth. Samples that a bank makes in Euler steps follow another law, that of the maps
    :math:`x \mapsto x + (t_{k+1} - t_k) v_k(x)`: `diffode.likelihood.maps.euler_log_prob` is its
    density.

    Arguments:
        critic: d, see `diffode.fields.critics`.
        h: a name from `diffode.fields.divergences`, or a function with h' > 0.
        prior: the law of x at t = 0; `Normal()` if None.
        horizon: T; None is that of a bank, and 1 for other critics.
        event_shape: of one sample; None is the critic's own.
        rate: the speed :math:`\eta`, a number or a function of u = t / T such as `Mobility`.
        check: refuse an h that is not monotone.

    Raises:
        ValueError: an h, a horizon or a rate that does not fit.
        TypeError: neither the critic nor ``event_shape`` says what is moved.
    """

    def __init__(
        self,
        critic: nn.Module,
        h: str | Divergence | Elementwise = "logit",
        prior: Spherical | None = None,
        horizon: float | None = None,
        event_shape: Sequence[int] | None = None,
        rate: float | Callable[[Tensor], Tensor] = 1.0,
        check: bool = True,
    ) -> None:
        super().__init__()
        times = critic.times if isinstance(critic, CriticBank) else None
        end = times[-1] if times else 1.0
        if horizon is None:
            horizon = end
        if not 0 < horizon < math.inf or (times and not math.isclose(horizon, end)):
            wanted = f"the {end:g} of its bank" if times else "a positive finite time"
            raise ValueError(f"got horizon {horizon}; wanted {wanted}")
        if not callable(rate) and not 0 < rate < math.inf:
            raise ValueError(f"got rate {rate}; a rate is a positive finite number")
        shape = event_shape if event_shape is not None else getattr(critic, "event_shape", None)
        if shape is None:
            raise TypeError(f"{type(critic).__name__} states no event_shape; pass it")
        self.critic, self.rate = critic, rate
        self.h = get_divergence(h, check)
        self.prior, self.span = prior or Normal(), (0.0, float(horizon))
        self.event_shape = tuple(shape)
        self.smooth, self.classes = is_smooth(critic), getattr(critic, "classes", None)
        self.sampling_defaults = SamplingDefaults("euler", times) if times else None

    def potential(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """What samples climb, h(d(x, t)), shape (B,)."""
        x = self.as_state(x)
        d: Tensor = self.critic(x, as_time(t, x), as_labels(y, len(x)))
        return self.h.h(d.to(x.dtype))

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The rate of change of x at time t, the potential's gradient times the rate."""
        x = self.as_state(x)
        t = as_time(t, x)
        slope: Tensor = torch.func.grad(lambda z: self.potential(z, t, y).sum())(x)
        return expand_like(self.rate_at(t), x) * slope

    def rate_at(self, t: Tensor) -> Tensor:
        """The speed eta at time t, in float64, shape () or (B,)."""
        if callable(self.rate):
            return self.rate(t / self.span[1])
        return torch.full_like(t, self.rate)

    def _describe(self) -> list[str]:
        rate = self.rate if callable(self.rate) else f"{self.rate:g}"
        parts = [f"h {self.h.name}", f"rate {getattr(rate, '__name__', rate)}"]
        if isinstance(self.critic, CriticBank):
            parts.append(f"bank of {self.critic.stages} critics, {self.critic.size:,} weights")
        return parts
