"""Drawing samples: points of the prior, moved to the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffode.doors import Numbers, as_count, as_final, as_positive
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Start
from diffode.fields.complete import require_field
from diffode.fields.corruption import Corrupting
from diffode.priors import is_normal
from diffode.rng import Rng
from diffode.sampling.batches import by_batches, concatenated, denoised, in_data_units
from diffode.sampling.choosing import Choice, choose
from diffode.solvers import Solution, Solver
from diffode.solvers.base import Final

if TYPE_CHECKING:  # pydantic takes a third of a second to import
    from diffode.solvers.fitted import FittedGrid


def sample(
    field: Field,
    n: int,
    solver: Solver | str | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    y: Numbers | int | None = None,
    batch: int | None = None,
    path: bool = False,
    final: Final | None = None,
    grid: str | Path | FittedGrid | None = None,
    progress: Callable[[int], None] | None = None,
    first: int = 0,
    temperature: float = 1.0,
    **options: Any,  # noqa: ANN401
) -> Solution:
    r"""Draw samples: points of the prior, moved to the data's end of the field's span.

    Samples and their path are in the units of the data (``Field.scaling``), latents in those of
    the model.

    Sample i depends on (seed, i) alone, whatever n and batch, for every solver that does not
    couple rows.

    Arguments:
        field: what to sample.
        n: how many.
        solver: a solver or its name; None is the default: the field's own, as in
            ``Field.sampling_defaults``, else that of its kind (``Field.usual``): "trig" for affine
            fields, "revise" for corruptions and "heun" for others.
        nfe: the most evaluations to spend, a final denoising included; the solution says how
            many were.
        steps: the number of steps instead; with neither, the field's own, else 35 evaluations.
        seed: of the prior's draw and of a stochastic solver.
        y: labels, shape (n,): a tensor, an array or a list; one label stands for all.
        batch: rows held at once; None for all.
        path: keep the states at all times; the last of them is x, whatever ``final`` is.
        final: how samples end. "none" leaves them at t_data, with that time's small noise;
            "denoise", the default where a field states E[x_0 | x], makes them estimates of the
            data. It costs one evaluation, x <- E[x_0 | x]; nothing with a solver whose last step
            can end at sigma = 0, unless it has so many steps that the last would begin beyond
            t_data. A row that did not finish (see ``Solution.status``) stays where it stopped.
        grid: the kind of time grid, or a fitted one or its .json file; None is the solver's
            favourite.
        progress: called with the number of samples that are done after each batch.
        first: the number i of the first sample, to draw a part of a larger set.
        temperature: T > 0 moves the draw x of a normal prior to m + T (x - m), m the prior's mean.
            The samples of data that are one Gaussian are then T times as wide about their mean;
            for other data there is no such rule, and the law is not p^(1/T).
        options: of the named solver, such as ``rtol``.

    Raises:
        ValueError: a count, label or option that does not fit.
        TypeError: a solver that cannot use the field, or a temperature for a prior that is not
            normal.
    """
    require_field(field)
    n, seed = as_count(n, "n", 1), as_count(seed, "seed")
    first = as_first(first, n)
    field.require_rows(n)
    y = field.as_labels(y, n)
    final = as_final(final, type(field).__name__, isinstance(field, AffineField))
    temperature = as_temperature(temperature, field)
    choice = choose(field, solver, nfe, steps, grid, final, options)

    def start(rows: Tensor, rng: Rng, labels: Tensor | None) -> Start:
        return _warmed(field.rows(rows).start(len(rows), rng, labels), temperature)

    return flow(field, start, n, choice, final, nfe, seed, y, batch, path, progress, first)


def flow(
    field: Field,
    start: Callable[[Tensor, Rng, Tensor | None], Start],
    n: int,
    choice: Choice,
    final: Final,
    nfe: int | None = None,
    seed: int = 0,
    y: Tensor | None = None,
    batch: int | None = None,
    path: bool = False,
    progress: Callable[[int], None] | None = None,
    first: int = 0,
) -> Solution:
    """Move n points to the data, a batch at a time.

    Arguments:
        field: whose flow and units they are.
        start: where rows start, given their indices, their generator and their labels.
        choice: how they are moved.
        n, final, nfe, seed, y, batch, path, progress, first: as for `sample`, checked.

    Raises:
        ValueError: a solver that spends more than ``nfe``.
    """

    def moved(rows: slice) -> Solution:
        index = torch.arange(rows.start, rows.stop)
        labels = None if y is None else y[index].to(field.device)
        rng = Rng(seed).rows(first + index)
        x, own = start(index, rng, labels)
        end = choice.solver(own, x, choice.times, labels, rng, path, choice.to_zero_noise)
        if final == "denoise" and not choice.to_zero_noise:
            end = denoised(own, end, labels)
        if nfe is not None and end.nfe > nfe:
            raise ValueError(_overspent(choice.solver, end.nfe, nfe))
        return replace(end, latent=own.latent(x))

    with torch.no_grad():
        parts = by_batches(n, batch, moved, field.device, progress)
    return in_data_units(field, concatenated(parts))


def as_first(first: int, n: int) -> int:
    """The number of the first of n rows.

    Raises:
        TypeError: no whole number.
        ValueError: one below 0, or so large that the last row has none.
    """
    first = as_count(first, "first")
    if not 0 <= first <= 2**32 - n:
        raise ValueError(f"got first={first}, n={n}; samples count from 0 to 2^32 - 1")
    return first


def as_temperature(temperature: float, field: Field) -> float:
    """A temperature that a field's prior has a meaning for.

    Raises:
        ValueError: no positive finite number.
        TypeError: another temperature than 1, for a prior that is not normal.
    """
    value = as_positive(temperature, "temperature", "1 for the prior as it is")
    if value != 1 and isinstance(field, Corrupting):
        raise TypeError(f"got temperature {value:g} for a corruption, which has no normal prior")
    if value != 1 and not (field.prior is not None and is_normal(field.prior)):
        start = "points without a known law" if field.prior is None else str(field.prior)
        raise TypeError(
            f"got temperature {value:g} for a flow that starts from {start}; it scales a "
            "normal prior alone: a start under heavy-tailed noise says by its length how noisy "
            "it is, not how far it is from the mean"
        )
    return value


def _warmed(start: Start, temperature: float) -> Start:
    """A start m + T (x - m), and itself for T = 1."""
    prior = start.field.prior
    if temperature == 1 or prior is None:
        return start
    x = start.x.double()
    loc = prior.loc.to(x) if isinstance(prior.loc, Tensor) else prior.loc
    return Start((loc + temperature * (x - loc)).to(start.x), start.field)


def _overspent(solver: Solver, spent: int, nfe: int) -> str:
    """What is wrong with a solver that says of its steps that they cost less."""
    return (
        f"{type(solver).__name__} spent {spent} evaluations, and nfe={nfe} allows fewer; state in "
        f"the class what a step of it spends, which is nfe_per_step = {solver.nfe_per_step} now"
    )
