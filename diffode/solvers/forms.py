r"""Forms of an affine flow, and the weights of multistep methods in them.

Each form is one flow in another state S and time tau, its slope a combination of the two
conditional means :math:`\hat x = E[x_0|x]` and :math:`\hat n = E[n|x]`:

=========  ===================================================  =============  ===================
form       state                                                time           slope
=========  ===================================================  =============  ===================
noise      :math:`x/\alpha`                                     :math:`\rho`   :math:`\hat n`
data       :math:`x/\sigma`                                     :math:`1/\rho` :math:`\hat x`
velocity   :math:`x`                                            :math:`t`      :math:`\dot\alpha
                                                                               \hat x + \dot\sigma
                                                                               \hat n`
trig       :math:`(x-\alpha m)/\sqrt{\alpha^2 s^2+\sigma^2}`    :math:`\theta` :math:`\cos\theta\,
                                                                               \hat n - \sin\theta
                                                                               (\hat x - m)/s`
=========  ===================================================  =============  ===================

with :math:`\rho = \sigma / \alpha` and :math:`\tan\theta = \rho / s`. A multistep method passes a
polynomial in a variable u(tau) through the slopes at some nodes and integrates it exactly; its
weights are numbers that depend on the times alone.

References: Lu et al. (2022), https://arxiv.org/abs/2206.00927 (noise form, log rho); Lu et al.
(2022), https://arxiv.org/abs/2211.01095 (data form); Zhang and Chen (2023),
https://arxiv.org/abs/2204.13902 (polynomials in time).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from diffode.fields.schedules import Schedule
from diffode.solvers.mixed import Mixed

Form = Literal["noise", "data", "velocity", "trig"]
Variable = Literal["time", "rho", "logsnr", "fraction", "grid"]
Array = Any  # numpy float64, shape (K + 1,) for shared times and (K + 1, B) for times of each row

GAUSS = np.polynomial.legendre.leggauss(32)


@dataclass(frozen=True)
class Nodes:
    """The times of a solve as a form sees them; arrays of shape (K + 1,) or (K + 1, B).

    Attributes:
        time: the field's own.
        alpha, sigma: the noise level at each.
        std: s, the data's standard deviation.
        schedule: alpha and sigma as functions, between these times.
        form: the form.
        variable: the variable u of the polynomials.
        scale: c of the variable "fraction", rho / (c + rho).
        warp: what the variable "grid" is.
        bounded: whether it stays what it is at the grid's first rho beyond it.
    """

    time: Array
    alpha: Array
    sigma: Array
    std: float
    schedule: Schedule
    form: Form
    variable: Variable
    scale: float = 1.0
    warp: Mixed | None = None
    bounded: bool = True

    @property
    def size(self) -> Array:
        """The factor of the state S in x: x = size S, and + alpha m in the form "trig"."""
        if self.form == "trig":
            return np.hypot(self.alpha * self.std, self.sigma)
        return {"noise": self.alpha, "data": self.sigma, "velocity": np.ones_like(self.alpha)}[
            self.form
        ]

    @property
    def rho(self) -> Array:
        """The level by which the polynomials' variable goes."""
        with np.errstate(divide="ignore"):
            return self.sigma / self.alpha

    @property
    def known(self) -> Array:
        """The polynomials' variable at the times."""
        return self.u(self.clock)

    @property
    def slope(self) -> tuple[Array, Array]:
        """The factors of E[x_0 | x] and E[n | x] in the slope."""
        zero, one = np.zeros_like(self.alpha), np.ones_like(self.alpha)
        if self.form == "trig":
            h = self.size
            return -self.sigma / (h * self.std), self.alpha * self.std / h
        if self.form == "velocity":
            rates = self.schedule.rates(torch.from_numpy(self.time))
            return rates[2].numpy(), rates[3].numpy()
        return (zero, one) if self.form == "noise" else (one, zero)

    @property
    def tau(self) -> Array:
        """The form's own time."""
        with np.errstate(divide="ignore"):
            if self.form == "noise":
                return self.sigma / self.alpha
            return self.alpha / self.sigma if self.form == "data" else self.clock

    @property
    def clock(self) -> Array:
        """The integration variable v of the quadrature: log rho, the angle, or t."""
        if self.form == "velocity":
            return self.time
        if self.form == "trig":
            return np.arctan2(self.sigma, self.alpha * self.std)
        with np.errstate(divide="ignore"):
            return np.log(self.sigma) - np.log(self.alpha)

    def measure(self, v: Array) -> Array:
        """The rate d tau / d v at v, see `clock`."""
        if self.form == "noise":
            return np.exp(v)
        return -np.exp(-v) if self.form == "data" else np.ones_like(v)

    def u(self, v: Array) -> Array:
        """The polynomials' variable at v."""
        if self.form == "velocity" and self.variable == "time":
            return v
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.form == "velocity":
                rho = self.schedule.rho(torch.from_numpy(v)).numpy()
            else:
                rho = self.std * np.tan(v) if self.form == "trig" else np.exp(v)
            if self.variable == "rho":
                return rho
            if self.variable == "logsnr":
                return np.log(rho)
            if self.variable == "fraction":
                return 1 / (1 + self.scale / rho)
            if self.variable == "grid":
                assert self.warp is not None
                most = self.warp.rho_max if self.bounded else math.inf
                return self.warp.warp(torch.from_numpy(rho).clamp(max=most)).numpy()
        return self.schedule.time(torch.from_numpy(rho)).numpy()

    def quadrature(self, first: Array) -> tuple[Array, Array]:
        """The variable where steps from these indices are integrated, and the weights there."""
        at, half = quadrature(self, first)
        return self.u(at), self.measure(at) * half[..., None] * GAUSS[1]


