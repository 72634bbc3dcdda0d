r"""The objective of interpolants: regress the rate of the curve, and the noise on it."""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.fields.learned_interpolant import LearnedInterpolant
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.coupling import Coupling, Paired, coupled
from diffode.training.denoising import drop_labels
from diffode.training.objective import Objective


class InterpolantRegression(Objective):
    r"""Regress the networks on the rate and the noise of a curve at uniform times.

    .. math:: E \, | v - \partial_t I(t, x_0, x_1) - \dot\gamma z |^2 + E \, | \hat z - z |^2,

    each in the units of its network; the second only where there is noise. Each data point is
    paired with a fresh draw of the starting points, of its own class where both have classes. Draw
    and data of a batch may be coupled (`diffode.training.coupling`): what is learned is right
    under any coupling, and so is the score, since z depends on neither end.

    Reference: Albergo et al. (2023), https://arxiv.org/abs/2303.08797, section 2.

    Arguments:
        field: what is learned.
        classes: the number of labels, None for unconditional.
        label_drop: the fraction of labels replaced by "no label".
        coupling: how data and starting points are paired.
        regularisation: of ``coupling="sinkhorn"``.
    """

    comparable = True

    def __init__(
        self,
        field: LearnedInterpolant,
        classes: int | None = None,
        label_drop: float = 0.0,
        coupling: Coupling = "independent",
        regularisation: float = 0.05,
    ) -> None:
        super().__init__(field)
        self.learned, self.coupling, self.regularisation = field, coupling, regularisation
        self.classes, self.label_drop = classes, label_drop

    def couple(self, batch: Batch, rng: Rng) -> tuple[Batch, dict[str, Tensor]]:
        """The batch with the starting point of each row, and how far the two are apart."""
        x1 = self.learned.draw(len(batch), rng, batch.y).to(batch.x)
        how = self.coupling, self.regularisation, rng
        return coupled(batch, x1, *how, self.classes, self.learned.flip_label)

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared errors, each in the space of its network."""
        field, x0 = self.learned, batch.x
        t = rng.spread("time", len(x0), x0.device)
        x1 = batch.n if isinstance(batch, Paired) else field.draw(len(x0), rng, batch.y).to(x0)
        x, rate = field.interpolant.rate(t, x0, x1)
        z = None
        if field.noise_network is not None:
            gamma, slope = field.interpolant.level(t)
            z = rng.normal("noise", x0.shape, x0.dtype, x0.device)
            x, rate = x + expand_like(gamma, x0) * z, rate + expand_like(slope, x0) * z
        y = drop_labels(batch.y, self.classes, self.label_drop, rng)
        out = field.rate_output(x, t, y, batch.flipped)
        target = field.rate_target(rate, t).to(torch.promote_types(out.dtype, torch.float32))
        loss = (out - target).square().mean()
        if z is None:
            return loss, {}
        noise = (field.noise_output(x, t, y, batch.flipped) - z).square().mean()
        return loss + noise, {"rate": loss.detach(), "noise": noise.detach()}
