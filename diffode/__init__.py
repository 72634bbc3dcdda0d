"""diffode: generative models that are ODEs, one interface for all of them.

Every model here is a prior moved by a velocity, ``dx/dt = f_t(x)``. A *field* states the velocity
and the prior; shared solvers integrate any field; a trainer runs each field's own objective.

>>> from diffode import sample
>>> from diffode.fields import Mixture, VP
>>> import torch
>>> weights, means, stds = [0.3, 0.7], [[-2.0], [2.0]], [0.1, 0.1]
>>> two = Mixture(*map(torch.tensor, (weights, means, stds)), VP())
>>> round(float((sample(two, 1000, nfe=50).x > 0).double().mean()), 1)
0.7
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffode.data.stats import data_stats
    from diffode.likelihood.card import likelihood_card
    from diffode.likelihood.density import log_prob
    from diffode.recipes import recipe
    from diffode.rng import Rng
    from diffode.runs.building import build
    from diffode.runs.loading import load
    from diffode.runs.run import Run, fit
    from diffode.sampling import decode, edit, encode, interpolate, sample
    from diffode.solvers.fitting import fit_grid
    from diffode.training.checkpoint import save
    from diffode.training.trainer import train

__version__ = "0.1.0"

_HOMES = {
    "Rng": "diffode.rng",
    "Run": "diffode.runs.run",
    "build": "diffode.runs.building",
    "data_stats": "diffode.data.stats",
    "decode": "diffode.sampling.encoding",
    "edit": "diffode.sampling.editing",
    "encode": "diffode.sampling.encoding",
    "fit": "diffode.runs.run",
    "fit_grid": "diffode.solvers.fitting",
    "interpolate": "diffode.sampling.interpolation",
    "likelihood_card": "diffode.likelihood.card",
    "load": "diffode.runs.loading",
    "log_prob": "diffode.likelihood.density",
    "recipe": "diffode.recipes",
    "sample": "diffode.sampling.drawing",
    "save": "diffode.training.checkpoint",
    "train": "diffode.training.trainer",
}

__all__ = [
    "Rng",
    "Run",
    "build",
    "data_stats",
    "decode",
    "edit",
    "encode",
    "fit",
    "fit_grid",
    "interpolate",
    "likelihood_card",
    "load",
    "log_prob",
    "recipe",
    "sample",
    "save",
    "train",
]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")  # as diffode.fields is written
    raise AttributeError(f"module 'diffode' has no attribute {name!r}")
