"""The exact field of a data set, on the path of a recipe that is named: nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from diffode import registry
from diffode.analysis.stages import exact_field
from diffode.data import Dataset
from diffode.data.source import whole
from diffode.data.stats import data_stats
from diffode.fields import EmpiricalRadial
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.learned_radial import LearnedRadial
from diffode.recipes import find
from diffode.rng import Rng
from diffode.runs.building import build

POINTS = 4096  # of a data set that the exact field is of, at most
_NONE = "{} has no exact field that data alone decide; train it, and give the run"


def is_recipe(name: str) -> bool:
    """Whether a name is that of a recipe, or an alias; a path of that name is given as ./name.

    Raises:
        ValueError: something lies at a path of that name.
    """
    known = name in {*registry.names("recipe"), *registry.aliases("recipe")}
    if known and Path(name).exists():
        raise ValueError(
            f"{name} is a field of diffode fields, and a path here; give ./{name} for the path, "
            "or go to another folder for the field"
        )
    return known


def exact(name: str, dataset: Dataset, **options: Any) -> Field:  # noqa: ANN401
    """The exact field that a recipe's network would learn from a data set.

    It is of the law where that is a mixture of few Gaussians, else of up to 4,096 training points
    (`diffode.analysis.stages.exact_field`).

    Arguments:
        name: of the recipe, as in ``diffode fields``.
        dataset: the data.
        options: of the recipe, such as ``dof``.

    Raises:
        ValueError: a recipe whose field is none that points alone decide.
    """
    recipe = find(name)
    if recipe.labels or recipe.name in ("flowmap", "gan"):
        raise ValueError(_NONE.format(recipe.name))
    stats = data_stats(dataset.train)
    small = {} if len(dataset.event_shape) == 1 else {"network": "mlp"}
    made = build(
        name, dataset.event_shape, None, stats, scaling=dataset.scaling, **small | options
    ).field
    found: Field
    if isinstance(made, LearnedRadial):
        rows = Rng(0).permutation("points", len(dataset.train))[:POINTS]
        found = EmpiricalRadial(whole(dataset.train)[rows].double(), made.path)
    elif isinstance(made, AffineField) and not made.coupled:
        found = exact_field(made, dataset)
    else:
        raise ValueError(_NONE.format(recipe.name))
    if dataset.scaling is not None:
        found.scaling = dataset.scaling
    return found.to(torch.device("cpu"))
