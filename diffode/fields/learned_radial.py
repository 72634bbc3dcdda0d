r"""The field of a radial path that a network has learned.

With :math:`h_x` the rate of the path at the distance that noise has in x, the velocity is

.. math:: f_t(x) = h_x \, (x - D), \qquad D = x - E[h (x - y) | x] / h_x,

and D is learned as EDM's denoiser is. Were the rate the same at all distances, as for a law that
keeps its shape, D would be the conditional mean of the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.doors import as_time
from diffode.fields.base import Field, expand_like
from diffode.fields.learned import Learned
from diffode.fields.radial_path import RadialPath, RadialRate
from diffode.priors import Spherical


class LearnedRadial(Field):
    r"""The learned field of a `RadialPath`.

    Arguments:
        inner: D, as the denoiser of a learned field on the Karras schedule.
        path: the laws, with ``sigma`` and ``draw``.
    """

    def __init__(self, inner: Learned, path: RadialPath) -> None:
        super().__init__()
        self.inner, self.path, self.event_shape = inner, path, inner.event_shape
        self.classes, self.unconditional = inner.classes, inner.unconditional

    @property
    def span(self) -> tuple[float, float]:  # type: ignore[override]
        """The times (t_prior, t_data) of the path."""
        return self.path.span

    @property
    def prior(self) -> Spherical | None:  # type: ignore[override]
        """The path's law at t_prior, about the mean of the data."""
        law = self.path.law(self.span[0], self.inner.mean.numel())
        return law.at(law.scale, self.inner.mean)

    def velocity(self, x: Tensor, t: Tensor | float, y: Tensor | None = None) -> Tensor:
        """The conditional mean rate of x at time t, shape (B, *event)."""
        x = self.as_state(x)
        t = as_time(t, x).double()
        times, which = t.reshape(-1).unique(return_inverse=True)  # type: ignore[no-untyped-call]
        rates = self.path.rates(times, self.inner.mean.numel())
        scale = self.rate(x, t, rates.at(which.expand(len(x))))
        return expand_like(scale, x) * (x - self.inner.denoise(x, self.path.sigma(t), y))

    def rate(self, x: Tensor, t: Tensor, rates: RadialRate) -> Tensor:
        r"""The rate :math:`h_x` at the distance :math:`|x - m| \sigma / \sqrt{s^2 + \sigma^2}`."""
        sigma, std = self.path.sigma(t), self.inner.moments[1]
        square = (x - self.inner.mean.to(x)).double().flatten(1).square().sum(1)
        log = square.clamp_min(torch.finfo(torch.float64).tiny).log() / 2
        return rates(log + sigma.log() - torch.log(sigma.square() + std**2) / 2)

    def _describe(self) -> list[str]:
        return [repr(self.path)]
