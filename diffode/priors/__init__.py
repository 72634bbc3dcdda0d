"""Noise laws and priors: spherical distributions of any event shape."""

from diffode.priors.spherical import Normal, Spherical, StudentT, is_normal, is_student

__all__ = ["Normal", "Spherical", "StudentT", "is_normal", "is_student"]
