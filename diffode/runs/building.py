"""From a recipe's name to an objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffode import admission, registry
from diffode.data.scaling import Scaling
from diffode.data.stats import Stats
from diffode.doors import as_count, as_shape
from diffode.fields.starting import StartingPoints
from diffode.nn.own import named
from diffode.options import options_of, require_takes, validate
from diffode.recipes import find
from diffode.recipes.compose import make_given
from diffode.training.objective import Objective, Spec


def build(
    name: str,
    shape: tuple[int, ...],
    classes: int | None = None,
    stats: Stats | None = None,
    seed: int = 0,
    scaling: Scaling | None = None,
    starting: StartingPoints | None = None,
    **options: Any,  # noqa: ANN401
) -> Objective:
    """Build the objective of a recipe, with the field in it.

    Arguments:
        name: of the recipe, as in ``diffode fields``, or its place, as ``mine.py:my_recipe``,
            whose code is run.
        shape: of one event.
        classes: the number of labels, None for unconditional.
        stats: the data's statistics, from `data_stats`; None stands for standardised data.
        seed: of the network's initial weights.
        scaling: from the data's units to those that ``stats`` and the field are in, as
            `diffode.data.Dataset.scaling`; None where they are the same.
        starting: the points that the flow starts from, in the field's units; None is noise.
        options: the recipe's, and those of its network. ``network`` is a name, a place, a class or
            function that makes one, or a torch module, of which a copy is trained.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
        TypeError: a recipe that returns something else than an objective.
    """
    shape = as_shape(shape)
    classes = None if classes is None else as_count(classes, "classes")
    if min(shape) < 1:
        raise ValueError(f"got the event shape {shape}; each size counts from 1")
    if scaling is not None:
        scaling.require_fits(shape)
    found = find(str(name), run=True)
    given = admission.opened_parts(named(options))
    full = validate(f"field {found.name!r}", given, found.function, make_given)
    require_takes(f"the recipe {found.name!r}", found.function, None)
    own = {k: full.pop(k) for k in options_of(found.function).model_fields}
    data = make_given(shape, classes, stats, seed, starting, **full)
    objective: object = found.function(data, **own)  # what code of the user's own returns
    if not isinstance(objective, Objective):
        kind = type(objective).__name__
        raise TypeError(f"the recipe {found.name!r} returned a {kind}; wanted an Objective")
    if objective.field.scaling is not None:
        raise ValueError(
            f"the recipe {found.name!r} made a field with units of its own, "
            f"{objective.field.scaling}; leave Field.scaling and the clock of sampling to diffode"
        )
    if starting is not None and objective.starting is not starting:
        raise ValueError(
            f"{found.name} starts from noise alone; leave prior data away, or train interpolant"
        )
    if scaling is not None:
        objective.field.scaling = scaling
    objective.resolved = data.resolved
    known = options_of(found.function, make_given).model_fields
    defaults = {name: option.default for name, option in known.items()}
    code = admission.origins({"recipe": found.name, **admission.parts(own | full)})
    chosen = {} if "network" in code else _chosen(full, data.resolved)
    every = own | full | chosen
    objective.spec = Spec(found.name, shape, classes, every, defaults, tuple(chosen), code)
    objective.stats = stats or Stats.unit(shape)
    return objective


def _chosen(options: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes that a network of diffode's own took where options left them open."""
    if str(options["network"]).startswith(registry.OBJECT):
        return {}
    sizes = resolved.get("network", {})
    return {k: v for k, v in sizes.items() if options.get(k, ...) is None}
