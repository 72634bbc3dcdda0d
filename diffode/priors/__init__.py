"""Noise laws and priors: spherical distributions of any event shape."""

from diffode.priors.spherical import Normal, Spherical, StudentT

__all__ = ["Normal", "Spherical", "StudentT"]
