"""Solvers: they move the points of any field, and count what that costs.

Listing them needs no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from diffode import registry
from diffode.options import require_takes, validate
from diffode.solvers import builtin  # it registers diffode's own

if TYPE_CHECKING:
    from diffode.solvers.base import Solution, Solver
    from diffode.solvers.counted import CountedField
    from diffode.solvers.grids import grid
    from diffode.solvers.steps import Step

__all__ = ["CountedField", "Solution", "Solver", "Step", "get_solver", "grid", "names"]

DEFAULT = "trig"
_HOMES = {
    "CountedField": "counted",
    "Solution": "base",
    "Solver": "base",
    "Step": "steps",
    "grid": "grids",
}


def names() -> list[str]:
    """The names that `get_solver` knows, beside "default"."""
    return registry.names("solver")


def get_solver(name: str = "default", **options: Any) -> Solver:  # noqa: ANN401
    """The solver of this name.

    Arguments:
        name: as listed by ``diffode solvers``, or a place as ``mine.py:MySolver``, whose code is
            run; "default" is the one that serves best untuned.
        options: of that solver, such as ``eta`` (ddim), ``rtol`` and ``atol`` (adaptive methods).

    Raises:
        ValueError: an unknown name or option, or an option out of range.
        TypeError: the name of something else than a solver.
    """
    return _made(_entry(name, run=True), options)


def stored_solver(name: str, **options: Any) -> Solver:  # noqa: ANN401
    """As `get_solver`, for a name that stands in a file: no code of a place is run for it."""
    return _made(_entry(name), options)


def maker(name: str) -> Callable[..., Solver]:
    """The class or function that makes a solver; its keyword-only parameters are the options.

    Raises:
        ValueError: an unknown name.
    """
    return _entry(name, run=True).function


def _entry(name: str, run: bool = False) -> registry.Entry:
    if name in builtin.INEXACT:
        raise ValueError(f"no solver named {name!r}: {builtin.INEXACT[name]}")
    return registry.find("solver", DEFAULT if name == "default" else str(name), run=run)


def _made(entry: registry.Entry, options: dict[str, Any]) -> Solver:
    from diffode.solvers.base import Solver

    make = entry.function
    known = validate(f"solver {entry.name!r}", options, make)
    require_takes(f"the solver {entry.name!r}", make, *entry.facts.get("arguments", ()))
    solver = make(*entry.facts.get("arguments", ()), **known)
    if not isinstance(solver, Solver):
        raise TypeError(
            f"solver {entry.name!r} made an object of type {type(solver).__name__}; wanted a "
            "diffode.solvers.Solver"
        )
    return solver


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")  # as diffode.solvers.reverse is
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
