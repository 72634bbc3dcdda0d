r"""The denoising objectives: regress the network on what made :math:`x_t`.

The least-squares answer to "which :math:`x_0` made this :math:`x_t`?" is the posterior mean, so a
loss in the network's own space learns the exact field, for any noise law and any weight that is a
function of what the network sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.fields.learned import Learned
from diffode.fields.poisson import PoissonField
from diffode.fields.turned import Turned
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.coupling import Coupling, Paired, coupled
from diffode.training.objective import Objective

_NOTHING = 1e-6  # of the data at t_prior, by rounding


@dataclass(frozen=True)
class Uniform:
    """Times uniform between two ends (in steps, if ``integers``)."""

    first: float
    last: float
    integers: bool = False

    def __call__(self, u: Tensor) -> Tensor:
        """The time at probability u in (0, 1)."""
        if self.integers:
            return torch.floor(self.first + (self.last + 1 - self.first) * u)
        return self.first + (self.last - self.first) * u


@dataclass(frozen=True)
class LogNormal:
    """The law of EDM's training noise, log t ~ N(mean, std^2)."""

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, u: Tensor) -> Tensor:
        """The time at probability u in (0, 1)."""
        return torch.exp(self.mean + self.std * torch.special.ndtri(u))


@dataclass(frozen=True)
class Logistic:
    """A law of log-scales with exponential tails: its density ratios stay bounded.

    Attributes:
        mean: of log s.
        std: of log s.
    """

    mean: float = -1.2
    std: float = 1.2

    @property
    def width(self) -> float:
        """The scale parameter, std sqrt(3) / pi."""
        return self.std * math.sqrt(3) / math.pi

    def icdf(self, u: Tensor) -> Tensor:
        """The value at probability u in (0, 1)."""
        return self.mean + self.width * torch.logit(u)

    def log_density(self, v: Tensor) -> Tensor:
        """The log-density at v, in nats."""
        z = (v - self.mean).abs() / self.width
        return -z - 2 * torch.log1p(torch.exp(-z)) - math.log(self.width)

    def ratio(self, log_level: Tensor, log_s: Tensor) -> Tensor:
        """The weight of a draw: its density at the level that (x, r) reveal over that at log s."""
        return (self.log_density(log_level) - self.log_density(log_s)).exp()


