r"""The covariance of x_0 given x_t = x, from the Jacobian J of its mean.

For normal noise it is :math:`C = (\sigma^2 / \alpha) J`.

Student-t noise of D degrees of freedom is normal given its scale, and a point reveals it: with
:math:`u = x - \alpha x_0` the variance has the mean :math:`v^2 = (D \sigma^2 + |u|^2) / (D + N)`.
The gradient of the log-kernel is :math:`-u / v^2`, so that to first order, for x_0 close to its
mean,

.. math:: C = \frac{v^2}{\alpha} \Big( I - \frac{2 u u^\top}{D \sigma^2 + |u|^2} \Big)^{-1} J^\top

at :math:`u = x - \alpha E[x_0 | x]`. Along u the bracket has the factor :math:`k = (D \sigma^2 -
|u|^2) / (D \sigma^2 + |u|^2)`: where it vanishes J says nothing of C, and the variance :math:`r^2`
of `Covariance.spread` takes its place,

.. math:: c_u \leftarrow \frac{k c_u + \epsilon \, r^2 a_u}{k^2 + \epsilon}, \qquad
          \epsilon = \tfrac{1}{10} (1 - k^2),

for :math:`c = (v^2 / \alpha) J^\top a`. At :math:`k = 1`, the limit of large D, nothing changes.

The factor :math:`v^2 / \alpha` magnifies the error of a network's J, which is then larger than C
itself. So of networks C is taken as :math:`r^2` beyond :math:`v = 5 \alpha s`, with the data's
standard deviation s: with that much noise left, it moves samples little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor

from diffode.compiled import uncompiled
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.priors import is_student

_ROUNDED = 999.0  # v / alpha beyond which J is lost in rounding
_LEARNED = 5.0  # v / (alpha s) beyond which that of a network is lost in its error
_DAMPING = 0.1  # the best of 0.04 to 1 at D = 1 to 64, N = 8


class Covariance(NamedTuple):
    r"""The map :math:`a \mapsto C a` of points (B, \*event), float64.

    Attributes:
        product: :math:`a \mapsto J^\top a`.
        scale: :math:`v^2 / \alpha`, shape () or (B,), as the next two.
        spread: :math:`r^2 = v^2 s^2 / (\alpha^2 s^2 + v^2)`, the variance of data of one variance
            :math:`s^2` given x.
        hidden: whether noise hides the data, so that :math:`r^2` is all that is known.
        axis: u at unit length, shape (B, \*event), for Student-t noise; else None.
        factor: k, shape (B,).
    """

    product: Callable[[Tensor], Tensor]
    scale: Tensor
    spread: Tensor
    hidden: Tensor
    axis: Tensor | None = None
    factor: Tensor | None = None

    @classmethod
    def at(
        cls, field: AffineField, x: Tensor, t: Tensor, y: Tensor | None
    ) -> tuple[Tensor, Tensor, Self]:
        """The conditional means of data and noise at x, and the covariance of the data.

        Arguments:
            field: an affine field of normal or Student-t noise.
            x, t, y: as for ``field.posterior``.
        """
        with uncompiled():
            x0, vjp, n = torch.func.vjp(  # type: ignore[misc]
                lambda z: field.posterior(z, t, y), x, has_aux=True
            )
        products = cast(Callable[[Tensor], tuple[Tensor]], vjp)
        alpha, sigma = field.level(t, x)
        variance, own, axis, factor = sigma.square(), field.moments[1] ** 2, None, None
        if is_student(field.noise):
            u = (x - expand_like(alpha, x) * x0).double()
            variance, axis, factor = _revealed(u, variance, field.noise.dof)
        learned = any(True for _ in field.parameters())
        most = _LEARNED * field.moments[1] if learned else _ROUNDED
        hidden = variance.sqrt() > most * alpha
        scale = variance / alpha.where(~hidden, 1.0)
        spread = variance * own / (alpha.square() * own + variance)
        made = cls(lambda a: products(a.to(x0))[0].double(), scale, spread, hidden, axis, factor)
        return x0, n, made

    def __call__(self, a: Tensor) -> Tensor:
        """C a, shape (B, *event)."""
        scale, spread, hidden = (
            expand_like(v, a) for v in (self.scale, self.spread, self.hidden.double())
        )
        c = scale * self.product(a)
        if self.axis is not None and self.factor is not None:
            c = c + expand_like(self._missing(c, spread * a), a) * self.axis
        return torch.where(hidden.bool(), spread * a, c)

    def _missing(self, c: Tensor, known: Tensor) -> Tensor:
        """What c lacks along u, shape (B,), with what data of one variance would have there."""
        assert self.axis is not None and self.factor is not None
        along, guess = ((v * self.axis).flatten(1).sum(1) for v in (c, known))
        k, rest = self.factor, _DAMPING * (1 - self.factor.square())
        return (k * along + rest * guess) / (k.square() + rest) - along


def _revealed(u: Tensor, variance: Tensor, dof: float) -> tuple[Tensor, Tensor, Tensor]:
    r"""What a point reveals of Student-t noise: :math:`v^2`, u at unit length, and k."""
    near, length = dof * variance, u.flatten(1).square().sum(1)
    axis = u / expand_like(length.sqrt().clamp_min(torch.finfo(u.dtype).tiny), u)
    return (near + length) / (dof + u[0].numel()), axis, (near - length) / (near + length)
