"""The table of recipes, and the checking of options against a function's signature."""

from __future__ import annotations

import difflib
import importlib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

    from diffode.training import Objective

_MODULES = ("diffusion", "poisson", "rectified")
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
    """

    name: str
    about: str
    reference: str
    function: Callable[..., Objective]


def recipe(
    name: str, *, about: str, reference: str
) -> Callable[[Callable[..., Objective]], Callable[..., Objective]]:
    """Register a function ``(given, *, option=default, ...) -> Objective``.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: Callable[..., Objective]) -> Callable[..., Objective]:
        if name in _RECIPES or name in _ALIASES:
            raise ValueError(f"the recipe name {name!r} is taken")
        _RECIPES[name] = Recipe(name, about, reference, function)
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
            f"no field named {name!r}; {suggest(name, known)}"
            f"registered fields: {', '.join(_RECIPES)}"
        )
    return _RECIPES[key]


def suggest(name: str, known: list[str]) -> str:
    """ "did you mean ...? " for the nearest known name, or nothing."""
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}? " if close else ""


@cache
def options_of(*functions: Callable[..., Any]) -> type[BaseModel]:
    """The pydantic model of the functions' keyword-only parameters; further keys are forbidden."""
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = {}
    for function in functions:
        chosen = [p for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        notes = type("Notes", (), {"__annotations__": {p.name: p.annotation for p in chosen}})
        hints = typing.get_type_hints(notes, function.__globals__, include_extras=True)
        fields |= {p.name: (hints[p.name], p.default) for p in chosen}
    config = ConfigDict(extra="forbid", protected_namespaces=())
    return create_model("Options", __config__=config, **fields)


def validate(
    what: str, options: Mapping[str, Any], *functions: Callable[..., Any]
) -> dict[str, Any]:
    """Options checked against the functions' signatures and completed with their defaults.

    Strings, as they come from a command line, are converted.

    Arguments:
        what: how messages name the thing that has these options.
        options: the given ones.
        functions: whose keyword-only parameters are the options.

    Raises:
        ValueError: an unknown key, with the known ones, or a value that does not fit.
    """
    from pydantic import ValidationError

    model = options_of(*functions)
    for key in options:
        if key not in model.model_fields:
            known = list(model.model_fields)
            raise ValueError(
                f"{what} has no option {key!r}; {suggest(key, known)}options: {', '.join(known)}"
            )
    try:
        return model(**options).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"][0].lower() + first["msg"][1:]
        raise ValueError(f"{what}: got {first['loc'][0]}={first['input']!r}; {reason}") from None
