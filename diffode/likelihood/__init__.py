"""Likelihoods: log-densities along the flow, dequantisation, and a card of what they hold."""

from diffode.likelihood.card import LikelihoodCard, likelihood_card
from diffode.likelihood.density import LogProb, log_prob
from diffode.likelihood.dequantisation import (
    Levels,
    bits_per_dim,
    dequantise,
    law_at_prior,
    levels_of,
)

__all__ = [
    "Levels",
    "LikelihoodCard",
    "LogProb",
    "bits_per_dim",
    "dequantise",
    "law_at_prior",
    "levels_of",
    "likelihood_card",
    "log_prob",
]
