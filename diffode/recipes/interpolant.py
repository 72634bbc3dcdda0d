"""Interpolants: flows on curves between noise, or data of any kind, and data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from diffode.options import NonNegative, Positive
from diffode.recipes.coupled import REGULARISATION, require_used
from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.recipes.compose import Given
    from diffode.training import Objective


@recipe(
    "interpolant",
    about="stochastic interpolant: flows on curves that are chosen, from noise or other data",
    reference="Albergo et al. (2023), https://arxiv.org/abs/2303.08797",
)
def interpolant(
    given: Given,
    *,
    path: Literal["linear", "trigonometric", "bridge"] = "linear",
    gamma: NonNegative = 0.0,
    coupling: Literal["independent", "ot", "sinkhorn", "pairs"] = "independent",
    regularisation: Positive = REGULARISATION,
) -> Objective:
    """Stochastic interpolant: the rate of x_t = I(t, x_0, x_1) + gamma(t) z, and z, regressed.

    Arguments:
        given: the data and the networks.
        path: the curve I from the data x_0 at t = 0 to the start x_1 at t = 1.
        gamma: the noise in the middle, a of a sin(pi t), in units of the model. Above 0 a second
            network learns the score, and the solver sde-interpolant runs.
        coupling: which start meets which sample: independent; the nearest of the batch by exact
            (ot) or entropic (sinkhorn) optimal transport, within a label where labels are trained
            on (Tong et al., 2023, https://arxiv.org/abs/2302.00482); or pairs, which the data
            bring.
        regularisation: of coupling=sinkhorn, epsilon over the mean squared distance of a batch.
    """
    from diffode.fields.interpolant import Interpolant
    from diffode.fields.learned_interpolant import LearnedInterpolant
    from diffode.training.interpolants import InterpolantRegression

    require_used(coupling, regularisation)
    curve, stats = Interpolant(path, gamma), given.stats
    told = 1 + given.flip_label
    rate = given.net(told)
    noise = given.net(told, name="noise network", seed=1) if gamma else None
    ends = stats.mean, stats.std, given.starting
    field = LearnedInterpolant(curve, rate, noise, *ends, given.flip_label)
    labels = given.classes, given.label_drop
    return InterpolantRegression(field, *labels, coupling, regularisation)
