r"""The objective of radial paths: regress the rate of the conditional flow."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.fields.learned_radial import LearnedRadial
from diffode.fields.radial_path import RadialRate
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.denoising import LogNormal, drop_labels
from diffode.training.objective import Objective

_LEVELS = 128  # times that are trained, for which the rates are tabled


class RadialRegression(Objective):
    r"""Regress the velocity on the radial flow of the data point that x came from.

    .. math:: E \, \lambda \, | f_\theta(x) - h_t(\log |x - y|) (x - y) |^2,

    with the weight of EDM's denoising, at 128 times evenly spaced between the ends, each as often
    as its width is the nearest to one of EDM's noise levels. In the terms of `LearnedRadial` the
    denoiser is regressed on :math:`x - (h / h_x)(x - y)`.

    Reference: Su (2022), A ramble on generative diffusion models, part 14,
    https://kexue.fm/archives/9370.

    Arguments:
        field: what is learned.
        widths: maps a uniform number to a width of the law.
        classes: the number of labels, None for unconditional.
        label_drop: the fraction of labels replaced by "no label".
    """

    comparable = True

    def __init__(
        self,
        field: LearnedRadial,
        widths: LogNormal,
        classes: int | None = None,
        label_drop: float = 0.0,
    ) -> None:
        super().__init__(field)
        self.learned, self.widths = field, widths
        self.classes, self.label_drop = classes, label_drop
        self._rates: RadialRate | None = None

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error in the space of the network."""
        field, x0 = self.learned, batch.x
        path, low, high = field.path, *sorted(field.span)
        times = low + (high - low) * (torch.arange(_LEVELS, dtype=torch.float64) + 0.5) / _LEVELS
        width = self.widths(rng.spread("time", len(x0), x0.device))
        between = path.sigma((times[1:] + times[:-1]) / 2).to(width)
        level = torch.bucketize(width, between)
        if self._rates is None:
            self._rates = path.rates(times, x0[0].numel())
        t, rates = times.to(x0.device)[level], self._rates.at(level)
        shift = path.draw(t, x0.shape, rng)
        x = x0 + shift.to(x0)
        own = rates(shift.flatten(1).norm(dim=1).log())
        part = expand_like(own / field.rate(x, t, rates), shift) * shift
        y = drop_labels(batch.y, self.classes, self.label_drop, rng)
        sigma = path.sigma(t)
        n = (part / expand_like(sigma, part)).to(x0)
        aim = x0 + (shift - part).to(x0)
        error, _ = field.inner.residual(x, aim, n, sigma, y, batch.flipped)
        return error.square().mean(), {}
