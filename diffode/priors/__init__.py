"""Noise laws and priors: spherical distributions of any event shape."""

from diffode.priors.laws import Ball, GeneralisedNormal, RadialLogistic
from diffode.priors.radial import Radial
from diffode.priors.spherical import Normal, Spherical, StudentT, is_normal, is_student

__all__ = [
    "Ball",
    "GeneralisedNormal",
    "Normal",
    "Radial",
    "RadialLogistic",
    "Spherical",
    "StudentT",
    "is_normal",
    "is_student",
]
