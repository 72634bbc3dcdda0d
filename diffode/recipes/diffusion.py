"""Diffusion: score-SDE probability flows (VP, sub-VP, VE), DDPM and EDM."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Lt

from diffode.options import Finite, Fraction, Positive
from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.recipes.compose import Given
    from diffode.training import Objective

_SCORE_SDE = "Song et al. (2021), https://arxiv.org/abs/2011.13456"


@recipe(
    "vp",
    about="score-SDE, variance-preserving",
    reference=_SCORE_SDE,
    aliases=("sde",),
)
def vp(
    given: Given,
    *,
    beta_min: Positive = 0.1,
    beta_max: Positive = 20.0,
    t_min: Annotated[float, Gt(0), Lt(1)] = 1e-5,
) -> Objective:
    """VP: the score times sigma regressed at times uniform on [t_min, 1].

    Arguments:
        given: the data and the network.
        beta_min, beta_max: the rate of noise at time 0 and at time 1; it grows linearly.
        t_min: the earliest time that is trained.
    """
    from diffode.fields.precond import ScorePrediction
    from diffode.fields.schedules import VP
    from diffode.training.denoising import Denoising, Uniform

    schedule = VP(beta_min, beta_max)
    field = given.learned(schedule, ScorePrediction(given.stats.std))
    return Denoising(field, Uniform(t_min, 1.0), given.classes, given.label_drop)


@recipe("subvp", about="score-SDE, sub-variance-preserving", reference=_SCORE_SDE)
def subvp(
    given: Given,
    *,
    beta_min: Positive = 0.1,
    beta_max: Positive = 20.0,
    t_min: Annotated[float, Gt(0), Lt(1)] = 1e-5,
) -> Objective:
    """Sub-VP: the score times sigma regressed at times uniform on [t_min, 1].

    Arguments:
        given: the data and the network.
        beta_min, beta_max: the rate of noise at time 0 and at time 1; it grows linearly.
        t_min: the earliest time that is trained.
    """
    from diffode.fields.precond import ScorePrediction
    from diffode.fields.schedules import SubVP
    from diffode.training.denoising import Denoising, Uniform

    schedule = SubVP(beta_min, beta_max)
    field = given.learned(schedule, ScorePrediction(given.stats.std))
    return Denoising(field, Uniform(t_min, 1.0), given.classes, given.label_drop)


@recipe("ve", about="score-SDE, variance-exploding", reference=_SCORE_SDE)
def ve(
    given: Given,
    *,
    sigma_min: Positive = 0.01,
    sigma_max: Positive = 50.0,
) -> Objective:
    """VE: the score times sigma regressed at log-uniform noise levels.

    Arguments:
        given: the data and the network.
        sigma_min, sigma_max: the least and the largest noise level.
    """
    from diffode.fields.precond import ScorePrediction
    from diffode.fields.schedules import VE
    from diffode.training.denoising import Denoising, Uniform

    prediction = ScorePrediction(given.stats.std)
    schedule = VE(sigma_min, sigma_max)
    field = given.learned(schedule, prediction)
    return Denoising(field, Uniform(0.0, 1.0), given.classes, given.label_drop)


@recipe(
    "ddpm",
    about="DDPM: noise prediction on a chain of betas",
    reference="Ho et al. (2020), https://arxiv.org/abs/2006.11239",
    aliases=("ddim",),
)
def ddpm(
    given: Given,
    *,
    timesteps: Annotated[int, Ge(2)] = 1000,
    beta_start: Fraction | None = None,
    beta_end: Fraction | None = None,
) -> Objective:
    """DDPM: the noise regressed at integer times, betas linear from beta_start to beta_end.

    Where none are given they are the paper's 1e-4 and .02 times 1000 / timesteps, so that a chain
    of any length ends with the same noise (Nichol and Dhariwal, 2021,
    https://arxiv.org/abs/2102.09672, whose code scales them so).

    Arguments:
        given: the data and the network.
        timesteps: the length of the chain.
        beta_start, beta_end: the noise's share of the variance in the first and in the last step
            of the chain; without a value, the paper's for this length.
    """
    import torch

    from diffode.fields.discrete import DiscreteBetas
    from diffode.fields.precond import NoisePrediction
    from diffode.training.denoising import Denoising, Uniform

    scale = 1000 / timesteps
    first = given.choose("beta_start", beta_start, 1e-4 * scale)
    last = given.choose("beta_end", beta_end, 0.02 * scale)
    if beta_end is None and last >= 1:
        raise ValueError(
            f"got timesteps={timesteps}, for which the betas would reach {last:.3g}; take 21 or "
            "more, or give beta_end"
        )
    schedule = DiscreteBetas(torch.linspace(first, last, timesteps, dtype=torch.float64))
    field = given.learned(schedule, NoisePrediction())
    times = Uniform(0.0, timesteps - 1.0, integers=True)
    return Denoising(field, times, given.classes, given.label_drop)


@recipe(
    "edm",
    about="EDM: Karras preconditioning, log-normal noise levels",
    reference="Karras et al. (2022), https://arxiv.org/abs/2206.00364",
)
def edm(
    given: Given,
    *,
    sigma_min: Positive = 0.002,
    sigma_max: Positive = 80.0,
    sigma_data: Positive | None = None,
    level_mean: Finite = -0.5,
    level_std: Positive = 1.2,
) -> Objective:
    """EDM: unit-variance inputs and targets, log(sigma / sigma_data) normal.

    The paper's levels, -1.2 at sigma_data = 0.5, are stated for data of any scale.

    Arguments:
        given: the data and the network.
        sigma_min, sigma_max: the least and the largest noise level of a sampler's path.
        sigma_data: the standard deviation of the data; without a value, it is measured.
        level_mean, level_std: mean and standard deviation of log(sigma / sigma_data) in training.
    """
    from diffode.fields.precond import KarrasPrediction
    from diffode.fields.schedules import Karras
    from diffode.training.denoising import Denoising, LogNormal

    std = given.choose("sigma_data", sigma_data, given.stats.std)
    schedule = Karras(sigma_min, sigma_max)
    field = given.learned(schedule, KarrasPrediction(std))
    levels = LogNormal(level_mean + math.log(std), level_std)
    return Denoising(field, levels, given.classes, given.label_drop)
