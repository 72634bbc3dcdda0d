"""Which solver moves a field's points, and at which times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffode.doors import as_count
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.corruption import require_velocity
from diffode.solvers import Solver, get_solver, grid
from diffode.solvers.base import Final
from diffode.solvers.grids import own_times, zero_noise_times

if TYPE_CHECKING:  # pydantic takes a third of a second to import
    from diffode.solvers.fitted import FittedGrid

DEFAULT_NFE = 35
ENCODER, TOLERANCE = "dopri5", 1e-7  # at 1e-6 a row in fifty can come back 3e-4 away


@dataclass(frozen=True)
class Choice:
    """How points are moved.

    Attributes:
        solver: what takes the steps.
        times: from the first to the last.
        to_zero_noise: whether the last step ends at the data itself, where sigma is 0.
    """

    solver: Solver
    times: Tensor
    to_zero_noise: bool


def choose(
    field: Field,
    solver: Solver | str | None,
    nfe: int | None,
    steps: int | None,
    grid: str | Path | FittedGrid | None,
    final: Final,
    options: dict[str, Any],
    start: float | None = None,
) -> Choice:
    """How samples of a field are drawn, from what `diffode.sample` is given.

    Arguments:
        field, solver, nfe, steps, grid, final, options: as `diffode.sample` is given them.
        start: the time that the points are at, which no fitted grid is for; None is t_prior.

    Raises:
        ValueError: a name, a count or an option that does not fit.
        TypeError: a solver that cannot use the field.
    """
    nfe, steps = (
        None if value is None else as_count(value, name, 1)
        for value, name in ((nfe, "nfe"), (steps, "steps"))
    )
    fitted = _fitted(field, grid)
    if fitted is not None and start is not None:
        raise ValueError("a fitted grid is for the whole way from t_prior; give a kind of grid")
    if fitted is not None:
        own = _fitted_solver(fitted, field, solver, options, nfe, steps)
        own.check(field)
        times = torch.tensor(fitted.times, dtype=torch.float64)
        return Choice(own, times, final == "denoise" and own.reaches_zero_noise)
    assert grid is None or isinstance(grid, str)  # by _fitted
    chosen = solver_for(field, solver, options)
    chosen.check(field)
    if final == "denoise" and chosen.reaches_zero_noise and (nfe is None or steps is None):
        assert isinstance(field, AffineField)  # by as_final
        usual = _own_steps(field, chosen, start) or chosen.steps(DEFAULT_NFE)
        count = steps or (usual if nfe is None else chosen.steps(nfe))
        times_ = zero_noise_times(field, count, grid or chosen.grid, start)
        if times_ is not None:
            return Choice(chosen, times_, True)
    return Choice(chosen, times_for(field, chosen, nfe, steps, grid, final, start), False)


def _own_steps(field: Field, solver: Solver, start: float | None) -> int | None:
    """How many steps a field's own solver takes where nothing is stated; None for another one."""
    own = field.sampling_defaults
    return None if own is None or own.solver != solver.name else len(own_times(field, start)) - 1


def solver_for(
    field: Field, solver: Solver | str | None, options: dict[str, Any], back: bool = False
) -> Solver:
    """A solver as it is, the one of a name, or for None and "default" the field's usual one.

    Arguments:
        field: what it will move.
        solver: the solver or its name.
        options: of the named one.
        back: against the flow, where a field's own solver is not taken.

    Raises:
        ValueError: an unknown name or option, or options beside a solver.
    """
    if isinstance(solver, Solver):
        if options:
            raise ValueError("solver options go with a solver's name, not with a solver")
        return solver
    if solver in (None, "default"):
        own = None if back else field.sampling_defaults
        solver = field.usual if own is None else own.solver
    return get_solver(solver, **options)


def encoder_for(
    field: Field,
    solver: Solver | str | None,
    options: dict[str, Any],
    counted: bool,
    back: bool = False,
) -> Solver:
    """As `solver_for`, for points that are to come back the same.

    None is dopri5, and a named method with a tolerance has 1e-7 where none is stated.

    Arguments:
        field, solver, options, back: as for `solver_for`.
        counted: whether evaluations, steps or a grid are stated, with which None is the usual
            solver.

    Raises:
        ValueError: an unknown name or option, options beside a solver, or a solver that adds
            noise.
    """
    require_velocity(field, "to encode a point")
    if solver is None and not counted:
        solver = ENCODER
    chosen = solver_for(field, solver, options, back)
    if chosen.normal_only:
        raise ValueError(
            f"{chosen.name} adds noise, so that no encoded point comes back; use a solver that "
            "adds none, such as heun"
        )
    if not isinstance(solver, Solver):
        for name in {"rtol", "atol"} - options.keys():
            if hasattr(chosen, name):
                setattr(chosen, name, TOLERANCE)
    return chosen


