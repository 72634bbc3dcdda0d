"""Rectified flow, which is flow matching on straight paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from diffode.options import Positive
from diffode.recipes.coupled import REGULARISATION, require_used
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
    *,
    schedule: str = "rectified",
    coupling: Literal["independent", "ot", "sinkhorn", "pairs"] = "independent",
    regularisation: Positive = REGULARISATION,
    kappa: Annotated[float, Ge(0), Le(1)] = 0.0,
) -> Objective:
    """Rectified flow: n - x_0 regressed at uniform times.

    Arguments:
        schedule: the path: rectified is straight; another registered name, as cosine (Ma et al.,
            2024, https://arxiv.org/abs/2401.08740), or ``mine.py:MySchedule``.
        coupling: which noise meets which sample: independent; the nearest of the batch by exact
            (ot) or entropic (sinkhorn) optimal transport, within a label where labels are trained
            on (Tong et al., 2023, https://arxiv.org/abs/2302.00482); or pairs, which the data
            bring.
        regularisation: of coupling=sinkhorn, epsilon over the mean squared distance of a batch.
        kappa: for coupling=pairs, how far the target moves to what a slow average of the network
            says at another point of the same path; right for pairs that a flow has made.
    """
    from diffode.fields.named import named_schedule
    from diffode.fields.precond import VelocityPrediction
    from diffode.fields.schedules import Rectified
    from diffode.training.denoising import Denoising, Uniform
    from diffode.training.filtered import Filtered

    require_used(coupling, regularisation)
    path = named_schedule(schedule)
    field = given.learned(path, VelocityPrediction())
    low, high = (0.0, 1.0) if isinstance(path, Rectified) else sorted(path.span)
    labels = given.classes, given.label_drop
    if kappa:
        if coupling != "pairs":
            raise ValueError(
                f"got kappa={kappa:g} for coupling={coupling}, under which the filtered target is "
                "biased; it is for the pairs that a flow has made: coupling=pairs"
            )
        return Filtered(field, Uniform(low, high), *labels, kappa=kappa)
    return Denoising(field, Uniform(low, high), *labels, coupling, regularisation)
