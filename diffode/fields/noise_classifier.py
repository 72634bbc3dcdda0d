"""A trained classifier of noisy points, for guidance on any schedule."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffode.doors import as_state
from diffode.fields.base import expand_like
from diffode.fields.precond import Prediction
from diffode.fields.revealed import RevealedKarras
from diffode.fields.tables import Tables
from diffode.priors import Spherical, is_normal


class NoiseClassifier(Tables):
    r"""A network that tells classes at every noise level, see `classifier_guided`.

    The network sees the points scaled as a denoiser's are, and the noise level. Its numbers
    :math:`F_y`, and for Student-t noise :math:`G_y` beside them, make

    .. math:: \log P(y | x) = b_y + f F_y + \text{const}, \qquad
              \log \kappa_y = \log \kappa + f G_y, \qquad
              f = \min(c_{out} / \sqrt\kappa, 1),

    with :math:`\kappa` that of the Gaussian with the data's moments. f falls where the noise is
    wider than the data, so that a slope of the network's counts :math:`c_{out}` in E[x_0 | x], as
    an output of a denoiser does: errors of guidance do not grow with the noise.

    Arguments:
        network: called as ``network(input, cond)``, it returns (B, K), or (B, 2 K) for Student-t
            noise.
        prediction: the coefficients, and what the network is told of the level; `RevealedKarras`
            for Student-t noise.
        noise: the law of noise.
        mean: the data's mean, shape (\*event).
        classes: K.
    """

    smooth = True

    def __init__(
        self,
        network: nn.Module,
        prediction: Prediction,
        noise: Spherical,
        mean: Tensor,
        classes: int,
    ) -> None:
        super().__init__()
        self.network, self.prediction, self.noise = network, prediction, noise
        self.event_shape, self.classes = tuple(mean.shape), classes
        self.bias = nn.Parameter(torch.zeros(classes))
        self.register_buffer("mean", mean)

    mean: Tensor

    def output(self, u: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers f F and f G at u = x / alpha, (B, K) or (B, 2 K), and log kappa (B,)."""
        centred = as_state(u, self.event_shape) - self.mean.to(u)
        c = self.prediction.coefficients(centred, torch.ones_like(rho), rho, rho)
        dtype = next(self.network.parameters()).dtype
        told = c.cond.to(torch.promote_types(dtype, torch.float32))
        numbers: Tensor = self.network((expand_like(c.in_, u) * centred).to(dtype), told)
        log_square = self._log_square(centred, rho)
        factor = (c.out.log() - log_square / 2).exp().clamp_max(1)
        return numbers.to(told) * factor.to(told)[:, None], log_square

    def _log_square(self, centred: Tensor, rho: Tensor) -> Tensor:
        """The log of the mean square of the noise's scale under the Gaussian, (B,)."""
        if isinstance(self.prediction, RevealedKarras):
            return self.prediction.log_square(centred, rho)
        return 2 * rho.log()

    def forward(self, u: Tensor, rho: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The logits (B, K) at u = x / alpha and rho = sigma / alpha; for Student-t a pair."""
        numbers, log_square = self.output(u, rho.double())
        if is_normal(self.noise):
            return numbers + self.bias
        logits, ratios = numbers.chunk(2, 1)
        return logits + self.bias, ratios + log_square[:, None].to(ratios)