def interpolatory(nodes: Nodes, points: Array, first: Array) -> Array:
    r"""The weights of slopes in a step: :math:`w_j = \int \ell_j(u(\tau)) \, d\tau`.

    Arguments:
        nodes: the times.
        points: indices of the slopes used by each step, shape (steps, order).
        first: the index where each step begins, shape (steps,); it ends at the next.

    Returns:
        The weights, shape (steps, order) or (steps, order, B).
    """
    if points.shape[1] == 1:
        return (nodes.tau[first + 1] - nodes.tau[first])[:, None]
    (u, scale), known = nodes.quadrature(first), nodes.known
    weights = []
    for j in range(points.shape[1]):
        basis = scale
        for i in range(points.shape[1]):
            if i != j:
                zero, one = known[points[:, i]][..., None], known[points[:, j]][..., None]
                basis = basis * (u - zero) / (one - zero)
        weights.append(basis.sum(-1))
    return np.stack(weights, 1)


def quadrature(nodes: Nodes, first: Array) -> tuple[Array, Array]:
    """Where the steps from these indices are integrated, and half their lengths."""
    a, b = nodes.clock[first], nodes.clock[first + 1]
    half = (b - a) / 2
    return (a + half)[..., None] + half[..., None] * GAUSS[0], half


@dataclass(frozen=True)
class NodesByValue:
    """Nodes as the key of a cache: two are equal if all numbers that weights are made of are.

    So a schedule that was changed after its use gets weights of its own.

    Attributes:
        values: those numbers, as bytes.
        nodes: the nodes themselves.
    """

    values: tuple[bytes, ...]
    nodes: Nodes = field(compare=False)

    @classmethod
    def of(cls, nodes: Nodes) -> NodesByValue:
        """The key of these nodes."""
        warp = () if nodes.warp is None else astuple(nodes.warp)
        numbers = np.array([nodes.std, nodes.scale, *warp])
        arrays: tuple[Array, ...] = nodes.time, nodes.alpha, nodes.sigma, numbers
        if nodes.form == "velocity" or nodes.variable == "time":  # these ask the schedule more
            with np.errstate(invalid="ignore"):
                at, _ = quadrature(nodes, np.arange(len(nodes.time) - 1))
                arrays = *arrays, *nodes.slope, nodes.u(at), nodes.known
        return cls(tuple(a.tobytes() for a in arrays), nodes)


def contraction(nodes: Nodes) -> Array:
    r"""The rate :math:`d \log z / d\theta = \cot\theta` of a cloud that shrinks to one point."""
    return nodes.alpha * nodes.std / nodes.sigma
