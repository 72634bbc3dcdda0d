"""Rectified flow, which is flow matching on straight paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.recipes.compose import Given
    from diffode.training import Objective


@recipe(
    "rectified",
    about="rectified flow: velocity prediction on straight paths",
    reference="Liu et al. (2023), https://arxiv.org/abs/2209.03003",
    aliases=("flow",),
)
def rectified(
    given: Given,
) -> Objective:
    """Rectified flow: n - x_0 regressed at uniform times."""
    from diffode.fields.precond import VelocityPrediction
    from diffode.fields.schedules import Rectified
    from diffode.training.denoising import Denoising, Uniform

    prediction = VelocityPrediction()
    field = given.learned(Rectified(), prediction)
    return Denoising(field, Uniform(0.0, 1.0), given.classes, given.label_drop)
