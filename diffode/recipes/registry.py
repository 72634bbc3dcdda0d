"""The table of recipes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diffode.inputs import quoted
from diffode.options import suggest

if TYPE_CHECKING:
    from diffode.training import Objective

_MODULES = ("diffusion", "poisson", "rectified", "monoflow")
_RECIPES: dict[str, Recipe] = {}
_ALIASES = {
    "pfgm": "poisson",
    "pfgm++": "pfgmpp",
    "sde": "vp",
    "flow": "rectified",
    "ddim": "ddpm",
}

_SOLVERS = {"ddim": "ddim"}  # names that also say how to sample


@dataclass(frozen=True)
class Recipe:
    """A named way to build an objective.

    Attributes:
        name: what the command line calls it.
        about: one line on what it is.
        reference: the paper.
        function: called as ``function(given, **options)``.
        training: options of the trainer that serve it better than the trainer's own.
    """

    name: str
    about: str
    reference: str
    function: Callable[..., Objective]
    training: Mapping[str, Any] = field(default_factory=dict)


def recipe(
    name: str, *, about: str, reference: str, training: Mapping[str, Any] | None = None
) -> Callable[[Callable[..., Objective]], Callable[..., Objective]]:
    """Register a function ``(given, *, option=default, ...) -> Objective``.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: Callable[..., Objective]) -> Callable[..., Objective]:
        if name in _RECIPES or name in _ALIASES:
            raise ValueError(f"the recipe name {name!r} is taken")
        _RECIPES[name] = Recipe(name, about, reference, function, training or {})
        return function

    return register


def _load() -> None:
    for module in _MODULES:
        importlib.import_module(f"diffode.recipes.{module}")


def names() -> list[str]:
    """The names of all registered recipes."""
    _load()
    return list(_RECIPES)


def aliases() -> dict[str, str]:
    """Other names and what they stand for."""
    return dict(_ALIASES)


def solver_of(name: str) -> str:
    """The solver that a name asks for; "default" for most."""
    return _SOLVERS.get(name, "default")


def find(name: str) -> Recipe:
    """The recipe of this name or alias.

    Raises:
        ValueError: no such recipe, with the names there are.
    """
    _load()
    key = _ALIASES.get(name, name)
    if key not in _RECIPES:
        known = [*_RECIPES, *_ALIASES]
        raise ValueError(
            f"no field named {quoted(name)}; {suggest(name, known)}"
            f"registered fields: {', '.join(_RECIPES)}"
        )
    return _RECIPES[key]
