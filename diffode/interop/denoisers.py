r"""Denoisers of other libraries as fields.

A denoiser is the conditional mean :math:`D(x, \sigma) = E[x_0 | x_0 + \sigma n = x]` of EDM and
k-diffusion, or azula's :math:`E[x_0 | \alpha_t x_0 + \sigma_t n = x]` on a schedule of its own.

References: Karras et al. (2022), https://arxiv.org/abs/2206.00364; Xu et al. (2023),
https://arxiv.org/abs/2302.04265.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffode.fields.precond import DataPrediction, NoisePrediction, Prediction, VPrediction
from diffode.fields.schedules import Karras, Schedule
from diffode.inputs import quoted
from diffode.interop.calls import Called, CalledField, Function, Manner, Reading, chosen
from diffode.interop.predictions import (
    Clock,
    ScoreOutput,
    Told,
    own_time,
    quarter_log_sigma,
    scaled_sigma,
)
from diffode.priors import Normal, StudentT

DENOISERS = {
    "edm": Manner(one_hot=True),
    "k-diffusion": Manner(label="class_cond"),
    "azula": Manner(label="label", part="mean"),
}


class AzulaSchedule(Schedule):
    """The schedule of an azula denoiser, with its data at t = 0 and its noise at t = 1.

    Arguments:
        levels: from times to the pair (alpha, sigma).
    """

    span = (1.0, 0.0)

    def __init__(self, levels: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        self.levels = levels

    def alpha(self, t: Tensor) -> Tensor:
        """The factor of the data."""
        return self.levels(t)[0]

    def sigma(self, t: Tensor) -> Tensor:
        """The factor of the noise."""
        return self.levels(t)[1]

    def __repr__(self) -> str:
        return f"{type(self.levels).__name__} of azula"


def from_denoiser(
    denoiser: Function,
    event_shape: Sequence[int],
    convention: str,
    *,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    dof: float | None = None,
    std: float = 0.5,
    classes: int | None = None,
    dtype: torch.dtype | None = None,
) -> CalledField:
    r"""The field of a denoiser, called as its library calls it.

    ============  =============  ==========================================  ================
    convention    called with    answer                                      labels
    ============  =============  ==========================================  ================
    edm           (x, sigma)     :math:`E[x_0 | x_0 + \sigma n = x]`         third, as vectors
    k-diffusion   (x, sigma)     the same                                    class_cond=
    azula         (x, t)         its ``mean`` is                             label=
                                 :math:`E[x_0 | \alpha_t x_0 + \sigma_t n = x]`
    ============  =============  ==========================================  ================

    Arguments:
        denoiser: a function or a module of a state (B, \*event) and a noise level or time (B,);
            for azula one of its denoisers, whose ``schedule`` the field takes.
        event_shape: the shape of one sample.
        convention: a name of the table.
        sigma_min, sigma_max: the ends of the span, but for azula.
        dof: D of a PFGM++ denoiser of x and :math:`\sigma = r / \sqrt D`; None for normal noise.
        std: the data's rms standard deviation, which places the steps of solvers; .5 is that of
            images from -1 to 1.
        classes: the number of labels; None for none.
        dtype: what state and time are cast to; None for that of its parameters, or float32, and
            float64 for azula, whose denoisers cast by themselves.

    Raises:
        ValueError: an unknown convention, or what is no denoiser of azula; values that are none.
        TypeError: no function.
    """
    name = chosen(convention, list(DENOISERS), "from_denoiser")
    schedule: Schedule = Karras(sigma_min, sigma_max)
    clock: Clock = scaled_sigma(1.0)
    noise = Normal() if dof is None else StudentT(dof)
    if name == "azula":
        levels = getattr(denoiser, "schedule", None)
        if not callable(levels):
            raise ValueError(
                f"got {quoted(denoiser)}, which has no schedule; wanted a denoiser of azula, or "
                'convention="edm" for a function of (x, sigma)'
            )
        schedule = AzulaSchedule(levels)
        dtype, clock = dtype or torch.float64, own_time

    def read(prediction: Prediction, clock: Clock = clock, scales: bool = False) -> CalledField:
        return CalledField(
            Called(denoiser, DENOISERS[name], dtype, classes),
            schedule,
            Told(prediction, clock, scales),
            noise,
            event_shape,
            std,
            others,
        ).eval()

    def others() -> list[Reading]:
        wrap = "pass a function that returns the denoised x"
        found = [
            Reading("a network of the noise", "eps is given in place of the denoised x",
                    f"{wrap}, x - sigma eps", read(NoisePrediction())),
            Reading("a score", "the score is given in place of the denoised x",
                    f"{wrap}, x + sigma^2 score", read(ScoreOutput())),
            Reading("a v-prediction", "v is given in place of the denoised x",
                    f"{wrap}, (x - sigma v) / (1 + sigma^2)", read(VPrediction())),
            Reading("a denoiser of scaled states", "its input is x / sqrt(1 + sigma^2)",
                    "pass a function that scales x first",
                    read(DataPrediction(), scales=True)),
        ]  # fmt: skip
        if name != "azula":
            found += _told_otherwise(read, dof)
        return found

    return read(DataPrediction())


def _told_otherwise(read: Callable[..., CalledField], dof: float | None) -> list[Reading]:
    """The readings in which a denoiser is told another number than sigma."""
    told: list[tuple[str, Clock]] = [("log(sigma) / 4", quarter_log_sigma)]
    if dof is not None and dof != 1:
        root = math.sqrt(dof)
        told.append(("r = sigma sqrt(D)", scaled_sigma(root)))
        told.append(("sigma / sqrt(D)", scaled_sigma(1 / root)))
    return [
        Reading(
            f"a denoiser of x and {what}",
            f"it is told {what} in place of sigma",
            f"pass a function of (x, sigma) that tells it {what}",
            read(DataPrediction(), clock),
        )
        for what, clock in told
    ]
