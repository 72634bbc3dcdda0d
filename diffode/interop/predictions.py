r"""The outputs of other libraries' networks as predictions of this one.

Such a network is given the state itself and a time of its own. What its output means is one of
the predictions of `diffode.fields`; `Told` says which, and what time it is told.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffode.fields.precond import (
    Coefficients,
    DataPrediction,
    KarrasPrediction,
    NoisePrediction,
    Prediction,
    VelocityPrediction,
    VPrediction,
)

Clock = Callable[[Tensor, Tensor, Tensor], Tensor]


def own_time(t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The time of the schedule: the index in the chain."""
    return t


def quarter_log_sigma(t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """EDM's c_noise, log(sigma / alpha) / 4."""
    return (sigma / alpha).log() / 4


def scaled_sigma(factor: float) -> Clock:
    """The noise level sigma, times a factor."""

    def clock(t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return factor * sigma

    return clock


class Told(Prediction):
    """A prediction whose network is told another time, and given the state as it is.

    Arguments:
        meaning: what the output means.
        clock: the time that the network is told, of (t, alpha, sigma).
        scales: whether the state is scaled by the prediction's c_in first.
    """

    by_level = True

    def __init__(self, meaning: Prediction, clock: Clock, scales: bool = False) -> None:
        super().__init__()
        self.meaning, self.clock, self.scales = meaning, clock, scales

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        c = self.meaning.coefficients(u, alpha, sigma, t)
        cond = self.clock(t, alpha, sigma).expand(len(u))[:, None]
        return (
            c._replace(cond=cond)
            if self.scales
            else c._replace(cond=cond, in_=torch.ones_like(c.in_))
        )

    def target(
        self, x0: Tensor, n: Tensor, alpha: Tensor, sigma: Tensor, c: Coefficients
    ) -> Tensor:
        """The target of the prediction that it is."""
        return self.meaning.target(x0, n, alpha, sigma, c)


class ScoreOutput(Prediction):
    r"""The output is the score in units of width w, :math:`F = -w E[n | x] / \sigma`.

    Reference: Song et al. (2021), https://arxiv.org/abs/2011.13456, eq. 7.

    Arguments:
        width: w, how many units of the state one unit of the network's is.
    """

    by_level = True

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        one, zero, noise = torch.ones_like(alpha), torch.zeros_like(alpha), -sigma / self.width
        return Coefficients(1 / alpha, -sigma * noise / alpha, one, t, zero, noise)


class NegatedKarras(KarrasPrediction):
    """EDM's preconditioning with the output's sign reversed, "v_prediction" of its schedulers."""

    def coefficients(self, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Coefficients:
        """The coefficients at centred state u, noise level (alpha, sigma) and time t."""
        c = super().coefficients(u, alpha, sigma, t)
        return c._replace(out=-c.out, noise_out=-c.noise_out)


MEANINGS: dict[str, type[Prediction]] = {
    "epsilon": NoisePrediction,
    "sample": DataPrediction,
    "v_prediction": VPrediction,
    "flow_prediction": VelocityPrediction,
}
EDM_MEANINGS: dict[str, type[KarrasPrediction]] = {
    "epsilon": KarrasPrediction,
    "v_prediction": NegatedKarras,
}
