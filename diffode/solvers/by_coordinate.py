r"""Multistep methods where every coordinate has a noise level of its own.

The forms of `diffode.solvers.forms` hold for each coordinate k with its :math:`\alpha_k`. What all
coordinates share is the variable of the polynomials: that of the scalar schedule. In its own
variable a coordinate of high frequency stands still while its E[x_0|x] moves with that of the
others: the nodes of its polynomial coincide, and its weights have no bound. So

.. math:: w_{kj} = \int \ell_j(u(v)) \, \frac{d\tau_k}{dv} \, dv, \qquad
          v = \arctan(\rho / s),

with :math:`\rho` of the scalar schedule, which is finite at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.decay import Decay
from diffode.solvers.coefficients import Correction, MultistepRule, StepCoefficients, Update, table
from diffode.solvers.forms import GAUSS, Array, Nodes, quadrature

Value = TypeVar("Value", Tensor, Tensor | None)


@dataclass(frozen=True)
class CoordinateNodes:
    """What a solve's nodes have beside those of the scalar schedule.

    Attributes:
        decay: the factors of each coordinate.
        shape: of the factors of one time, with 1 in the place of axes that share them.
        scalar: the nodes of the scalar schedule in the angle.
    """

    decay: Decay
    shape: tuple[int, ...]
    scalar: Nodes


@dataclass(frozen=True)
class ByCoordinate(Nodes):
    """Nodes with alpha and sigma of shape (K + 1, n) for n coordinates."""

    own: CoordinateNodes | None = None

    @property
    def rho(self) -> Array:
        """That of the scalar schedule."""
        return self._own.scalar.rho

    @property
    def known(self) -> Array:
        """The polynomials' variable at the times, shape (K + 1, 1)."""
        return self._own.scalar.known[:, None]

    @property
    def slope(self) -> tuple[Array, Array]:
        """The factors of E[x_0 | x] and E[n | x] in the slope."""
        if self.form != "velocity":
            return super().slope
        _, _, d_alpha, d_sigma = self._rates(torch.from_numpy(self.time))
        return d_alpha, d_sigma + np.zeros_like(d_alpha)

    @property
    def tau(self) -> Array:
        """The form's own time."""
        if self.form == "velocity":
            return self.time[:, None] + np.zeros_like(self.alpha)
        return super().tau

    def quadrature(self, first: Array) -> tuple[Array, Array]:
        """The variable, shape (steps, 1, 32), and the weights, shape (steps, n, 32)."""
        scalar, s = self._own.scalar, self.std
        at, half = quadrature(scalar, first)
        t = self.schedule.time(s * torch.from_numpy(at).tan()).flatten()
        a, b, d_a, d_b = (v.numpy()[:, None] for v in self.schedule.rates(t))
        turn = s * (d_b * a - b * d_a) / ((s * a) ** 2 + b**2)  # dv / dt
        alpha, sigma, d_alpha, d_sigma = self._rates(t)
        fall = d_sigma * alpha - sigma * d_alpha
        if self.form == "trig":
            rate = s * fall / ((s * alpha) ** 2 + sigma**2)
        elif self.form == "noise":
            rate = fall / alpha**2
        else:
            rate = -fall / sigma**2 if self.form == "data" else np.ones_like(fall)
        rate = (rate / turn).reshape(*at.shape, -1).swapaxes(1, 2)
        return scalar.u(at)[:, None], rate * (half[:, None] * GAUSS[1])[:, None]

    def shaped(self, step: StepCoefficients) -> StepCoefficients:
        """A step whose numbers multiply points, and that freezes a row as a whole."""
        freeze = step.freeze_threshold
        return StepCoefficients(
            self._shaped(step.x0),
            self._shaped(step.n),
            self._corrected(step.correct),
            self._updated(step.go),
            (self._shaped(step.level[0]), self._shaped(step.level[1])),
            None if freeze is None else freeze.min(),
            self._updated(step.onwards),
        )

    def _updated(self, to: Update | None) -> Update | None:
        if to is None:
            return None
        weights = [self._shaped(w) for w in to.weights]
        return Update(self._shaped(to.keep), self._shaped(to.mean), weights)

    def _corrected(self, by: Correction | None) -> Correction | None:
        if by is None:
            return None
        weights = [self._shaped(w) for w in by.weights]
        return Correction(self._shaped(by.mean), weights, self._shaped(by.fraction))

    def _shaped(self, value: Value) -> Value:
        return value if value is None else value.reshape(1, *self._own.shape)

    def _rates(self, t: Tensor) -> tuple[Array, ...]:
        alpha, sigma, d_alpha, d_sigma = self._own.decay.rates(self.schedule, t)
        signal = (alpha.flatten(1).numpy(), d_alpha.flatten(1).numpy())
        return signal[0], sigma.numpy()[:, None], signal[1], d_sigma.numpy()[:, None]

    @property
    def _own(self) -> CoordinateNodes:
        assert self.own is not None
        return self.own


def by_coordinate(nodes: Nodes, field: AffineField, to_zero_noise: bool) -> Nodes:
    """The nodes of a field with a factor for each coordinate, from those of its schedule."""
    assert field.decay is not None
    t = torch.from_numpy(nodes.time)
    alpha, sigma = (v.numpy() for v in field.level(t, t))
    shape = alpha.shape[1:]
    alpha = alpha.reshape(len(t), -1).copy()
    sigma = sigma[:, None] + np.zeros_like(alpha)
    alpha[alpha < 1e-9 * sigma] = 0.0
    if to_zero_noise:
        alpha[-1], sigma[-1] = 1.0, 0.0
    own = CoordinateNodes(field.decay, shape, replace(nodes, form="trig"))
    kept = {k: v for k, v in vars(nodes).items() if k not in ("alpha", "sigma")}
    return ByCoordinate(alpha=alpha, sigma=sigma, own=own, **kept)


@torch.inference_mode(False)
def coordinate_steps(
    rule: MultistepRule, nodes: ByCoordinate, like: Tensor
) -> list[StepCoefficients]:
    """The steps of a rule for points like these."""
    return [nodes.shaped(step).to(like) for step in table(rule, nodes)]
