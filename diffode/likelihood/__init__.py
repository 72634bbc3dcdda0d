"""Likelihoods: log-densities along the flow, dequantisation, and a card of what they hold."""

from diffode.likelihood.bounds import Elbo, elbo
from diffode.likelihood.card import LikelihoodCard, likelihood_card
from diffode.likelihood.density import LogProb, log_prob
from diffode.likelihood.dequantisation import (
    Quantisation,
    bits_per_dim,
    dequantise,
    law_at_prior,
    quantisation_of,
)

__all__ = [
    "Elbo",
    "LikelihoodCard",
    "LogProb",
    "Quantisation",
    "bits_per_dim",
    "dequantise",
    "elbo",
    "law_at_prior",
    "likelihood_card",
    "log_prob",
    "quantisation_of",
]
