"""A field as a solver sees it: labels bound, evaluations counted, its times known beforehand."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple, Self

from torch import Tensor

from diffode.fields.affine import AffineField, PosteriorAt
from diffode.fields.along import posterior_along
from diffode.fields.base import Field, expand_like
from diffode.fields.corruption import Corrupting
from diffode.fields.flowmap import jumped
from diffode.fields.interpolant import InterpolantField
from diffode.rng import Rng


class Level(NamedTuple):
    """A noise level: alpha and sigma."""

    alpha: float
    sigma: float

    @property
    def rho(self) -> float:
        """The noise-to-signal ratio, infinite where alpha is 0."""
        return self.sigma / self.alpha if self.alpha else math.inf


class CountedField:
    """A field seen by a solver: labels bound, evaluations counted.

    Attributes:
        times: of the solve, if they are known beforehand.
        to_zero_noise: whether the last step shall end at the data itself, where sigma is 0.
        end_only: whether no state but the last is looked at, so that a solver need not finish the
            others.
        nfe: evaluations so far.
        network_calls: calls of the network in them.
        nfe_per_row, status: set by a solver whose rows may stop, each of shape (B,).
        at: the time that each row is at, in the clock integrated in, shape (B,): set before a
            state is yielded by a solver whose rows may have stopped; None where all are at the
            time asked for.
    """

    end_only = False
    nfe_per_row: Tensor | None = None
    status: Tensor | None = None
    at: Tensor | None = None

    def __init__(
        self,
        field: Field,
        y: Tensor | None,
        to_zero_noise: bool = False,
        times: Tensor | None = None,
    ) -> None:
        self.field, self.y, self.to_zero_noise, self.times = field, y, to_zero_noise, times
        self.nfe = self.network_calls = 0
        self._along: PosteriorAt | None = None
        self._x0: Tensor | None = None
        self._moved: tuple[Tensor, Tensor, Tensor] | None = None
        self._calls: list[int] = []

    def rows(self, index: Tensor) -> CountedField:
        """The same for these rows of the batch, counting anew."""
        return CountedField(self.field.rows(index), None if self.y is None else self.y[index])

    def counting_on(self, other: CountedField) -> Self:
        """Itself, with the counts of another."""
        self.nfe, self.network_calls = other.nfe, other.network_calls
        return self

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """The field's velocity: one evaluation.

        Raises:
            ValueError: one of another shape, which torch might stretch to that of x.
        """
        self._count(t)
        rate = self.field.velocity(x, t, self.y)
        self._require_shape("velocity", rate, x)
        self._moved = x, t, rate
        return rate

    def posterior(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The field's conditional means of data and noise: one evaluation."""
        assert isinstance(self.field, AffineField)  # by Solver.check
        self._count(t)
        means = self.field.posterior(x, t, self.y)
        self._require_shape("E[x_0 | x]", means[0], x)
        self._x0, self._moved = means[0], None
        return means

    def guess(self, x: Tensor, t: Tensor, rng: Rng) -> Tensor:
        """A corruption's guess of the data: one evaluation."""
        assert isinstance(self.field, Corrupting)  # by Solver.check
        self._count(t)
        return self.field.guess(x, t, rng, self.y)

    def posterior_at(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The same at the k-th of the times, for which much is computed beforehand."""
        if self._along is None:
            assert isinstance(self.field, AffineField) and self.times is not None
            self._along = posterior_along(self.field, self.times, x)
            self._calls = [self.field.calls_at(t) for t in self.times]
        self.nfe += 1
        self.network_calls += self._calls[k]
        means = self._along(k, x, self.y)
        self._require_shape("E[x_0 | x]", means[0], x)
        self._x0, self._moved = means[0], None
        return means

    def jump(self, x: Tensor, s: Tensor, t: Tensor | None) -> Tensor:
        """Where a flow map takes x of time s at time t, for None at the data: one evaluation."""
        self._count(s)
        self._x0 = self._moved = None
        return jumped(self.field, x, s, t, self.y)

    def noise_part(self, x: Tensor, t: Tensor) -> Tensor:
        """An interpolant's conditional mean of the noise: one evaluation."""
        assert isinstance(self.field, InterpolantField)  # by Solver.check
        self._count(t)
        return self.field.noise_part(x, t, self.y)

    def denoised(self) -> Tensor | None:
        r"""E[x_0 | x] by the latest evaluation, at no other; None where it states none.

        A velocity :math:`\dot\alpha x_0 + \dot\sigma n` at :math:`x = \alpha x_0 + \sigma n`
        states it.
        """
        if self.nfe_per_row is not None:  # rows apart are evaluated apart
            return None
        if self._moved is None or not isinstance(self.field, AffineField):
            return self._x0
        x, t, rate = self._moved
        alpha, sigma, d_alpha, d_sigma = (expand_like(r, x) for r in self.field.rates(t, x))
        return (d_sigma * x - sigma * rate) / (alpha * d_sigma - sigma * d_alpha)

    @cached_property
    def levels(self) -> list[Level]:
        """The noise level at each of the times, no evaluation."""
        assert isinstance(self.field, AffineField) and self.times is not None
        alpha, sigma = (v.tolist() for v in self.field.level(self.times, self.times))
        return [Level(*pair) for pair in zip(alpha, sigma, strict=True)]

    @property
    def factors(self) -> list[tuple[float | Tensor, float]]:
        """Alpha and sigma at each of the times; alpha (1, *event) where it is per coordinate."""
        assert isinstance(self.field, AffineField) and self.times is not None
        if self.field.decay is None:
            return [(level.alpha, level.sigma) for level in self.levels]
        alpha, sigma = self.field.level(self.times, self.times)
        return [(a[None], s) for a, s in zip(alpha, sigma.tolist(), strict=True)]

    def _require_shape(self, what: str, value: Tensor, x: Tensor) -> None:
        if getattr(value, "shape", None) != x.shape:
            got = tuple(getattr(value, "shape", ())) or type(value).__name__
            name = type(self.field).__name__
            raise ValueError(
                f"the {what} of {name} is of shape {got}; wanted that of x, {tuple(x.shape)}"
            )

    def _count(self, t: Tensor) -> None:
        self.nfe += 1
        self.network_calls += self.field.calls_at(t)

    def level(self, t: Tensor) -> Level:
        """The noise level at time t, no evaluation."""
        assert isinstance(self.field, AffineField)
        alpha, sigma = self.field.level(t, t)
        return Level(float(alpha), float(sigma))
