r"""Fields conditioned on a linear observation :math:`y = H x_0 + s_y e`, e standard normal.

Were the posterior of x_0 given x normal, with covariance C, then given y as well its mean would be

.. math:: E[x_0 | x, y] = E[x_0 | x] + C H^\top S^{-1} (y - H E[x_0 | x]), \qquad
          S = H C H^\top + s_y^2.

For normal noise :math:`C = (\sigma^2 / \alpha) J` with the Jacobian J of :math:`E[x_0 | x]`, for
Student-t noise a correction of it (`diffode.fields.covariance`). Two ways to have S:

* PiGDM: :math:`S = r^2 H H^\top + s_y^2` with the covariance :math:`r^2 = \sigma^2 s^2 /
  (\alpha^2 s^2 + \sigma^2)` of data of one variance :math:`s^2`; one product with J.
* TMPD: S as it is; m products, for few observed numbers.

The law of x_0 given x is normal for normal data alone, so that samples of a conditioned field are
not quite those of the law given y, however many steps are taken.

References: Song et al. (2023), Pseudoinverse-guided diffusion models for inverse problems (PiGDM),
https://openreview.net/forum?id=9_gsMA8MRKQ; Boys et al. (2023), https://arxiv.org/abs/2310.06721
(TMPD).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor

from diffode.doors import Numbers, as_time
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.covariance import Covariance
from diffode.fields.guidance import require_affine
from diffode.fields.linear import LinearOperator
from diffode.fields.noise import require_independent
from diffode.fields.observations import Observation, observed
from diffode.fields.poisson import around_plane_form
from diffode.fields.wrapped import Wrapped
from diffode.options import counted
from diffode.priors import is_normal, is_student
from diffode.warned import warn

Method = Literal["pigdm", "tmpd"]
_MOST = 64  # observed numbers that TMPD takes a product each for


class Conditional(NamedTuple):
    """The conditional means of a field without and with an observation.

    Attributes:
        x0, n: E[x_0 | x] and E[n | x] without it, each (B, *event).
        pull: what it adds to E[x_0 | x], shape (B, *event).
        log_fit: log p(y | x) by the same assumption, shape (B,), float64.
    """

    x0: Tensor
    n: Tensor
    pull: Tensor
    log_fit: Tensor


class Conditioned(Wrapped):
    r"""An affine field given a linear observation; `conditioned` builds it.

    It has a likelihood where the inner field is exact, since the divergence takes second
    derivatives of :math:`E[x_0 | x]`; of networks these are not known to exist.

    Arguments:
        field: the field, of normal or Student-t noise.
        observation: what is known, in the field's units, see `observed`.
        method: "pigdm" or "tmpd".

    Raises:
        ValueError: an unknown method, or more numbers than TMPD is for.
        TypeError: noise of another law.
    """

    target: Tensor

    def __init__(self, field: AffineField, observation: Observation, method: Method) -> None:
        require_independent(field.coupled, "a field that is conditioned")
        if not (is_normal(field.noise) or is_student(field.noise)):
            raise TypeError(
                f"the noise is {field.noise}; a field is conditioned for Normal and StudentT "
                "noise, whose covariance given x is known"
            )
        super().__init__(field)
        self.operator, target, self.observation_noise = observation
        self.method, self._units = _as_method(method, self.operator), field.scaling
        self.register_buffer("target", target)
        self.gram = self.operator.gram()
        self.smooth = field.smooth and not any(True for _ in field.parameters())

    @property
    def products(self) -> int:
        """The products with the Jacobian of E[x_0 | x] that an evaluation takes."""
        return 1 if self.method == "pigdm" else self.operator.count

    @property
    def calls_per_evaluation(self) -> int:  # type: ignore[override]
        """Network calls: a product with the Jacobian, a backward pass to x, counts as one."""
        return (1 + self.products) * self.inner.calls_per_evaluation

    def calls_at(self, t: Tensor) -> int:
        """The network calls of an evaluation; under differentiation all of them are made."""
        return self.calls_per_evaluation

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The conditional means E[x_0 | x_t = x] and E[n | x_t = x], given the observation."""
        x = self.as_state(x)
        alpha, sigma = (expand_like(v, x) for v in self.level(t, x))
        x0, n, pull, _ = self.conditional(x, t, y)
        return x0 + pull, n - alpha / sigma * pull

    def conditional(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Conditional:
        """The conditional means at x (B, *event) without and with the observation.

        Raises:
            ValueError: another number of points than of observations, or other units than those
                of the field when it was conditioned.
        """
        x = self.as_state(x)
        t = as_time(t, x)
        self.require_rows(len(x))
        if self.scaling is not self._units:
            raise ValueError(
                "the scaling was set after the field was given an observation, whose units are "
                "then unknown; set field.scaling first"
            )
        x0, n, covariance = Covariance.at(self.inner, x, t, y)
        rest = self.target - self.operator(x0.double())
        by = self._by_one_variance if self.method == "pigdm" else self._by_products
        pull, log_fit = by(rest, covariance)
        return Conditional(x0, n, pull.to(x), log_fit)

    def _by_one_variance(self, rest: Tensor, covariance: Covariance) -> tuple[Tensor, Tensor]:
        """The pull and log p(y | x) of PiGDM, from y - H E[x_0 | x]."""
        q = self.gram.solve(rest, covariance.spread, self.observation_noise)
        log_fit = self.gram.log_density(rest, covariance.spread, self.observation_noise)
        return covariance(self.operator.adjoint(q)), log_fit

    def _by_products(self, rest: Tensor, covariance: Covariance) -> tuple[Tensor, Tensor]:
        """The same of TMPD."""
        rows = self.operator.rows()[:, None].expand(-1, len(rest), *self.event_shape)
        products = torch.stack([covariance(row) for row in rows], 1)  # (B, m, *event)
        seen = self.operator(products.flatten(0, 1)).reshape(len(rest), len(rows), -1)
        values, basis = torch.linalg.eigh((seen + seen.mT) / 2)
        total = values.clamp_min(0) + self.observation_noise**2
        z = (basis.mT @ rest.flatten(1)[..., None])[..., 0]
        known = (z / total).where(values > 0, 0.0)  # no covariance has the others
        q = (basis @ known[..., None])[..., 0]
        log_fit = -(z.square() / total + (2 * math.pi * total).log()).sum(1) / 2
        return torch.einsum("bm,bm...->b...", q, products), log_fit

    def rows(self, index: Tensor) -> Self:
        """The field of these rows of the batch, each with its own observation."""
        other = super().rows(index)
        if self.target.ndim == len(self.operator.observed_shape):
            return other
        least = int(index.max()) + 1 if len(index) else 0
        if least > len(self.target):
            self.require_rows(least)
        other = other.copied()
        other.target = self.target[index.to(self.target.device)]
        return other

    def require_rows(self, count: int) -> None:
        """Refuse another number of rows than there are observations, if each has its own.

        Raises:
            ValueError: more rows, or fewer.
        """
        super().require_rows(count)
        if self.target.ndim > len(self.operator.observed_shape) and len(self.target) != count:
            raise ValueError(
                f"got {counted(count, 'row')} for a field with an observation for each of "
                f"{len(self.target)}; take as many rows, or condition it on the observations of "
                "these alone: one for each, or one of the operator's own shape for all"
            )

    def changes(self) -> list[str]:
        """What this field and those inside it change, in words, the innermost first."""
        given = f"given {self.operator} + {self.observation_noise:g} e by {self.method}"
        return [*super().changes(), given]


def conditioned(
    field: AffineField,
    operator: LinearOperator,
    observation: Numbers,
    noise: float,
    method: Method = "pigdm",
) -> AffineField:
    r"""A field given a linear observation :math:`y = H x_0 + s_y e`, for every solver.

    .. math:: E[x_0|x] \leftarrow E[x_0|x] + C H^\top S^{-1} (y - H E[x_0|x])

    This is exact where x_0 given x is normal, and for other data its samples keep a bias (see the
    module). In a `PoissonField` each row is conditioned at its own noise level.

    Arguments:
        field: an affine field of normal or Student-t noise, guided or conditioned ones too. One
            that is guided with a weight above 1 is warned of: guidance belongs around what this
            returns.
        operator: H, see `diffode.fields.operators`.
        observation: y in the units of the data, shape (\*observed) for all rows or (B,
            \*observed), one for each of B rows: no other number of them is sampled.
        noise: :math:`s_y > 0` in the units of the data.
        method: "pigdm", which takes one product with the Jacobian of :math:`E[x_0|x]` an
            evaluation, or "tmpd", which takes one for each observed number, 64 at most. As a
            network call each counts as one more.

    Raises:
        ValueError: shapes that do not fit, an observation that is not finite, noise that is not
            positive, or more observed numbers than the method is for.
        TypeError: a field without :math:`E[x_0|x]`, or with noise of another law.

    References: see `diffode.fields.conditioning`.
    """
    require_affine(field)
    seen = observed(field, operator, observation, noise)
    if (weight := _guidance(field)) > 1:
        warn(
            f"got guidance of weight {weight:g} inside of conditioned(), where the observation "
            "may push points away from it; put guidance around what is conditioned: "
            f"classifier_free(conditioned(field, ...), {weight:g})"
        )
    return around_plane_form(field, lambda inner: Conditioned(inner, seen, method))


def _guidance(field: AffineField) -> float:
    """The largest weight that a field or one inside of it is guided with; 0 for none."""
    if not isinstance(field, Wrapped):
        return 0.0
    weight = getattr(field, "weight", None)
    return max(weight if isinstance(weight, float) else 0.0, _guidance(field.inner))


def _as_method(method: Method, operator: LinearOperator) -> Method:
    if method not in get_args(Method):
        raise ValueError(f"got method {method!r:.40}; wanted {' or '.join(get_args(Method))}")
    if method == "tmpd" and operator.count > _MOST:
        raise ValueError(
            f"got {operator.count} observed numbers; tmpd takes a product with the Jacobian for "
            f"each, {_MOST} at most: use pigdm"
        )
    return method