def perturbed(x: Tensor, law: Logistic, dof: float, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
    """Draws for Poisson flows, the noise scale first; `PoissonDenoising` says of which density.

    Arguments:
        x: the points y, shape (B, *event).
        law: of log s.
        dof: D.
        rng: where the numbers come from.

    Returns:
        Displacements x - y (B, *event), radii r (B,) and log-scales log s (B,), in float64.
    """
    log_s = law.icdf(rng.spread("time", len(x), x.device))
    normal = rng.normal("noise", x.shape, torch.float64, x.device)
    chi = rng.chi2("noise/q", len(x), dof, x.device).sqrt()
    dim = normal[0].numel()
    length = (normal.flatten(1).square().sum(1) + chi.square()).sqrt()
    radius = torch.exp(log_s) * math.sqrt(dim + dof)
    return normal * expand_like(radius / length, normal), chi * radius / length, log_s


def drop_labels(y: Tensor | None, null: int | None, fraction: float, rng: Rng) -> Tensor | None:
    """Labels with a fraction of them replaced by the null label, which stands for "no label"."""
    if y is None or null is None or not fraction:
        return y
    dropped = rng.uniform("label drop", (len(y),), device=y.device) < fraction
    return torch.where(dropped, torch.full_like(y, null), y)


class Denoising(Objective):
    r"""Regress the network on its target at random times.

    .. math:: E \, | F_\theta(c_{in} u, c) - (x_0 - m - c_{skip} u) / c_{out} |^2.

    This is every affine paper's own loss: noise, data, velocity or Karras is the field's
    prediction, and the weight over time is the law of ``times``.

    Arguments:
        field: a learned field of any noise law.
        times: maps a uniform number to a time.
        classes: the number of labels, None for unconditional.
        label_drop: the fraction of labels replaced by "no label".
        coupling: how samples and noise are paired, see `diffode.training.coupling`.
        regularisation: of ``coupling="sinkhorn"``.

    Raises:
        ValueError: a coupling on a path that does not end at the noise alone.
    """

    comparable = True

    def __init__(
        self,
        field: Learned,
        times: Uniform | LogNormal,
        classes: int | None = None,
        label_drop: float = 0.0,
        coupling: Coupling = "independent",
        regularisation: float = 0.05,
    ) -> None:
        super().__init__(field)
        self.learned, self.times = field, times
        self.classes, self.label_drop = classes, label_drop
        self.coupling, self.regularisation = coupling, regularisation
        field.coupled = coupling != "independent"
        if field.coupled and field.signal > _NOTHING:
            raise ValueError(
                f"got coupling={coupling} on {field.schedule}, whose path still shows alpha s / "
                f"sigma = {field.signal:.2g} of the data at t_prior: under a coupling that is not "
                "the prior's law; take a schedule with alpha = 0 there, rectified or cosine"
            )

    def couple(self, batch: Batch, rng: Rng) -> tuple[Batch, dict[str, Tensor]]:
        """The batch with the noise of each sample, and the mean squared distance of the pairs.

        Pairs are made within what the network is told beside x_t: labels, and flips.
        """
        x, noise = batch.x, self.learned.noise
        n = noise.sample(x.shape, rng, name="noise", dtype=x.dtype, device=x.device)
        how = self.coupling, self.regularisation, rng
        return coupled(batch, n, *how, self.classes, self.learned.flip_label)

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error in network space."""
        x = batch.x
        t = self.times(rng.spread("time", len(x), x.device))
        paired = batch.n if isinstance(batch, Paired) else None
        x_t, n = self.learned.corrupt(x, t, rng, paired)
        y = drop_labels(batch.y, self.classes, self.label_drop, rng)
        error, _ = self.learned.residual(x_t, x, n, t, y, batch.flipped)
        return error.square().mean(), {}


class TurnedDenoising(Denoising):
    r"""Denoising where every frequency has a level of its own.

    The data's frequencies :math:`V x_0` are what is corrupted and regressed; V is orthonormal, so
    the loss is that of the network's pixels.

    Arguments:
        field: a learned field in its frequencies, turned to pixels.
        times, classes, label_drop: as for `Denoising`.
    """

    def __init__(
        self,
        field: Turned,
        times: Uniform | LogNormal,
        classes: int | None = None,
        label_drop: float = 0.0,
    ) -> None:
        assert isinstance(field.inner, Learned)
        super().__init__(field.inner, times, classes, label_drop)
        self.field = field

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error in network space."""
        assert isinstance(self.field, Turned)
        return super().forward(phase, replace(batch, x=self.field.from_state(batch.x)), rng)


class PoissonDenoising(Objective):
    r"""Denoising for Poisson flows with the noise scale drawn first, exact for every D and N.

    A direction is drawn uniformly on the sphere of :math:`\mathbb{R}^{N+D}` and a radius
    :math:`\varrho = s \sqrt{N + D}` with log s from ``law``:

    .. math:: x = y + \varrho u_x, \qquad r = \varrho |u_z|.

    The network sees noise of the size s at every level, no heavy tails. Given y, the pair (x, r)
    has a density in :math:`\mathbb{R}^{N+D}` proportional to :math:`l(\log s) \varrho^{-(N+D)}`,
    l the density of the law. So with the weight :math:`1 / l(\log s)` the regression's posterior
    over y is :math:`\varrho^{-(N+D)}`, the Poisson kernel itself. A further factor, :math:`l` at
    the level that (x, r) reveal, brings the weight back to order 1 and, being a function of (x,
    r), changes nothing.

    Arguments:
        field: a Poisson field in plane form around a learned field whose ``cond`` starts with log
            s / 4.
        law: of log s.
        classes, label_drop: as for `Denoising`.
        weighted: leave False only to see that the field is wrong without the weight.
    """

    comparable = True

    def __init__(
        self,
        field: PoissonField,
        law: Logistic,
        classes: int | None = None,
        label_drop: float = 0.0,
        weighted: bool = True,
    ) -> None:
        super().__init__(field)
        assert isinstance(field.inner, Learned)
        self.learned, self.law, self.dof = field.inner, law, field.dof
        self.classes, self.label_drop, self.weighted = classes, label_drop, weighted

    def perturb(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
        """Displacements x - y (B, *event), radii r (B,) and log-scales log s (B,), in float64."""
        return perturbed(x, self.law, self.dof, rng)

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted mean squared error in network space."""
        x = batch.x
        shift, r, log_s = self.perturb(x, rng)
        sigma = r / math.sqrt(self.dof)
        n = (shift / expand_like(sigma, shift)).to(x)
        x_t = x + shift.to(x)
        y = drop_labels(batch.y, self.classes, self.label_drop, rng)
        error, out = self.learned.residual(x_t, x, n, sigma, y, batch.flipped)
        rows = error.square().flatten(1).mean(1)
        if not self.weighted:
            return rows.mean(), {}
        weight = self.law.ratio(4 * out.coefficients.cond[:, 0], log_s)
        return (rows * weight.to(rows)).mean(), {"weight_max": weight.max()}
