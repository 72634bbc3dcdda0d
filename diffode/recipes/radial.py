"""Radial noise: diffusion and straight paths with noise of another radial law than the normal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from diffode.options import Finite, Positive
from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.priors import Radial
    from diffode.recipes.compose import Given
    from diffode.training import Objective


@recipe(
    "radial",
    about="noise of a radial law: generalised normal, ball or logistic",
    reference="Su (2022), https://kexue.fm/archives/9370",
)
def radial(
    given: Given,
    *,
    law: Literal["generalised", "ball", "logistic"] = "generalised",
    exponent: Positive | None = None,
    schedule: Literal["karras", "rectified"] = "karras",
    sigma_min: Positive = 0.002,
    sigma_max: Positive = 80.0,
    level_mean: Finite = -0.5,
    level_std: Positive = 1.2,
) -> Objective:
    """EDM, or rectified flow, with noise of a radial law whose coordinates have rms 1.

    sigma_min, sigma_max, level_mean and level_std are for ``schedule=karras``.

    Arguments:
        given: the data and the network.
        law: of the noise: density exp(-r^b / b) of the radius, uniform in a ball, or logistic.
        exponent: b of ``law=generalised``; 2 is the normal law, without a value it is 1.
        schedule: karras is EDM's, rectified the straight path.
        sigma_min, sigma_max: the least and the largest noise level of a sampler's path.
        level_mean, level_std: mean and standard deviation of log(sigma / std) in training, with
            std that of the data.
    """
    from diffode.fields.precond import KarrasPrediction, VelocityPrediction
    from diffode.fields.schedules import Karras, Rectified
    from diffode.training.denoising import Denoising, LogNormal, Uniform

    noise = _law(given, law, exponent).standard(math.prod(given.shape))
    if schedule == "rectified":
        field = given.learned(Rectified(), VelocityPrediction(), noise)
        return Denoising(field, Uniform(0.0, 1.0), given.classes, given.label_drop)
    std = given.stats.std
    field = given.learned(Karras(sigma_min, sigma_max), KarrasPrediction(std), noise)
    levels = LogNormal(level_mean + math.log(std), level_std)
    return Denoising(field, levels, given.classes, given.label_drop)


def _law(given: Given, law: str, exponent: float | None) -> Radial:
    """The law of a name."""
    from diffode.priors import Ball, GeneralisedNormal, RadialLogistic

    if law == "generalised":
        return GeneralisedNormal(given.choose("exponent", exponent, 1.0))
    if exponent is not None:
        raise ValueError(f"got exponent={exponent:g} with law={law}; it is for law=generalised")
    return Ball() if law == "ball" else RadialLogistic()


@recipe(
    "morph",
    about="noise that changes its shape: normal at the data, Student-t at the prior",
    reference="Su (2022), https://kexue.fm/archives/9370",
)
def morph(
    given: Given,
    *,
    dof: Positive = 3.0,
    sigma_min: Positive = 0.005,
    sigma_max: Positive = 80.0,
    level_mean: Finite = -0.5,
    level_std: Positive = 1.2,
) -> Objective:
    """The radial flow from a normal law to Student's, regressed about each data point.

    Arguments:
        given: the data and the network.
        dof: degrees of freedom of Student's law, at the prior.
        sigma_min, sigma_max: the width of the noise at the data and at the prior.
        level_mean, level_std: mean and standard deviation of log(width / std) in training, with
            std that of the data.
    """
    from diffode.fields.learned_radial import LearnedRadial
    from diffode.fields.precond import KarrasPrediction
    from diffode.fields.radial_path import GaussianToStudent
    from diffode.fields.schedules import Karras
    from diffode.training.denoising import LogNormal
    from diffode.training.radial import RadialRegression

    path = GaussianToStudent(dof, sigma_min, sigma_max)
    inner = given.learned(Karras(sigma_min, sigma_max), KarrasPrediction(given.stats.std))
    levels = LogNormal(level_mean + math.log(given.stats.std), level_std)
    field = LearnedRadial(inner, path)
    return RadialRegression(field, levels, given.classes, given.label_drop)
