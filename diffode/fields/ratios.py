r"""Exact critics: log-ratios in closed form, the oracles of the flows that learn theirs.

`ExactRatio` is the difference of two known log-densities, such as those of two `Mixture` fields.
`ExactClassifier` is the classifier of a field with labels.
`GaussianFlow` is the one case in which the law that a MonoFlow makes is known at every time:
between Gaussians with h(d) = d each axis keeps to a Gaussian,

.. math:: m_t = \mu + (m_0 - \mu) e^{-t / S^2}, \qquad
          s_t^2 = S^2 + (s_0^2 - S^2) e^{-2 t / S^2}, \qquad
          x_t = m_t + (x_0 - m_0) \, s_t / s_0,

the marginals of the Ornstein-Uhlenbeck process, that is of Langevin dynamics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from diffode.doors import as_state, as_time
from diffode.fields.base import expand_like
from diffode.fields.labelled import Labelled
from diffode.fields.tables import Tables
from diffode.priors import Normal, Spherical, is_normal, is_student


class Law(Protocol):
    """A law of x_t with a known log-density, as `Mixture` and `Empirical` are."""

    def log_marginal(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The log-density at each row of x and time t, in nats, shape (B,)."""
        ...


class Frozen(nn.Module):
    """A law that stands still at one of its times: ``Frozen(mixture, t)`` is x_t at any time.

    Arguments:
        law: the law that moves.
        time: the time at which it is taken.
    """

    def __init__(self, law: Law, time: float) -> None:
        super().__init__()
        self.law, self.time = law, float(time)

    def log_marginal(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The log-density at each row of x, whatever t, shape (B,)."""
        return self.law.log_marginal(x, self.time)


class ExactRatio(nn.Module):
    r"""The exact critic :math:`d(x, t) = \log p_t(x) - \log q_t(x)` of two known laws.

    Arguments:
        p: the data's law, with ``log_marginal(x, t)``, or a spherical law such as `Normal`.
        q: the samples' law, likewise.
        event_shape: of one sample; None is that of p or q.

    Raises:
        TypeError: no event_shape is given, and neither law states one.
    """

    smooth = True

    def __init__(
        self, p: Law | Spherical, q: Law | Spherical, event_shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        for law in (p, getattr(p, "law", None), q, getattr(q, "law", None)):
            if event_shape is None:
                event_shape = getattr(law, "event_shape", None)
        if event_shape is None:
            raise TypeError("neither law states an event_shape; pass it")
        self.p, self.q, self.event_shape = p, q, tuple(event_shape)

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The log-ratio at (x, t), shape (B,)."""
        x = as_state(x, self.event_shape)
        return _log(self.p, x, t) - _log(self.q, x, t)


class PotentialRatio(nn.Module):
    r"""The exact critic of potentials, for Student-t noise.

    It gives :math:`\log \Phi_p(x) - \log \Phi_q(x)`, see `Labelled.log_potential`, and beside it
    :math:`\log E_p[s^2 | x]` and :math:`\log E_q[s^2 | x]`, s the scale of the noise.

    Arguments:
        p: the law to guide to, on the same path as q.
        q: the law of the field that is guided.
    """

    smooth = potential = True

    def __init__(self, p: Labelled, q: Labelled) -> None:
        super().__init__()
        self.p, self.q, self.event_shape = p, q, tuple(p.event_shape)

    def forward(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The log-ratio (B,) at (x, t) and the logs of the mean squared scales (B, 2)."""
        of_p, of_q = (law.log_potential(x, t) for law in (self.p, self.q))
        squares = of_p - self.p.log_marginal(x, t), of_q - self.q.log_marginal(x, t)
        return of_p - of_q, torch.stack(squares, 1)


class ExactClassifier(nn.Module):
    r"""The exact classifier of a field with labels, for `classifier_guided`.

    It tells the logarithms of :math:`w_y p_y(x)`, the densities of the classes with their weights.
    For Student-t noise those are potentials, and beside them stands :math:`\log E[s^2 | x, y]`, s
    the scale of the noise, for each class.

    Arguments:
        law: an exact field with labels, `Empirical` or, for normal noise, `Mixture`; its schedule
            does not matter.

    Raises:
        ValueError: a field without labels, or a label without points.
        TypeError: a field that is not exact, noise that is neither normal nor Student-t, or a
            Mixture under Student-t noise, whose potential is not known.
    """

    smooth = True

    def __init__(self, law: Labelled) -> None:
        super().__init__()
        if not isinstance(law, Labelled):
            raise TypeError(
                f"got a {type(law).__name__}; wanted an exact field with labels, an Empirical or "
                "a Mixture; of a PoissonField its .inner"
            )
        if not (is_normal(law.noise) or is_student(law.noise)):
            raise TypeError(f"the noise is {law.noise}; wanted Normal or StudentT")
        if law.decay is not None:
            raise TypeError(f"got a law with {law.decay}; wanted one without blur")
        if not is_normal(law.noise):
            law.log_potential(law.mean[None].double(), law.span[0])  # refused where not known
        self.law, self.noise, self.event_shape = law, law.noise, tuple(law.event_shape)
        self.classes, self.scaling = len(law.class_log_weights), law.scaling

    def forward(self, u: Tensor, rho: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The logits (B, K) at u = x / alpha and rho = sigma / alpha; for Student-t a pair."""
        u = as_state(u, self.event_shape).double()
        t = self.law.schedule.time(rho.double())
        alpha = self.law.schedule.alpha(t)
        x = expand_like(alpha, u) * u
        log_p = self._of_each(self.law.log_marginal, x, t)
        if is_normal(self.noise):
            return log_p
        log_potential = self._of_each(self.law.log_potential, x, t)
        return log_potential, log_potential - log_p - 2 * alpha.log()[:, None]

    def _of_each(self, log: Callable[..., Tensor], x: Tensor, t: Tensor) -> Tensor:
        """A logarithm of each class with the class's weight, shape (B, K)."""
        logs = torch.stack([log(x, t, k) for k in range(self.classes)], 1)
        return logs + self.law.class_log_weights.to(logs)


class GaussianFlow(Tables):
    r"""The law of the logit MonoFlow from a normal prior to :math:`N(\mu, \mathrm{diag}\, S^2)`.

    Arguments:
        mean: :math:`\mu`, shape (\*event).
        std: S on each axis, shape (\*event).
        prior: the law at t = 0, :math:`N(m_0, s_0^2)`.

    Raises:
        ValueError: shapes that differ, or a standard deviation that is not positive.
    """

    mean: Tensor
    std: Tensor
    start: Tensor

    def __init__(self, mean: Tensor, std: Tensor, prior: Normal | None = None) -> None:
        super().__init__()
        mean, std = as_state(mean, name="mean"), as_state(std, name="std")
        if mean.shape != std.shape or not bool((std > 0).all()):
            raise ValueError(
                f"got mean of shape {tuple(mean.shape)} and std of shape {tuple(std.shape)}; "
                "wanted one shape, and every std > 0"
            )
        self.prior = prior or Normal()
        start = torch.as_tensor(self.prior.loc, dtype=torch.float64).expand(mean.shape)
        self.register_buffer("mean", mean.double())
        self.register_buffer("std", std.double())
        self.register_buffer("start", start.clone())
        self.event_shape = tuple(mean.shape)

    def law(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the standard deviation at time t, to broadcast with ``like``."""
        t = expand_like(as_time(t, like), like.double())
        variance = self.std.square()
        decay = torch.exp(-t / variance)
        spread = variance + (self.prior.scale**2 - variance) * decay.square()
        return self.mean + (self.start - self.mean) * decay, spread.sqrt()

    def log_marginal(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The log-density of x_t at each row of x, in nats, shape (B,)."""
        x = as_state(x, self.event_shape)
        return _log_normal(x, *self.law(t, x))

    def move(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Where points x of the prior are at time t."""
        x = as_state(x, self.event_shape)
        mean, std = self.law(t, x)
        return (mean + (x.double() - self.start) * std / self.prior.scale).to(x)

    def ratio(self) -> ExactRatio:
        """The exact critic of the flow."""
        return ExactRatio(_Target(self), self, self.event_shape)


class _Target(nn.Module):
    """Where a Gaussian flow ends."""

    def __init__(self, flow: GaussianFlow) -> None:
        super().__init__()
        self.flow = flow

    def log_marginal(self, x: Tensor, t: Tensor | float) -> Tensor:
        return _log_normal(x, self.flow.mean, self.flow.std)


def _log_normal(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    z = (x.double() - mean) / std
    each = -z.square() / 2 - std.log() - math.log(2 * math.pi) / 2
    return each.flatten(1).sum(1).to(x.dtype)


def _log(law: Law | Spherical, x: Tensor, t: Tensor | float) -> Tensor:
    return law.log_prob(x) if isinstance(law, Spherical) else law.log_marginal(x, t)
