r"""The exact field between two sets of points: the oracle of interpolants.

All pairs of a point of one set and a point of the other have a curve, and the law of
:math:`x_t` is a mixture over them. With :math:`m_{ij} = I(t, a_i, b_j)` and the weights

.. math:: w_{ij} \propto p_{ij} \exp(-|x - m_{ij}|^2 / 2 s^2), \qquad s^2 = \gamma^2 + h^2,

the velocity and the mean of the noise are

.. math:: f_t(x) = E_w[\partial_t m] + \frac{\gamma \dot\gamma}{s^2} (x - E_w[m]), \qquad
          E[z|x] = (x - E_w[m]) / s.

Reference: Albergo, Boffi and Vanden-Eijnden (2023), https://arxiv.org/abs/2303.08797, section 2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffode.doors import Numbers, as_count, as_labels, as_state, as_time, transformed
from diffode.fields.base import Start, expand_like
from diffode.fields.interpolant import Interpolant, InterpolantField, inner_times
from diffode.rng import Rng

_VALUES = 2**22  # numbers of a chunk of pairs that are held at once
_NEVER = -1e300  # the log-weight of a pair that there is not


class _Means(NamedTuple):
    """Of the pairs at each query: log-sum of the kernel (B,), means of m and its rate (B, N)."""

    log: Tensor
    point: Tensor
    rate: Tensor


class EmpiricalInterpolant(InterpolantField):
    r"""The exact field of an interpolant between two sets of points, each pair as likely.

    A call takes the pairs in chunks, in float64, so that memory does not grow with their number.

    A normal starting law is the one point 0 with gamma = t: ``EmpiricalInterpolant(x0,
    torch.zeros(1, N), Interpolant("linear", lambda t: t))`` is rectified flow.

    Arguments:
        x0: the data, at t = 0, shape (M0, \*event).
        x1: the points that flows start from, at t = 1, shape (M1, \*event).
        interpolant: curve and noise; with gamma = 0 and no bandwidth points move on lines without
            a density, and there is no field.
        bandwidth: h, the standard deviation of a Gaussian put on every curve, for all t: the two
            ends are then such kernel estimates. From .1 of the data's standard deviation on, usual
            solvers follow the flow; with .01 it takes hundreds of steps.
        labels0, labels1: a class for each point, shapes (M0,) and (M1,); then only points of the
            same class are pairs, and y selects those of its class.

    Raises:
        TypeError: points that are no real numbers, or labels for one set alone.
        ValueError: shapes that do not fit, a curve that does not end at its points, no noise and
            no bandwidth, or a class of the data that has no starting point.
    """

    x0: Tensor
    x1: Tensor
    labels0: Tensor | None
    labels1: Tensor | None

    def __init__(
        self,
        x0: Numbers,
        x1: Numbers,
        interpolant: Interpolant,
        bandwidth: float = 0.0,
        labels0: Numbers | None = None,
        labels1: Numbers | None = None,
    ) -> None:
        super().__init__(interpolant)
        x0 = as_state(x0, name="x0")
        x1 = as_state(x1, x0.shape[1:], "x1")
        if x0.ndim < 2:
            raise ValueError(f"got x0 of shape {tuple(x0.shape)}; wanted (M, *event)")
        for name, points in (("x0", x0), ("x1", x1)):
            if not bool(points.isfinite().all()):
                raise ValueError(f"got {name} with values that are not finite; drop those points")
        if not 0 <= bandwidth < math.inf:
            raise ValueError(f"got bandwidth {bandwidth}; wanted a finite number, 0 or more")
        if not bandwidth and not bool((interpolant.gamma(inner_times()) > 0).all()):
            raise ValueError(
                "got gamma = 0 and no bandwidth; pairs then move on lines and have no density: "
                "give a gamma that is positive between the ends, or a bandwidth, .1 of the data's "
                "standard deviation or more"
            )
        if (labels0 is None) != (labels1 is None):
            raise TypeError("got labels of one set; give labels0 and labels1, or neither")
        rows = torch.arange(max(len(x0), len(x1)))
        interpolant.require_ends(x0[rows % len(x0)].double(), x1[rows % len(x1)].double())
        self.event_shape, self.bandwidth, self.prior = tuple(x0.shape[1:]), float(bandwidth), None
        self.register_buffer("x0", x0.detach().double())
        self.register_buffer("x1", x1.detach().double())
        self.register_buffer("labels0", as_labels(labels0, len(x0)))
        self.register_buffer("labels1", as_labels(labels1, len(x1)))
        self.register_buffer("log_weights", self._weights())
        self.unconditional = labels0 is None

    log_weights: Tensor

    def _weights(self) -> Tensor:
        """The log-weight of each data point beside any of its partners, shape (M0,)."""
        total = torch.full((len(self.x0),), float(len(self.x1)), dtype=torch.float64)
        if self.labels0 is not None and self.labels1 is not None:
            total = (self.labels0[:, None] == self.labels1).sum(1).double()
            if not bool((total > 0).all()):
                lacking = int(self.labels0[total == 0][0])
                raise ValueError(f"label {lacking} has points in x0 and none in x1")
        return -total.to(self.x0.device).log() - math.log(len(self.x0))

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels of classes that the data have."""
        y = as_labels(y, rows)
        if y is None:
            return None
        if self.labels0 is None:
            raise ValueError("got labels y, but this field was built without labels")
        y = y.to(self.labels0.device)
        if not transformed() and not bool(torch.isin(y, self.labels0).all()):
            odd = int(y[~torch.isin(y, self.labels0)][0])
            raise ValueError(f"label {odd} has no points in this field")
        return y

    def spread(self, t: Tensor | float, like: Tensor) -> Tensor:
        r"""The standard deviation of the noise at time t, :math:`\sqrt{\gamma^2 + h^2}`."""
        return (self.interpolant.square(as_time(t, like))[0] + self.bandwidth**2).sqrt()

    @property
    def has_score(self) -> bool:
        """It has: gamma or the bandwidth is above 0."""
        return True

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The conditional mean rate of x at time t."""
        x = self.as_state(x)
        t = as_time(t, x)
        means = self._means(x, t, y)
        _, slope = self.interpolant.square(t)
        factor = expand_like(slope / self._variance(t, x), means.point)
        moved = means.rate + factor * (x.double().flatten(1) - means.point)
        return moved.view_as(x).to(x)

    def noise_part(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        r"""The conditional mean of the noise of unit size, shape (B, \*event)."""
        x = self.as_state(x)
        means, s = self._means(x, as_time(t, x), y), self.spread(t, x)
        noise = (x.double().flatten(1) - means.point) / expand_like(s, means.point)
        return noise.view_as(x).to(x)

    def log_marginal(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The log-density of x_t, given its class if labels are given, in nats, shape (B,)."""
        x = self.as_state(x)
        t, dim = as_time(t, x), x[0].numel()
        y = self.as_labels(y, len(x))
        log = self._means(x, t, y).log
        if y is not None:
            assert self.labels0 is not None
            log = log - (self.labels0[:, None] == y).double().mean(0).log()
        return (log - dim / 2 * (2 * math.pi * self._variance(t, x)).log()).to(x)

    def sample(
        self, n: int, rng: Rng, y: Numbers | int | None = None, t: float = 0.0, name: str = "pairs"
    ) -> Tensor:
        r"""Draw n points of the law at time t, or of that of each label, shape (n, \*event)."""
        n = as_count(n, "n")
        y = self.as_labels(y, n)
        i = self._picked(rng, f"{name}/x0", n, self.labels0, y)
        partner = None if self.labels0 is None else self.labels0[i]
        j = self._picked(rng, f"{name}/x1", n, self.labels1, partner)
        x0, x1 = self.x0[i], self.x1[j]
        at = torch.tensor(t, dtype=torch.float64, device=x0.device)
        z = rng.normal(f"{name}/z", x0.shape, torch.float64, x0.device)
        return self.interpolant.point(at, x0, x1) + self.spread(at, x0) * z

    def start(self, n: int, rng: Rng, y: Tensor | None = None) -> Start:
        """Draw n starting points: points of x1, with the noise and the bandwidth of that end."""
        return Start(self.sample(n, rng, y, t=1.0, name="prior").float(), self)

    def _picked(
        self, rng: Rng, name: str, n: int, labels: Tensor | None, y: Tensor | None
    ) -> Tensor:
        """The places of n points drawn evenly, each among those of its label."""
        u = rng.uniform(name, (n,), device=self.x0.device)
        count = len(self.x1 if name.endswith("x1") else self.x0)
        if labels is None or y is None:
            return (u * count).long()
        order, counts = labels.argsort(stable=True), labels.bincount(minlength=int(y.max()) + 1)
        first = counts.cumsum(0) - counts
        return order[first[y] + (u * counts[y]).long()]

    def _variance(self, t: Tensor, like: Tensor) -> Tensor:
        variance = self.spread(t, like).square()
        if not transformed() and not bool((variance > 0).all()):
            raise ValueError(
                "the noise of this interpolant is 0 at this time, where the law has no density; "
                "give a bandwidth, or stay between the ends"
            )
        return variance

    def _means(self, x: Tensor, t: Tensor, y: Tensor | None) -> _Means:
        """Sums over all pairs at each query, a time of its own for each where t is of (B,)."""
        y = self.as_labels(y, len(x))
        if t.ndim:
            rows = [
                self._means(x[i : i + 1], t[i], None if y is None else y[i : i + 1])
                for i in range(len(x))
            ]
            return _Means(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
        flat, variance = x.double().flatten(1), self._variance(t, x)
        width = len(self.x1) * (2 * flat.shape[1] + len(x))
        size = max(1, _VALUES // width)
        chunks = [
            self._chunk(flat, t, y, slice(i, i + size), variance)
            for i in range(0, len(self.x0), size)
        ]
        logs, points, rates = (torch.stack(parts) for parts in zip(*chunks, strict=True))
        share = torch.softmax(logs, 0)[..., None]
        return _Means(torch.logsumexp(logs, 0), (share * points).sum(0), (share * rates).sum(0))

    def _chunk(
        self, x: Tensor, t: Tensor, y: Tensor | None, rows: slice, variance: Tensor
    ) -> _Means:
        """Sums over the pairs of some data points with all starting points."""
        x0, count = self.x0[rows], len(self.x1)
        first, second = (
            x0.repeat_interleave(count, 0),
            self.x1.repeat(len(x0), *[1] * (x0.ndim - 1)),
        )
        m, rate = (v.flatten(1) for v in self.interpolant.rate(t, first, second))
        centre = m.mean(0)
        u, v = x - centre, m - centre
        squares = u.square().sum(1)[:, None] - 2 * (u @ v.T) + v.square().sum(1)
        logits = self.log_weights[rows].repeat_interleave(count) - squares / (2 * variance)
        if self.labels0 is not None and self.labels1 is not None:
            own = self.labels0[rows].repeat_interleave(count)
            none = own != self.labels1.repeat(len(x0))
            none = none if y is None else none | (own != y[:, None])
            logits = torch.where(none, torch.full_like(logits, _NEVER), logits)
        weights = torch.softmax(logits, 1)
        return _Means(torch.logsumexp(logits, 1), weights @ m, weights @ rate)
