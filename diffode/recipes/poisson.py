"""Poisson flows: PFGM and PFGM++."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from diffode.options import Count, Finite, Positive
from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.fields.learned import Learned
    from diffode.fields.poisson import PoissonField
    from diffode.recipes.compose import Given
    from diffode.training import Objective


@recipe(
    "poisson",
    about="PFGM: charges in N+1 dimensions, started on the hemisphere",
    reference="Xu et al. (2022), https://arxiv.org/abs/2209.11178",
    aliases=("pfgm",),
)
def poisson(
    given: Given,
    *,
    dof: Positive = 1.0,
    sigma_min: Positive = 0.002,
    sigma_max: Positive = 80.0,
    level_mean: Finite = -0.5,
    level_std: Positive = 1.2,
    radius: Literal["auto", "fixed", "chi"] = "auto",
    objective: Literal["denoising", "regression", "single"] = "denoising",
    weighted: bool = True,
    gamma: Positive = 5.0,
    tau: Positive = 0.03,
    restrict: bool = False,
    points: Count | None = None,
) -> Objective:
    """PFGM by exact denoising, or by the paper's own regression.

    dof, sigma_max, level_mean, level_std, radius and weighted are for ``objective=denoising``;
    gamma, tau, restrict and points for the regression, whose sigma_max the paper's rule finds.
    restrict=true draws a smaller scale for the 38 % of points that are nearest to the plane, as
    the paper's code does, and so leaves far ones there untrained; it then starts on the plane
    within the norm cap, and frequencies of points come out wrong. ``objective=single`` stands for
    old runs, which can be sampled; it trains no new one.

    Arguments:
        given: the data and the network.
        dof: the number D of augmented dimensions; 1 is the paper's.
        sigma_min, sigma_max: the least and the largest height z above the data.
        level_mean, level_std: place and width of the logistic law of log(sigma / std) in training,
            with std that of the data.
        radius: how a sample's scale q is drawn at the start.
        objective: denoising, the paper's regression of a normalised field, or single (withdrawn).
        weighted: whether the loss has the exact weight; without it frequencies come out wrong.
        gamma: added to the norm by which the regression divides the field.
        tau: the growth of the perturbation's radius in the regression: (1 + tau)^m.
        restrict: whether points near the plane get a smaller scale, as in the paper's code.
        points: rows of a batch that the regression perturbs; without a value, all of them.
    """
    from diffode.fields.poisson import PoissonField
    from diffode.fields.revealed import RevealedKarras
    from diffode.fields.schedules import Karras
    from diffode.priors import StudentT
    from diffode.training.denoising import Logistic, PoissonDenoising

    if objective != "denoising":
        if dof != 1:
            raise ValueError(f"got dof={dof:g}; the paper's regression is for dof=1")
        if objective == "single":
            return _single(given, sigma_min, tau, restrict)
        return _regression(given, sigma_min, gamma, tau, restrict, points)
    prediction = RevealedKarras(given.stats, dof, sigma_min / 10, sigma_max * 10)
    inner = given.learned(Karras(sigma_min, sigma_max), prediction, StudentT(dof))
    law = Logistic(level_mean + math.log(given.stats.std), level_std)
    field = PoissonField(inner, radius=radius)
    return PoissonDenoising(field, law, given.classes, given.label_drop, weighted)


def _regression(
    given: Given, sigma_min: float, gamma: float, tau: float, restrict: bool, points: int | None
) -> Objective:
    """The paper's objective, on the plane z = z_max that its rule finds from the data."""
    from diffode.fields.normalised import NormalisedField
    from diffode.fields.schedules import Karras
    from diffode.priors import StudentT
    from diffode.training.regression import PoissonRegression, extent

    reach = extent(given.stats.norm, given.stats.mean.numel(), tau=tau)
    prediction = NormalisedField(gamma, given.stats.std)
    inner = given.learned(Karras(sigma_min, reach.z_max), prediction, StudentT(1.0))
    return PoissonRegression(
        _started(inner, restrict, reach.norm_cap),
        reach,
        tau=tau,
        gamma=gamma,
        restrict=restrict,
        points=points,
        classes=given.classes,
        label_drop=given.label_drop,
    )


def _single(given: Given, sigma_min: float, tau: float, restrict: bool) -> Objective:
    """The field of runs that regressed the forces of single charges."""
    from diffode.fields.normalised import NormalisedField
    from diffode.fields.schedules import Karras
    from diffode.priors import StudentT
    from diffode.training.objective import Withdrawn
    from diffode.training.regression import extent

    std, reach = given.stats.std, extent(given.stats.norm, given.stats.mean.numel(), tau=tau)
    schedule = Karras(max(sigma_min, 0.3 * std), reach.z_max)
    inner = given.learned(schedule, NormalisedField(0.0, std), StudentT(1.0))
    return Withdrawn(
        _started(inner, restrict, reach.norm_cap),
        "objective=single is withdrawn, since nothing is learned from it: a third of the samples "
        "lie far from the data; use denoising or regression (its runs can still be sampled)",
    )


def _started(inner: Learned, restrict: bool, norm_cap: float) -> PoissonField:
    from diffode.fields.poisson import PoissonField

    if restrict:
        return PoissonField(inner, radius="plane", max_radius=norm_cap)
    return PoissonField(inner)


@recipe(
    "pfgmpp",
    about="PFGM++: D augmented dimensions, EDM's preconditioning",
    reference="Xu et al. (2023), https://arxiv.org/abs/2302.04265",
    aliases=("pfgm++",),
)
def pfgmpp(
    given: Given,
    *,
    dof: Positive = 128.0,
    sigma_min: Positive = 0.002,
    sigma_max: Positive = 80.0,
    sigma_data: Positive | None = None,
    level_mean: Finite = -0.5,
    level_std: Positive = 1.2,
) -> Objective:
    """PFGM++: EDM with Student-t noise of dof = D, r = sigma sqrt(D).

    Arguments:
        given: the data and the network.
        dof: the number D of augmented dimensions; the larger, the nearer to EDM.
        sigma_min, sigma_max: the least and the largest noise level of a sampler's path.
        sigma_data: the standard deviation of the data; without a value, it is measured.
        level_mean, level_std: mean and standard deviation of log(sigma / sigma_data) in training.
    """
    from diffode.fields.precond import KarrasPrediction
    from diffode.fields.schedules import Karras
    from diffode.priors import StudentT
    from diffode.training.denoising import Denoising, LogNormal

    std = given.choose("sigma_data", sigma_data, given.stats.std)
    schedule, noise = Karras(sigma_min, sigma_max), StudentT(dof)
    field = given.learned(schedule, KarrasPrediction(std), noise)
    levels = LogNormal(level_mean + math.log(std), level_std)
    return Denoising(field, levels, given.classes, given.label_drop)
