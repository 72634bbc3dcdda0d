r"""Linear maps of events with their adjoints, and what conditioning on them takes.

A `LinearOperator` maps events to what is observed of them, row by row, and has an adjoint,
:math:`\langle H x, y \rangle = \langle x, H^\top y \rangle`. Conditioning needs one thing more,
:math:`(r^2 H H^\top + s^2)^{-1} z` for many r: a `Gram` has the eigenvalues of :math:`H H^\top`,
found once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffode.doors import as_state, unwritten
from diffode.fields.tables import Tables

_MOST = 4096  # observed numbers whose H H^T is taken apart as a matrix


class Gram(Tables):
    r"""The matrix :math:`H H^\top = U \Lambda U^\top` on what an operator observes.

    Arguments:
        values: the eigenvalues, m numbers, in the shape in which U has its factors.
        columns: the factor of U on the last axis; None for the identity.
        rows: the factor of U on the axis before it; None for the identity.
    """

    values: Tensor
    columns: Tensor | None
    rows: Tensor | None

    def __init__(
        self, values: Tensor, columns: Tensor | None = None, rows: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("values", values.clamp_min(0))
        self.register_buffer("columns", columns)
        self.register_buffer("rows", rows)

    def solve(self, z: Tensor, variance: Tensor, noise: float) -> Tensor:
        r"""The solution of :math:`(r^2 H H^\top + s^2) q = z`, shape (B, \*observed), float64.

        Arguments:
            z: the right-hand side, shape (B, \*observed).
            variance: :math:`r^2`, shape () or (B,).
            noise: s > 0.
        """
        q = self._turned(z) / self._total(variance, noise)
        q = q if self.rows is None else self.rows @ q
        return (q if self.columns is None else q @ self.columns.mT).view_as(z)

    def log_density(self, z: Tensor, variance: Tensor, noise: float) -> Tensor:
        r"""The log-density of :math:`N(0, r^2 H H^\top + s^2)` at z in nats, shape (B,), float64.

        Arguments:
            z, variance, noise: as for `solve`.
        """
        total = self._total(variance, noise)
        terms = self._turned(z).square() / total + (2 * math.pi * total).log()
        return -terms.flatten(1).sum(1) / 2

    def scaled(self, factor: float) -> Gram:
        """The same of an operator that is so many times as large."""
        return Gram(factor**2 * self.values, self.columns, self.rows)

    def _turned(self, z: Tensor) -> Tensor:
        """The coordinates of z on the eigenvectors."""
        z = z.double().reshape(-1, *self.values.shape)
        z = z if self.columns is None else z @ self.columns
        return z if self.rows is None else self.rows.mT @ z

    def _total(self, variance: Tensor, noise: float) -> Tensor:
        r2 = variance.reshape(-1, *[1] * self.values.ndim)
        return r2 * self.values + noise**2


class LinearOperator(Tables):
    r"""A linear map H of events, row by row; a subclass writes ``image`` and ``pulled``.

    It is called with x of shape (B, \*event) and answers (B, \*observed) in the type of x.

    Arguments:
        name: what it is, in a word or two.
        event_shape, observed_shape: of one point, and of what is observed of it.
        apart: whether each coordinate is in one observed number at most, so that
            :math:`H H^\top` is diagonal.
    """

    _place: Tensor

    def __init__(
        self,
        name: str,
        event_shape: Sequence[int],
        observed_shape: Sequence[int],
        apart: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.apart = name, apart
        self.event_shape, self.observed_shape = tuple(event_shape), tuple(observed_shape)
        self.register_buffer("_place", torch.empty(0), persistent=False)

    @property
    def count(self) -> int:
        """The number m of observed numbers."""
        return math.prod(self.observed_shape)

    def forward(self, x: Tensor) -> Tensor:
        r"""What is observed of points x (B, \*event), shape (B, \*observed)."""
        return self.image(as_state(x, self.event_shape))

    def adjoint(self, y: Tensor) -> Tensor:
        r"""The points :math:`H^\top y`, shape (B, \*event), of y (B, \*observed)."""
        return self.pulled(as_state(y, self.observed_shape, "y"))

    def image(self, x: Tensor) -> Tensor:
        """H x, for x of the right shape."""
        raise unwritten(self, "image")

    def pulled(self, y: Tensor) -> Tensor:
        """The adjoint's value, for y of the right shape."""
        raise unwritten(self, "pulled")

    @torch.no_grad()
    def rows(self) -> Tensor:
        r"""The rows of H as points, shape (m, \*event), float64."""
        one = torch.eye(self.count, dtype=torch.float64, device=self._place.device)
        return self.adjoint(one.view(-1, *self.observed_shape))

    def gram(self) -> Gram:
        r"""The eigenvalues and eigenvectors of :math:`H H^\top`.

        Raises:
            ValueError: too many observed numbers, where no structure of it is known.
        """
        if self.apart:
            one = torch.ones(1, *self.observed_shape, device=self._place.device).double()
            return Gram(self(self.adjoint(one))[0])
        if self.count > _MOST:
            raise ValueError(
                f"got an operator with {self.count} observed numbers; H H^T is taken apart for "
                f"{_MOST} at most, unless it is a mask, block means or a blur"
            )
        h = self.rows().flatten(1)
        return Gram(*torch.linalg.eigh(h @ h.mT))

    def scaled(self, width: Tensor) -> LinearOperator:
        r"""The operator :math:`u \mapsto H (w u)`, w of a shape that broadcasts with an event."""
        return _Scaled(self, width)

    def __repr__(self) -> str:
        sizes = ("x".join(map(str, s)) for s in (self.event_shape, self.observed_shape))
        return f"{self.name} ({' -> '.join(sizes)})"


class _Scaled(LinearOperator):
    """Another operator after a factor for each coordinate."""

    width: Tensor

    def __init__(self, inner: LinearOperator, width: Tensor) -> None:
        super().__init__(inner.name, inner.event_shape, inner.observed_shape, inner.apart)
        self.inner = inner
        self.register_buffer("width", width.double().to(inner._place.device))

    def image(self, x: Tensor) -> Tensor:
        return self.inner.image(self.width.to(x) * x)

    def pulled(self, y: Tensor) -> Tensor:
        return self.width.to(y) * self.inner.pulled(y)

    def gram(self) -> Gram:
        if self.width.numel() == 1:
            return self.inner.gram().scaled(float(self.width))
        return super().gram()
