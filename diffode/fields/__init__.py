"""Fields: priors moved by a velocity, learned or exact."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Latent, SamplingDefaults, Start
from diffode.fields.decay import Decay, Heat
from diffode.fields.discrete import DiscreteBetas
from diffode.fields.exact import Empirical
from diffode.fields.learned import Learned
from diffode.fields.mixture import Mixture
from diffode.fields.poisson import PoissonField
from diffode.fields.precond import (
    CoordinatePrediction,
    DataPrediction,
    KarrasPrediction,
    NoisePrediction,
    Prediction,
    ScorePrediction,
    VelocityPrediction,
    VPrediction,
)
from diffode.fields.reschedule import Rescheduled, rescheduled
from diffode.fields.schedules import (
    VE,
    VP,
    Cosine,
    Karras,
    Rectified,
    Schedule,
    SubVP,
)
from diffode.fields.turned import Turned, blurred
from diffode.fields.wrapped import Wrapped

if TYPE_CHECKING:
    from diffode.fields.classified import ClassifierGuided, classifier_guided, classifier_of
    from diffode.fields.conditioning import Conditioned, conditioned
    from diffode.fields.corruption import Corrupting, Corruption
    from diffode.fields.critics import CriticBank
    from diffode.fields.curves import BrownianBridge
    from diffode.fields.denoised import AffineCorruption, Denoised
    from diffode.fields.divergences import Divergence, get_divergence
    from diffode.fields.enumerated import Enumerated
    from diffode.fields.flowmap import FlowMap
    from diffode.fields.guidance import ClassifierFree, classifier_free
    from diffode.fields.guided import DiscriminatorGuided, discriminator_guided
    from diffode.fields.interpolant import Interpolant, InterpolantField
    from diffode.fields.learned_interpolant import LearnedInterpolant
    from diffode.fields.monoflow import Mobility, MonoFlow
    from diffode.fields.pairs import EmpiricalInterpolant
    from diffode.fields.posteriors import exact_posterior, log_evidence
    from diffode.fields.radial_field import EmpiricalRadial
    from diffode.fields.radial_path import GaussianToStudent, RadialPath
    from diffode.fields.ratios import (
        ExactClassifier,
        ExactRatio,
        Frozen,
        GaussianFlow,
        PotentialRatio,
    )
    from diffode.fields.starting import StartingPoints
    from diffode.fields.tokens import Absorbing, Replacing, TokenField

_HOMES = {
    "Absorbing": "tokens",
    "AffineCorruption": "denoised",
    "Corrupting": "corruption",
    "Corruption": "corruption",
    "Denoised": "denoised",
    "Enumerated": "enumerated",
    "Replacing": "tokens",
    "TokenField": "tokens",
    "BrownianBridge": "curves",
    "ClassifierFree": "guidance",
    "Conditioned": "conditioning",
    "CriticBank": "critics",
    "Divergence": "divergences",
    "FlowMap": "flowmap",
    "classifier_free": "guidance",
    "conditioned": "conditioning",
    "ClassifierGuided": "classified",
    "classifier_guided": "classified",
    "classifier_of": "classified",
    "exact_posterior": "posteriors",
    "get_divergence": "divergences",
    "log_evidence": "posteriors",
    "DiscriminatorGuided": "guided",
    "discriminator_guided": "guided",
    "EmpiricalInterpolant": "pairs",
    "EmpiricalRadial": "radial_field",
    "GaussianToStudent": "radial_path",
    "RadialPath": "radial_path",
    "Interpolant": "interpolant",
    "InterpolantField": "interpolant",
    "LearnedInterpolant": "learned_interpolant",
    "StartingPoints": "starting",
    "Mobility": "monoflow",
    "MonoFlow": "monoflow",
    "ExactClassifier": "ratios",
    "ExactRatio": "ratios",
    "Frozen": "ratios",
    "GaussianFlow": "ratios",
    "PotentialRatio": "ratios",
}

__all__ = [
    "VE",
    "VP",
    "Absorbing",
    "AffineCorruption",
    "AffineField",
    "BrownianBridge",
    "ClassifierFree",
    "ClassifierGuided",
    "Conditioned",
    "CoordinatePrediction",
    "Corrupting",
    "Corruption",
    "Cosine",
    "CriticBank",
    "DataPrediction",
    "Decay",
    "Denoised",
    "DiscreteBetas",
    "DiscriminatorGuided",
    "Divergence",
    "Empirical",
    "EmpiricalInterpolant",
    "EmpiricalRadial",
    "Enumerated",
    "ExactClassifier",
    "ExactRatio",
    "Field",
    "FlowMap",
    "Frozen",
    "GaussianFlow",
    "GaussianToStudent",
    "Heat",
    "Interpolant",
    "InterpolantField",
    "Karras",
    "KarrasPrediction",
    "Latent",
    "Learned",
    "LearnedInterpolant",
    "Mixture",
    "Mobility",
    "MonoFlow",
    "NoisePrediction",
    "PoissonField",
    "PotentialRatio",
    "Prediction",
    "RadialPath",
    "Rectified",
    "Replacing",
    "Rescheduled",
    "SamplingDefaults",
    "Schedule",
    "ScorePrediction",
    "Start",
    "StartingPoints",
    "SubVP",
    "TokenField",
    "Turned",
    "VPrediction",
    "VelocityPrediction",
    "Wrapped",
    "blurred",
    "classifier_free",
    "classifier_guided",
    "classifier_of",
    "conditioned",
    "discriminator_guided",
    "exact_posterior",
    "get_divergence",
    "log_evidence",
    "rescheduled",
]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'diffode.fields' has no attribute {name!r}")
    return getattr(importlib.import_module(f"diffode.fields.{_HOMES[name]}"), name)
