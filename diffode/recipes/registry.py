"""The names of recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diffode import registry

if TYPE_CHECKING:
    from diffode.training import Objective

_SOLVERS = {"ddim": "ddim"}  # names that also say how to sample


@dataclass(frozen=True)
class Recipe:
    """A named way to build an objective.

    Attributes:
        name: what the command line calls it; of code in a file, ``/folder/file.py:function``.
        about: one line on what it is.
        reference: the paper.
        function: called as ``function(given, **options)``.
        training: options of the trainer that serve it better than the trainer's own.
        labels: whether it learns from labels alone, so that they are always trained on.
        origin: the file or package of a recipe that is not diffode's own, see `registry.Entry`.
    """

    name: str
    about: str
    reference: str
    function: Callable[..., Objective]
    training: Mapping[str, Any] = field(default_factory=dict)
    labels: bool = False
    origin: str = ""


def recipe(
    name: str,
    *,
    about: str = "",
    reference: str = "",
    training: Mapping[str, Any] | None = None,
    aliases: tuple[str, ...] = (),
    labels: bool = False,
) -> Callable[[Callable[..., Objective]], Callable[..., Objective]]:
    """Register a function ``(given, *, option=default, ...) -> Objective``.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: Callable[..., Objective]) -> Callable[..., Objective]:
        stated: dict[str, Any] = {"about": about, "reference": reference, "aliases": aliases}
        facts: dict[str, Any] = {"training": training or {}, "labels": labels}
        registry.register("recipe", name, function, **stated, **facts)
        return function

    return register


def names() -> list[str]:
    """The names of all registered recipes."""
    return registry.names("recipe")


def solver_of(name: str) -> str:
    """The solver that a name asks for; "default" for most."""
    return _SOLVERS.get(name, "default")


def find(name: str, *, run: bool = False) -> Recipe:
    """The recipe of this name or alias.

    Arguments:
        name: of the recipe, or the place of its function, as ``mine.py:function``.
        run: whether the code at a place is run, see `registry.find`.

    Raises:
        ValueError: no such recipe, with the names there are.
    """
    entry = registry.find("recipe", name, run=run)
    stated = {key: entry.facts[key] for key in ("training", "labels") if key in entry.facts}
    about = entry.key, entry.about, entry.reference, entry.function
    return Recipe(*about, **stated, origin=entry.origin)
