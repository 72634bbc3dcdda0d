"""Along a field's flow: from the prior to data, from data to the prior, back, and in between."""

from diffode.sampling.drawing import sample
from diffode.sampling.editing import edit, time_at
from diffode.sampling.encoding import decode, encode, round_trip
from diffode.sampling.interpolation import interpolate, random_pairs
from diffode.sampling.smc import ParticleSolution, twisted

__all__ = [
    "ParticleSolution",
    "decode",
    "edit",
    "encode",
    "interpolate",
    "random_pairs",
    "round_trip",
    "sample",
    "time_at",
    "twisted",
]
