"""Along a field's flow: from the prior to data, from data to the prior, and back."""

from diffode.sampling.drawing import sample
from diffode.sampling.encoding import decode, encode, round_trip

__all__ = ["decode", "encode", "round_trip", "sample"]
