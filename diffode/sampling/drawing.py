"""The two verbs on a field: sample it, and encode data with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffode.doors import as_count, as_final
from diffode.fields.base import AffineField, Field, Latent, expand_like
from diffode.rng import Rng
from diffode.solvers import Solution, Solver, get_solver, grid
from diffode.solvers.base import Final
from diffode.solvers.grids import landing
from diffode.solvers.status import DONE, with_lost

if TYPE_CHECKING:  # pydantic takes a third of a second to import
    from diffode.solvers.fitted import FittedGrid

DEFAULT_NFE = 35


def _times(
    field: Field,
    solver: Solver,
    nfe: int | None,
    steps: int | None,
    kind: str | None,
    final: Final,
) -> Tensor:
    nfe = None if nfe is None else as_count(nfe, "nfe", 1)
    if nfe is not None and steps is not None:
        raise ValueError(f"got nfe={nfe} and steps={steps}; give one of the two")
    if solver.adaptive:
        if nfe is not None:
            raise ValueError(
                f"{solver.name} chooses its own steps, so nfe cannot be set; give rtol and atol, "
                "or steps for the times to report"
            )
        return grid(field, 1 if steps is None else steps, kind or "native")
    if field.sampling_defaults is not None:
        if nfe is None and steps is None:
            steps = len(field.sampling_defaults.times) - 1
        kind = kind or "own"
    if steps is None:
        extra = final == "denoise"
        steps = solver.steps((DEFAULT_NFE if nfe is None else nfe) - extra)
        if steps < 1:
            raise ValueError(
                f"nfe={nfe} does not pay for one step of {solver.name} "
                f"({solver.nfe_per_step} a step{', 1 to denoise' if extra else ''})"
            )
    favourite = solver.grid if isinstance(field, AffineField) else "native"
    return grid(field, steps, kind or favourite)


def _plan(
    field: Field,
    solver: Solver,
    nfe: int | None,
    steps: int | None,
    kind: str | None,
    final: Final,
) -> tuple[Tensor, bool]:
    """The times, and whether the last step lands on the data."""
    if final == "denoise" and solver.reaches_zero_noise and (nfe is None or steps is None):
        assert isinstance(field, AffineField)  # by sample
        count = solver.steps(DEFAULT_NFE if nfe is None else nfe) if steps is None else steps
        times = landing(field, count, kind or solver.grid)
        if times is not None:
            return times, True
    return _times(field, solver, nfe, steps, kind, final), False


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
        usual = "default" if isinstance(field, AffineField) else "heun"
        solver = (
            field.sampling_defaults.solver
            if field.sampling_defaults is not None and not back
            else usual
        )
    return get_solver(solver, **options)


def _fitted(field: Field, grid: str | Path | FittedGrid | None) -> FittedGrid | None:
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
    if options or solver not in (None, "default"):
        fitted.check_solver(solver_for(field, solver, options))
    own = fitted.make_solver()
    count = len(fitted.times) - 1
    if steps not in (None, count) or (nfe is not None and own.steps(nfe) < count):
        raise ValueError(f"this grid has {count} steps; leave out nfe and steps")
    return own


def sample(
    field: Field,
    n: int,
    solver: Solver | str | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    y: Tensor | None = None,
    batch: int | None = None,
    path: bool = False,
    final: Final | None = None,
    grid: str | Path | FittedGrid | None = None,
    progress: Callable[[int], None] | None = None,
    first: int = 0,
    **options: Any,  # noqa: ANN401
) -> Solution:
    r"""Draw samples: points of the prior, moved to the data's end of the field's span.

    Sample i depends on (seed, i) alone, whatever n and batch, for every solver that does not
    couple rows.

    Arguments:
        field: what to sample.
        n: how many.
        solver: a solver or its name; None is the default: the field's own, as in
            ``Field.sampling_defaults``, else "trig" for affine fields and "heun" for others.
        nfe: the most evaluations to spend, a final denoising included; the solution says how
            many were.
        steps: the number of steps instead; with neither, the field's own, else 35 evaluations.
        seed: of the prior's draw and of a stochastic solver.
        y: labels, shape (n,).
        batch: rows held at once; None for all.
        path: keep the states at all times; the last of them is x, whatever ``final`` is.
        final: "denoise" leaves no noise: by x <- E[x_0 | x], one evaluation, or for nothing where
            the solver's last step can end at sigma = 0 and is longer than t_data's own level;
            "none" stays at t_data. The default is "denoise" where the field can. A row that did
            not finish (see ``Solution.status``) stays where it stopped.
        grid: the kind of time grid, or a fitted one or its .json file; None is the solver's
            favourite.
        progress: called with the number of samples that are done after each batch.
        first: the number i of the first sample, to draw a part of a larger set.
        options: of the named solver, such as ``rtol``.

    Raises:
        ValueError: a count, label or option that does not fit.
        TypeError: a solver that cannot use the field.
    """
    n, first, seed = as_count(n, "n", 1), as_count(first, "first"), as_count(seed, "seed")
    nfe, steps, batch = (
        None if value is None else as_count(value, name, 1)
        for value, name in ((nfe, "nfe"), (steps, "steps"), (batch, "batch"))
    )
    if not 0 <= first <= 2**32 - n:
        raise ValueError(f"got first={first}, n={n}; samples count from 0 to 2^32 - 1")
    y = field.as_labels(y, n)
    fitted = _fitted(field, grid)
    if fitted is not None:
        solver = _fitted_solver(fitted, field, solver, options, nfe, steps)
    solver = solver_for(field, solver, {} if fitted else options)
    solver.check(field)
    final = as_final(final, type(field).__name__, isinstance(field, AffineField))
    if fitted is not None:
        times, to_zero_noise = torch.tensor(fitted.times, dtype=torch.float64), final == "denoise"
        to_zero_noise = to_zero_noise and solver.reaches_zero_noise
    else:
        assert grid is None or isinstance(grid, str)  # by _fitted
        times, to_zero_noise = _plan(field, solver, nfe, steps, grid, final)
    parts = []
    with torch.no_grad():
        for done in range(0, n, batch or n):
            index = torch.arange(done, min(n, done + (batch or n)))
            labels = None if y is None else y[index].to(field.device)
            rng = Rng(seed).rows(first + index)
            start = field.start(len(index), rng, labels)
            part = solver(start.field, start.x, times, labels, rng, path, to_zero_noise)
            if final == "denoise" and not to_zero_noise:
                part = _denoise(start.field, part, labels)
            parts.append(replace(part, latent=start.field.latent(start.x)))
            if progress is not None:
                progress(done + len(index))
    return concatenated(parts)


def _denoise(field: Field, s: Solution, y: Tensor | None) -> Solution:
    """The rows that have finished moved to E[x_0 | x], and the end of their path with them."""
    assert isinstance(field, AffineField)
    done = s.status == DONE
    x = torch.where(expand_like(done, s.x).bool(), field.denoise(s.x, s.t_end, y), s.x)
    return replace(
        s,
        x=x,
        nfe=s.nfe + 1,
        nfe_per_row=s.nfe_per_row + done,
        status=with_lost(s.status, x),
        path=None if s.path is None else torch.cat((s.path[:-1], x[None])),
        final="denoise",
    )


def concatenated(parts: Sequence[Solution]) -> Solution:
    """The solutions of parts of a batch as one."""

    def join(name: str, dim: int = 0) -> Tensor | None:
        tensors = [getattr(p, name) for p in parts]
        return None if tensors[0] is None else torch.cat(tensors, dim)

    x, rows, status = join("x"), join("nfe_per_row"), join("status")
    assert x is not None and rows is not None and status is not None
    at = None
    if any(p.t_per_row is not None for p in parts):
        end = rows.new_tensor(parts[0].t_end, dtype=torch.float64)
        at = [end.expand(len(p.x)) if p.t_per_row is None else p.t_per_row for p in parts]
    return replace(
        parts[0],
        x=x,
        nfe=max(p.nfe for p in parts),
        nfe_per_row=rows,
        status=status,
        path=join("path", 1),
        latent=_latents([p.latent for p in parts if p.latent is not None]),
        t_per_row=None if at is None else torch.cat(at),
    )


def _latents(parts: list[Latent]) -> Latent | None:
    """The latents of all rows, where they are known."""
    if not parts:
        return None
    radii = [p.q for p in parts if p.q is not None]
    return Latent(torch.cat([p.x for p in parts]), torch.cat(radii) if radii else None)


def encode(
    field: Field,
    x: Tensor,
    solver: Solver | str | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    y: Tensor | None = None,
    path: bool = False,
    grid: str | None = None,
    **options: Any,  # noqa: ANN401
) -> Solution:
    """Carry data to the prior: the same flow against its direction, from t_data to t_prior.

    Arguments:
        field: the field; a bound Poisson field is refused, its plane form is not.
        x: data, shape (B, *event).
        solver, nfe, steps, y, path, grid, options: as for `sample`; nothing is denoised, and a
            field's own solver is not taken: Euler steps do not retrace Euler steps.

    Raises:
        ValueError: a field without a prior, or a shape or count that does not fit.
    """
    if field.prior is None:
        raise ValueError("a bound field has no prior to encode into; encode with its plane form")
    x = field.as_state(x)
    y = field.as_labels(y, len(x))
    solver = solver_for(field, solver, options, back=True)
    times = _times(field, solver, nfe, steps, grid, "none").flip(0)
    labels = None if y is None else y.to(field.device)
    with torch.no_grad():
        there = solver(field, x.to(field.device), times, labels, path=path)
    return replace(there, latent=field.latent(there.x))
