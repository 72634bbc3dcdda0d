"""The points of a field and the change of their log-density, as one field that solvers move."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from diffode.fields.base import Field
from diffode.fields.reschedule import Rescheduled, rescheduled
from diffode.likelihood.divergence import Probes, products, trace
from diffode.likelihood.products import Known
from diffode.solvers.grids import grid


class Transport(Field):
    r"""A field's points together with the integral of its divergence along their way.

    A state is the N coordinates of a point and one integral for each probe (a single one for the
    exact trace), shape (B, N + K):

    .. math:: \frac{d}{dt} (x, \ell_1, \dots, \ell_K) = (f_t(x), d_1, \dots, d_K), \qquad
              E[d_k] = \nabla \cdot f_t(x).

    Arguments:
        field: the field, its rows treated apart.
        probes: the directions of an estimate, fixed for the whole way; None is the exact trace.
        clock: the time and state to integrate in, see `diffode.fields.rescheduled`.
        known: the way that the products of its divergence take, shared with those made of it.
    """

    prior = None

    def __init__(
        self,
        field: Field,
        probes: Probes | None,
        clock: str = "native",
        known: Known | None = None,
    ) -> None:
        super().__init__()
        self.known = known or Known()
        self.field, self.clock, self.probes = field, clock, probes
        self.rescheduled = rescheduled(field, clock)
        self.moved = self.rescheduled if self.rescheduled is not field else None
        self.span = self.rescheduled.span
        self.dim = torch.Size(field.event_shape).numel()
        self.event_shape = (self.dim + (1 if probes is None else probes.test.shape[1]),)

    def estimated(self, probes: Probes) -> Transport:
        """The same with the divergence estimated from these directions."""
        return Transport(self.field, probes, self.clock, self.known)

    def rows(self, index: Tensor) -> Transport:
        """The same for these rows of the batch."""
        probes = None if self.probes is None else self.probes.rows(index)
        return Transport(self.field.rows(index), probes, self.clock, self.known)

    def times(self, steps: int) -> Tensor:
        """Times from t_data to t_prior, equal steps in the clock."""
        return grid(self.rescheduled, steps).flip(0)

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The velocity of the points, and the estimates of its divergence."""
        d = trace(partial(self._velocity, t, y), self._points(x), self.probes, self.known)
        return torch.cat((d.velocity.flatten(1), d.estimates), dim=1)

    def pulled(self, sketch: Tensor, x: Tensor, times: Tensor, y: Tensor | None = None) -> Tensor:
        r"""The integrated Jacobian's products, :math:`\int A^\top dt \, S`, shape (B, R, N).

        One range for the whole way keeps the integrand smooth, and the integral is what is wanted.
        Euler steps along ``times`` find it: their error costs variance, never bias.

        Arguments:
            sketch: the directions S, shape (B, R, N).
            x: points at t_data, shape (B, *event).
            times: from t_data to t_prior.
            y: labels, shape (B,).
        """
        points, total = self._points(self.to_state(x)), torch.zeros_like(sketch)
        for t, t_next in pairwise(times):
            h = (t_next - t).item()
            v, pulled = products(partial(self._velocity, t, y), points, sketch, self.known)
            points, total = points + h * v, total + h * pulled
        return total

    def to_state(self, x: Tensor) -> Tensor:
        """The state of points at t_data."""
        if isinstance(self.moved, Rescheduled):
            x = self.moved.to_state(x, self.field.span[1])
        return torch.cat((x.flatten(1), x.new_zeros(len(x), self.event_shape[0] - self.dim)), 1)

    def from_state(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The points at t_prior, and log p(x at t_data) - log p(x at t_prior), shape (B, K)."""
        x, change = self._points(state), state[:, self.dim :]
        if isinstance(self.moved, Rescheduled):
            x = self.moved.from_state(x, self.span[0])
            ends = torch.tensor(self.field.span, dtype=torch.float64)
            first, last = self.moved.factor(ends).log().tolist()
            change = change + self.dim * (last - first)
        return x, change

    def _velocity(self, t: Tensor | float, y: Tensor | None, x: Tensor) -> Tensor:
        return self.rescheduled.velocity(x, t, y)

    def _points(self, state: Tensor) -> Tensor:
        return state[:, : self.dim].reshape(-1, *self.field.event_shape)
