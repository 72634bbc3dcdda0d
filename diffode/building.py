"""From a recipe's name to an objective."""

from __future__ import annotations

from typing import Any

from diffode.options import options_of, validate
from diffode.recipes import find
from diffode.recipes.compose import given
from diffode.training.objective import Objective, Spec
from diffode.training.stats import Stats


def build(
    name: str,
    shape: tuple[int, ...],
    classes: int | None = None,
    stats: Stats | None = None,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> Objective:
    """Build the objective of a recipe, with the field in it.

    Arguments:
        name: of the recipe, as in ``diffode fields``.
        shape: of one event.
        classes: the number of labels, None for unconditional.
        stats: the data's statistics, from `data_stats`; None stands for standardised data.
        seed: of the network's initial weights.
        options: the recipe's, and those of its network.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
    """
    found = find(name)
    full = validate(f"field {found.name!r}", options, found.function, given)
    own = {k: full.pop(k) for k in options_of(found.function).model_fields}
    objective = found.function(given(tuple(shape), classes, stats, seed, **full), **own)
    objective.spec = Spec(found.name, tuple(shape), classes, own | full)
    objective.stats = stats or Stats.unit(tuple(shape))
    return objective
