"""Fields: priors moved by a velocity, learned or exact."""

from diffode.fields.base import AffineField, Field, Start
from diffode.fields.discrete import DiscreteBetas
from diffode.fields.exact import Empirical
from diffode.fields.learned import Learned
from diffode.fields.mixture import Mixture
from diffode.fields.poisson import PoissonField
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
    "DiscreteBetas",
    "Empirical",
    "Field",
    "Karras",
    "Learned",
    "Mixture",
    "PoissonField",
    "Rectified",
    "Rescheduled",
    "Schedule",
    "Start",
    "SubVP",
    "rescheduled",
]