def times_for(
    field: Field,
    solver: Solver,
    nfe: int | None,
    steps: int | None,
    kind: str | None,
    final: Final,
    start: float | None = None,
) -> Tensor:
    """The times of a flow from t_prior to t_data, or from another time on.

    Arguments:
        field, solver: what is moved, and by what.
        nfe, steps: at most one of the two, as for `diffode.sample`.
        kind: of the grid; None is the solver's favourite.
        final: "denoise" leaves one evaluation for the end.
        start: the first time; None is t_prior.

    Raises:
        ValueError: a count that does not fit the solver, or both.
    """
    nfe = None if nfe is None else as_count(nfe, "nfe", 1)
    if nfe is not None and steps is not None:
        raise ValueError(f"got nfe={nfe} and steps={steps}; give one of the two")
    if solver.adaptive:
        if nfe is not None:
            raise ValueError(
                f"{solver.name} chooses its own steps, so nfe cannot be set; give rtol and atol, "
                "or steps for the times to report"
            )
        return grid(field, 1 if steps is None else steps, kind or "native", start)
    own = field.sampling_defaults
    if own is not None and (own.solver == solver.name or not isinstance(field, AffineField)):
        if nfe is None and steps is None:
            steps = len(own_times(field, start)) - 1
        kind = kind or "own"
    if steps is None:
        steps = _steps_of(solver, DEFAULT_NFE if nfe is None else nfe, final == "denoise")
    favourite = solver.grid if isinstance(field, AffineField) else "native"
    return grid(field, steps, kind or favourite, start)


def as_start(t: float | None, field: Field) -> float | None:
    """A time that a flow to the data can start at; None is t_prior.

    Raises:
        TypeError: something that is no number.
        ValueError: t_data itself, or a time outside of the span.
    """
    if t is None:
        return None
    first, last = field.span
    if isinstance(t, bool) or not isinstance(t, int | float):
        raise TypeError(f"got a time of type {type(t).__name__}; wanted a number")
    if not 0 < (last - t) / (last - first) <= 1:
        raise ValueError(
            f"got the time {t:g}; a flow to the data starts at t_prior = {first:g} or between it "
            f"and t_data = {last:g}"
        )
    return float(t)


def _steps_of(solver: Solver, nfe: int, denoises: bool) -> int:
    """How many steps so many evaluations pay for.

    Raises:
        ValueError: not one.
    """
    steps = solver.steps(nfe - denoises)
    if steps < 1:
        raise ValueError(
            f"nfe={nfe} does not pay for one step of {solver.name} "
            f"({solver.nfe_per_step} a step{', 1 to denoise' if denoises else ''})"
        )
    return steps


def _fitted(field: Field, grid: str | Path | FittedGrid | None) -> FittedGrid | None:
    """The fitted grid that was given, if one was and not a kind."""
    if grid is None or (isinstance(grid, str) and not grid.endswith(".json")):
        return None
    from diffode.solvers.fitted import FittedGrid, read_grid

    if not isinstance(grid, str | Path | FittedGrid):
        raise TypeError(f"got a grid of type {type(grid).__name__}; wanted a kind or a fitted one")
    fitted = grid if isinstance(grid, FittedGrid) else read_grid(grid)
    fitted.check(field)
    return fitted


def _fitted_solver(
    fitted: FittedGrid,
    field: Field,
    solver: Solver | str | None,
    options: dict[str, Any],
    nfe: int | None,
    steps: int | None,
) -> Solver:
    """The solver that a grid was fitted for, unless another was asked for."""
    if options or solver not in (None, "default"):
        fitted.check_solver(solver_for(field, solver, options))
    own = fitted.make_solver()
    count = len(fitted.times) - 1
    if steps not in (None, count) or (nfe is not None and own.steps(nfe) < count):
        raise ValueError(f"this grid has {count} steps; leave out nfe and steps")
    return own
