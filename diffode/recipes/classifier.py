"""A classifier that knows noise, to guide other fields by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from diffode.options import Finite, Positive
from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.recipes.compose import Given
    from diffode.training import Objective


@recipe(
    "classifier",
    about="a classifier that knows noise, to guide fields without labels",
    reference="Dhariwal and Nichol (2021), https://arxiv.org/abs/2105.05233",
    labels=True,
)
def classifier(
    given: Given,
    *,
    noise: Literal["normal", "student"] = "normal",
    dof: Positive = 1.0,
    sigma_min: Positive = 0.002,
    sigma_max: Positive = 80.0,
    level_mean: Finite = 0.0,
    level_std: Positive = 1.2,
) -> Objective:
    """A classifier of noisy points, which guides the Gaussian with the data's moments.

    Its samples show what the classifier alone knows. ``--classifier RUN`` guides another field by
    it: one of normal noise any schedule, one of Student-t noise the Poisson fields of its dof.
    ``label_drop`` has no meaning here.

    Arguments:
        given: the data and the network.
        noise: the law of noise, normal or student.
        dof: the number D of augmented dimensions of ``noise=student``; 1 is PFGM's.
        sigma_min, sigma_max: the least and the largest noise level of a sampler's path.
        level_mean, level_std: place and width of the logistic law of log(level / std) in training,
            with std that of the data.
    """
    from diffode.fields.classified import classifier_guided
    from diffode.fields.noise_classifier import NoiseClassifier
    from diffode.fields.poisson import PoissonField
    from diffode.fields.precond import KarrasPrediction
    from diffode.fields.revealed import RevealedKarras
    from diffode.fields.schedules import Karras
    from diffode.priors import Normal, StudentT
    from diffode.training.classification import Classification
    from diffode.training.denoising import Logistic

    if given.classes is None:
        raise ValueError("a classifier learns labels, and there are none; give classes=")
    student, stats = noise == "student", given.stats
    law = StudentT(dof) if student else Normal()
    prediction = (
        RevealedKarras(stats, dof, sigma_min / 10, sigma_max * 10)
        if student
        else KarrasPrediction(stats.std)
    )
    network = given.classifier(prediction.conditions, given.classes * (1 + student))
    learned = NoiseClassifier(network, prediction, law, stats.mean, given.classes)
    gaussian = given.gaussian_fit(Karras(sigma_min, sigma_max), law)
    field = classifier_guided(PoissonField(gaussian) if student else gaussian, learned)
    return Classification(field, Logistic(level_mean + math.log(stats.std), level_std))
