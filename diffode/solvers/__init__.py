"""Solvers: they move the points of any field, and count what that costs."""

from __future__ import annotations

import difflib
from functools import partial
from inspect import signature
from typing import Any

from diffode.solvers import ode
from diffode.solvers.base import Calls, Solution, Solver
from diffode.solvers.ddim import DDIM
from diffode.solvers.grids import grid
from diffode.solvers.heun import Heun
from diffode.solvers.ode import TorchDiffEq

__all__ = [
    "DDIM",
    "Calls",
    "Heun",
    "Solution",
    "Solver",
    "TorchDiffEq",
    "get_solver",
    "grid",
    "names",
]

DEFAULT = "heun"
_ABOUT = {
    "heun": "Heun's method, 2 evaluations a step, any field (Karras et al., 2022)",
    "ddim": "DDIM (eta), any affine field, Poisson flows included (Song et al., 2021)",
}
_OWN: dict[str, type[Solver]] = {"heun": Heun, "ddim": DDIM}


def names() -> list[str]:
    """The names that `get_solver` knows, beside "default"."""
    return [*_OWN, *ode.METHODS]


def describe() -> list[tuple[str, str]]:
    """The names with one line each."""
    return [(name, _ABOUT[name]) for name in _OWN] + ode.describe()


def get_solver(name: str = "default", **options: Any) -> Solver:  # noqa: ANN401
    """The solver of this name.

    Arguments:
        name: as listed by ``diffode solvers``; "default" is the one that serves best untuned.
        options: of that solver, such as ``eta`` (ddim), ``rtol`` and ``atol`` (adaptive methods).

    Raises:
        ValueError: an unknown name or option, or an option out of range.
    """
    name = DEFAULT if name == "default" else name
    if name not in names():
        close = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no solver named {name!r}; {hint}solvers: {', '.join(names())}")
    make: Any = _OWN.get(name, partial(TorchDiffEq, name))
    known = [p for p in signature(make).parameters if p != "method"]
    if name in ode.FIXED or name == "explicit_adams":
        known = []  # no tolerance to set
    for key, value in options.items():
        if key not in known:
            has = f"its options: {', '.join(known)}" if known else "it has none"
            raise ValueError(f"solver {name!r} has no option {key!r}; {has}")
        if not isinstance(value, int | float):
            raise ValueError(f"solver {name!r}: got {key}={value!r}; wanted a number")
    solver: Solver = make(**options)
    return solver
