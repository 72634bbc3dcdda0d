r"""Points that are changed by a part of the flow: towards noise, and back to other data.

A point x is given the noise of a time t in the middle of the flow, and moved to the data from
there. What the noise hides is drawn anew; what it leaves is kept. If x is drawn from the data, so
is the result, for every t.

Reference: SDEdit (Meng et al., 2022), https://arxiv.org/abs/2108.01073, algorithm 1, by the ODE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from diffode.data.scaling import model_units
from diffode.doors import Numbers, as_count, as_final, as_points
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Start
from diffode.fields.complete import require_field
from diffode.fields.corruption import require_velocity
from diffode.fields.generated import Generated
from diffode.rng import Rng
from diffode.sampling.batches import concatenated, slices
from diffode.sampling.choosing import choose
from diffode.sampling.drawing import as_first, flow
from diffode.sampling.encoding import decode, encode
from diffode.solvers import Solution, Solver
from diffode.solvers.base import Final


def edit(
    field: Field,
    x: Tensor,
    strength: float,
    y: Numbers | int | None = None,
    solver: Solver | str | None = None,
    nfe: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    final: Final | None = None,
    grid: str | None = None,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
    first: int = 0,
    deterministic: bool = False,
    y_source: Numbers | int | Literal["none"] | None = None,
    **options: Any,  # noqa: ANN401
) -> Solution:
    r"""Change points by noise and the flow back: :math:`x \to \alpha_t x + \sigma_t n \to x'`.

    With ``deterministic`` no noise is drawn: x is encoded to the time t, told the labels
    ``y_source``, and decoded, told y. So the same labels give x back, and others translate it.

    Arguments:
        field: an affine field; another one if ``deterministic``. A Poisson flow's kernel is drawn
            on the plane r = sigma sqrt(D), the same r for all rows.
        x: points in the units of the data, shape (B, *event). Half precision becomes single.
        strength: how far towards the prior, in (0, 1], see `time_at`. At 1 nothing is left of x:
            it is `sample` with the same seed (if ``deterministic``, x is encoded whole).
        y: labels to end with, shape (B,), or one for all.
        solver, nfe, steps, grid, options: of the way back, as for `diffode.sample`, but that grid
            is a kind; if ``deterministic`` of each of the two ways, as for `diffode.encode`.
        seed: of the noise and of a stochastic solver: row i depends on (seed, first + i) alone.
        final: as for `diffode.sample`; if ``deterministic``, None is "none".
        batch, progress, first: as for `diffode.sample`.
        deterministic: encode instead of adding noise.
        y_source: labels of x, for the encoding, where y are given; "none" encodes without.

    Raises:
        ValueError: points that are not finite, a strength outside of (0, 1], a bound Poisson
            field, labels of one end of ``deterministic`` alone, labels of x that no encoding
            uses, a solver that adds noise to one, or a count that does not fit.
        TypeError: a field without noise to add, or a generator.
    """
    require_field(field)
    x = as_points(x, field.event_shape)
    t = time_at(field, strength)
    field.require_rows(len(x))
    y = field.as_labels(y, len(x))
    moves = {"solver": solver, "nfe": nfe, "steps": steps, "grid": grid, **options}
    if deterministic:
        own = _source(field, y_source, y, len(x))
        return _translated(field, x, t, own, y, final or "none", batch, progress, moves)
    if y_source is not None:
        raise ValueError("got labels of x, but noise is the same for all; deterministic uses them")
    if not isinstance(field, AffineField):
        raise TypeError(
            f"{type(field).__name__} states no noise to add to x; use deterministic=True, which "
            "encodes it"
        )
    final = as_final(final, type(field).__name__, True)
    choice = choose(field, solver, nfe, steps, grid, final, options, t)
    u = model_units(x, field.scaling).to(field.device)
    seed, first = as_count(seed, "seed"), as_first(first, len(x))

    def start(rows: Tensor, rng: Rng, labels: Tensor | None) -> Start:
        own = field.rows(rows)
        if t == field.span[0]:
            return own.start(len(rows), rng, labels)
        assert isinstance(own, AffineField)
        return Start(own.corrupt(u[rows], t, rng)[0], own)

    return flow(field, start, len(x), choice, final, nfe, seed, y, batch, False, progress, first)


def time_at(field: Field, strength: float) -> float:
    r"""The time that a strength means: the fraction of the angle between data and prior.

    .. math:: \theta = \theta_{data} + strength \, (\theta_{prior} - \theta_{data}), \qquad
              \tan\theta = \sigma_t / (\alpha_t s)

    with s the data's standard deviation. The noise has :math:`\sin^2 \theta` of the variance of
    x_t: next to nothing at 0, about half at 0.5 and nearly all at 1, on every schedule. For a
    field that is not affine it is the fraction of its span.

    Raises:
        TypeError: something that is no number, or a generator.
        ValueError: a number outside of (0, 1], or one that is too small to leave t_data, or a
            bound Poisson field.
    """
    require_flow(field)
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise TypeError(f"got a strength of type {type(strength).__name__}; wanted a number")
    if not 0 < strength <= 1:
        raise ValueError(f"got strength {strength:g}; wanted a number above 0, and 1 at most")
    prior, data = field.span
    if strength == 1:
        return prior
    t = data + strength * (prior - data)
    if isinstance(field, AffineField):
        std = field.moments[1]
        most, least = (math.atan2(sigma, alpha * std) for alpha, sigma in field.schedule.ends())
        rho = std * math.tan(least + strength * (most - least))
        t = float(field.schedule.time(torch.tensor(rho, dtype=torch.float64)))
    if abs(t - data) <= 1e-12 * max(abs(t), abs(data)):  # rounding may even pass t_data
        raise ValueError(f"got strength {strength:g}, which is too small to leave t_data")
    return t


def require_flow(field: Field) -> None:
    """Refuse what has no way back from data.

    Raises:
        TypeError: a generator, or a corruption.
        ValueError: a bound Poisson field.
    """
    if isinstance(field, Generated):
        raise TypeError("a generator makes samples in one step; there is no way back from data")
    require_velocity(field, "the way back from data")
    if field.is_bound:
        raise ValueError(
            "a bound field's values belong to the rows that it was bound for; use its plane form"
        )


def _source(
    field: Field, y_source: Numbers | int | str | None, y: Tensor | None, rows: int
) -> Tensor | None:
    """The labels that x is encoded with, None for none.

    Raises:
        ValueError: labels of x, or of where to end, without the others.
    """
    if isinstance(y_source, str):
        if y_source != "none":
            raise ValueError(f"got y_source={y_source!r:.40}; wanted labels, or 'none'")
        return None
    if (y_source is None) != (y is None):
        given, lacking = ("y", "y_source") if y_source is None else ("y_source", "y")
        raise ValueError(
            f"got {given} and no {lacking}; give both, y_source the labels of x (or 'none' to "
            "encode without a label) and y those to end with"
        )
    return field.as_labels(y_source, rows)


def _translated(
    field: Field,
    x: Tensor,
    t: float,
    y_source: Tensor | None,
    y: Tensor | None,
    final: Final,
    batch: int | None,
    progress: Callable[[int], None] | None,
    moves: dict[str, Any],
) -> Solution:
    """Points encoded to time t, told their labels, and decoded, told others."""
    parts = []
    for rows in slices(len(x), batch, progress):
        part = field.rows(torch.arange(rows.start, rows.stop))
        own, other = (None if labels is None else labels[rows] for labels in (y_source, y))
        there = encode(part, x[rows], y=own, at=t, **moves)
        back = decode(part, there.x, y=other, at=t, final=final, **moves)
        parts.append(both_ways(there, back))
    return concatenated(parts)


def both_ways(there: Solution, back: Solution) -> Solution:
    """A decoding, with what the encoding of the same rows has spent and could not finish."""
    return replace(
        back,
        nfe=there.nfe + back.nfe,
        network_calls=there.network_calls + back.network_calls,
        nfe_per_row=there.nfe_per_row + back.nfe_per_row,
        status=torch.maximum(there.status, back.status),
    )
