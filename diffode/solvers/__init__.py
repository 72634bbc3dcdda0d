"""Solvers: they move the points of any field, and count what that costs."""

from __future__ import annotations

from typing import Any, cast

from diffode.options import suggest, validate
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
        raise ValueError(
            f"no solver named {name!r}; {suggest(name, names())}solvers: {', '.join(names())}"
        )
    what = f"solver {name!r}"
    if name in _OWN:
        make: Any = _OWN[name]
        return cast(Solver, make(**validate(what, options, make)))
    tolerant = name in ode.ADAPTIVE_RK or name in ("implicit_adams", "scipy_solver")
    method = ode.tolerant if tolerant else ode.fixed
    return method(name, **validate(what, options, method))
