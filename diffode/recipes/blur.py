"""Blurring diffusion: heat dissipation with noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Le, Lt

from diffode.options import Positive
from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.recipes.compose import Given
    from diffode.training import Objective

_WIDTH = 0.625  # the widest blur in sides of an image: 20 pixels of 32, as in the paper


@recipe(
    "blur",
    about="blurring diffusion: fine detail is blurred away on the way to noise",
    reference="Hoogeboom and Salimans (2022), https://arxiv.org/abs/2209.05557",
)
def blur(
    given: Given,
    *,
    blur_max: Annotated[float, Ge(0)] | None = None,
    d_min: Annotated[float, Gt(0), Le(1)] = 1e-3,
    beta_min: Positive = 0.1,
    beta_max: Positive = 20.0,
    t_min: Annotated[float, Gt(0), Lt(1)] = 1e-3,
) -> Objective:
    """Heat dissipation with the noise of VP, each frequency preconditioned by its own level.

    Arguments:
        given: the data and the network.
        blur_max: the width of the blur at time 1, in pixels; without a value, 0.625 of the longest
            side. With 0 nothing is blurred.
        d_min: the factor that no frequency falls below.
        beta_min, beta_max: the rate of noise at time 0 and at time 1; it grows linearly.
        t_min: the earliest time that is trained.
    """
    from diffode.fields.decay import Heat
    from diffode.fields.precond import CoordinatePrediction
    from diffode.fields.schedules import VP
    from diffode.fields.turned import Turned
    from diffode.training.denoising import TurnedDenoising, Uniform

    width = given.choose("blur_max", blur_max, _WIDTH * max(given.shape[-2:]))
    decay = Heat(given.shape, width, d_min)
    prediction = CoordinatePrediction(given.stats.std)
    field = Turned(given.learned(VP(beta_min, beta_max), prediction, decay=decay))
    return TurnedDenoising(field, Uniform(t_min, 1.0), given.classes, given.label_drop)
