"""Fields: priors moved by a velocity, learned or exact."""

from diffode.fields.base import AffineField, Field, Start
from diffode.fields.critics import CriticBank
from diffode.fields.discrete import DiscreteBetas
from diffode.fields.divergences import Divergence, get_divergence
from diffode.fields.exact import Empirical
from diffode.fields.guided import DiscriminatorGuided, discriminator_guided
from diffode.fields.learned import Learned
from diffode.fields.mixture import Mixture
from diffode.fields.monoflow import Mobility, MonoFlow
from diffode.fields.poisson import PoissonField
from diffode.fields.ratios import ExactRatio, Frozen, GaussianFlow
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

__all__ = [
    "VE",
    "VP",
    "AffineField",
    "Cosine",
    "CriticBank",
    "DiscreteBetas",
    "DiscriminatorGuided",
    "Divergence",
    "Empirical",
    "ExactRatio",
    "Field",
    "Frozen",
    "GaussianFlow",
    "Karras",
    "Learned",
    "Mixture",
    "Mobility",
    "MonoFlow",
    "PoissonField",
    "Rectified",
    "Rescheduled",
    "Schedule",
    "Start",
    "SubVP",
    "discriminator_guided",
    "get_divergence",
    "rescheduled",
]
