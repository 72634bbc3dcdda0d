r"""Toy strings: six letters A, C, G, T by two Markov chains, whose law is known exactly.

A string is of either kind with probability one half, and its first letter is uniform. In the kind
0 a letter is followed by the next of A, C, G, T, A with probability .85; in the kind 1 by the one
that pairs with it, A with T and C with G; by each of the others with .05.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffode.data.base import Dataset
from diffode.doors import as_state
from diffode.rng import Rng

LETTERS, LENGTH = "ACGT", 6
_LIKELY, _RARE = 0.85, 0.05
_FOLLOWS = ((1, 2, 3, 0), (3, 2, 1, 0))  # the likely next letter of each, by the kind


def _chains() -> Tensor:
    """The probability of each next letter, shape (kinds, 4, 4), float64."""
    chains = torch.full((2, 4, 4), _RARE, dtype=torch.float64)
    for chain, after in zip(chains, _FOLLOWS, strict=True):
        chain[torch.arange(4), torch.tensor(after)] = _LIKELY
    return chains


def strings(n: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """Strings (n, 6) as whole numbers 0 to 3, float32, and their kinds (n,)."""
    kind = (rng.uniform("kind", (n,)) < 0.5).long()
    u, edges = rng.uniform("letter", (n, LENGTH)), _chains().cumsum(-1)
    letters = [(u[:, 0] * 4).long()]
    for i in range(1, LENGTH):
        beyond = edges[kind, letters[-1]] < u[:, i, None]
        letters.append(beyond.sum(1).clamp_max(3))
    return torch.stack(letters, 1).float(), kind


def log_probability(x: Tensor) -> Tensor:
    """The exact log-probability of strings (B, 6) -> (B,), in nats.

    Raises:
        ValueError: another shape, or numbers that are no letters.
    """
    x = as_state(x, (LENGTH,))
    k = x.long()
    if not bool(((x == k) & (k >= 0) & (k < 4)).all()):
        raise ValueError("got numbers that are no letters; those are 0, 1, 2 and 3")
    each = _chains().log().to(x.device)[:, k[:, :-1], k[:, 1:]].sum(-1)
    return (each.logsumexp(0) - math.log(2 * 4)).to(x.dtype)


def dataset(seed: int = 0, train: int = 20_000, test: int = 4_000) -> Dataset:
    """The first ``train`` strings, and the next ``test`` strings to test with."""
    x, kind = strings(train + test, Rng(seed))
    parts = (x[:train], x[train:], kind[:train], kind[train:])
    return Dataset("dna", *parts, 2, log_probability, class_names=("cycle", "pairs"))
