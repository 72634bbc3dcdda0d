r"""What the output of a network in an EDM-format file means: predictions for its preconditioning.

Each is a row of table 1 of EDM, in :math:`\rho = \sigma / \alpha`; EDM's own is
`diffode.fields.KarrasPrediction`.

Reference: Karras et al. (2022), https://arxiv.org/abs/2206.00364, table 1 and appendix C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffode.fields.precond import Coefficients, KarrasPrediction, Prediction
from diffode.interop.edm_options import EDMPrecond, IDDPMPrecond, Precond, VEPrecond, VPPrecond


class VEScore(Prediction):
    r"""The output is :math:`-E[n | x]`, told :math:`\log(\rho / 2)` (score-SDE, VE)."""

    by_level = True

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        one, rho = torch.ones_like(alpha), sigma / alpha
        cond = (rho / 2).log().expand(len(u))[:, None]
        return Coefficients(1 / alpha, rho, 1 / alpha, cond, 0 * one, -one)


class StepNoise(Prediction):
    """The output is E[n | x], told the number of a step of a chain; write ``step``."""

    by_level = True

    def step(self, rho: Tensor) -> Tensor:
        """The number of the step at noise level rho; numbers between steps are between."""
        raise NotImplementedError

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        one, rho = torch.ones_like(alpha), sigma / alpha
        cond = self.step(rho).expand(len(u))[:, None]
        in_ = (alpha**2 + sigma**2).rsqrt()
        return Coefficients(1 / alpha, -rho, in_, cond, 0 * one, one)


class VPNoise(StepNoise):
    r"""Step (M - 1) t of VP, where :math:`\log(1 + \rho^2) = \beta_d t^2 / 2 + \beta_0 t`.

    Arguments:
        beta_d, beta_min: the growth of beta over the chain, and its start.
        steps: M.
    """

    def __init__(self, beta_d: float, beta_min: float, steps: int) -> None:
        super().__init__()
        self.beta_d, self.beta_min, self.steps = beta_d, beta_min, steps

    def step(self, rho: Tensor) -> Tensor:
        """The number of the step at noise level rho."""
        log = torch.log1p(rho * rho)
        root = (self.beta_min**2 + 2 * self.beta_d * log).sqrt()
        return (self.steps - 1) * 2 * log / (self.beta_min + root)


class ChainNoise(StepNoise):
    """Steps at given noise levels: those of improved DDPM.

    The network was trained at these levels alone. Between two of them it is told a number between
    theirs, in proportion to log rho, so that the field stays smooth.

    Arguments:
        levels: rho at the steps M - 1, M - 2, ..., 0, shape (M,).
    """

    levels: Tensor

    def __init__(self, levels: Tensor) -> None:
        super().__init__()
        self.register_buffer("levels", levels.double(), persistent=False)

    def step(self, rho: Tensor) -> Tensor:
        """The number of the step at noise level rho."""
        table = self.levels.flip(0).log().to(rho)
        value = rho.log().clamp(table[0], table[-1])
        above = torch.searchsorted(table, value.contiguous()).clamp(1, len(table) - 1)
        low, high = table[above - 1], table[above]
        return above - 1 + (value - low) / (high - low)


def prediction_of(told: Precond, levels: Tensor | None = None) -> Prediction:
    """What the network's output means.

    Arguments:
        told: the options of the preconditioning.
        levels: of improved DDPM, the noise levels of its steps.
    """
    if isinstance(told, EDMPrecond):
        return KarrasPrediction(told.sigma_data)
    if isinstance(told, VPPrecond):
        return VPNoise(told.beta_d, told.beta_min, told.M)
    if isinstance(told, VEPrecond):
        return VEScore()
    assert isinstance(told, IDDPMPrecond) and levels is not None
    return ChainNoise(levels)
