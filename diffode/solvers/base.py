"""What a solver is: it moves points of any field along a list of times, and says what it spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from diffode.doors import as_times, single, unwritten
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, Latent
from diffode.fields.noise import require_steps
from diffode.rng import Rng
from diffode.solvers.counted import CountedField
from diffode.solvers.needs import require_fit
from diffode.solvers.solved import Other, as_solved, require_coordinates
from diffode.solvers.status import shortfall, with_lost
from diffode.solvers.steps import Step, changed, mark

Final = Literal["denoise", "none"]


@dataclass(frozen=True)
class Solution:
    """Where the points went.

    Attributes:
        x: the end points, shape (B, *event).
        times: the times asked for, from the first to the last.
        nfe: evaluations of the field, the final denoising included.
        nfe_per_row: the same for each row, shape (B,).
        network_calls: calls of the network in these evaluations: as many, but for guided fields
            (`Field.calls_at`).
        status: 0 for each row that reached its end, 1 where the budget of evaluations was spent
            before, 2 where x or the velocity is not finite, shape (B,).
        path: the states at ``times``, shape (len(times), B, *event), if asked for: the first is
            where the rows start and the last is x. A row that stopped keeps its last state.
        t_end: the time that x is at, where status is 0.
        final: "denoise" if x has no noise left: it is an estimate of the data x_0. "none" if x
            is a point of the path at ``t_end``, with that time's noise in it.
        t_per_row: the time that x is at for each row, shape (B,); None where all are at t_end.
        latent: where the flow starts from at t_prior: points, and a Poisson flow's q.
    """

    x: Tensor
    times: Tensor
    nfe: int
    nfe_per_row: Tensor
    status: Tensor
    path: Tensor | None
    t_end: float
    final: Final = "none"
    latent: Latent | None = None
    t_per_row: Tensor | None = None
    network_calls: int = 0

    @property
    def calls_per_row(self) -> Tensor:
        """The network calls of each row, float64, shape (B,): as its share of the evaluations."""
        return self.nfe_per_row.double() * (self.network_calls / max(self.nfe, 1))

    @property
    def q(self) -> Tensor | None:
        """The latent's augmented radius of each row of a Poisson flow, shape (B,)."""
        return None if self.latent is None else self.latent.q

    def shortfall(self, what: str = "rows") -> str:
        """One line on the rows that did not reach their end; empty where all did."""
        return shortfall(self.status, self.nfe_per_row, what)


class Solver:
    """Moves points along times; a new solver writes ``states``.

    Attributes:
        name: as in ``diffode solvers``.
        needs: the kind of field it can use, `Field` or `AffineField`.
        normal_only: whether it adds noise that must be normal.
        normal_advice: what to do for other noise instead.
        per_coordinate: whether it can use a field with an alpha for each coordinate of its points
            (`diffode.fields.Decay`); others are refused such a field.
        batch_coupled: whether the result of a row depends on the others.
        adaptive: whether it chooses its own steps between the times.
        clock: the clock that it integrates in, see `diffode.fields.rescheduled`; "auto" is the
            angle for affine fields and their own time for others.
        grid: the kind of time grid that it likes best.
        nfe_per_step: evaluations that a step spends.
        reaches_zero_noise: whether its last step can end at the data itself, where sigma
            is 0, so that no evaluation is needed to denoise.
        along_a_path: whether a row's noise is one path of Brownian motion, the same for any
            number of steps (`diffode.solvers.brownian`). Then more steps bring the row closer
            to one end point. A solver that draws new numbers at every step has no such end.
    """

    name = ""
    needs: type[Field] = Field
    normal_only = False
    normal_advice = "use eta=0 where it has that, heun or ddim, or a field with Normal() noise"
    per_coordinate = False
    batch_coupled = False
    adaptive = False
    clock: str = "native"
    grid = "native"
    nfe_per_step = 1
    reaches_zero_noise = False
    along_a_path = False

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:], starting from x at times[0]."""
        raise unwritten(self, "states")

    def steps(self, nfe: int) -> int:
        """The number of steps that at most ``nfe`` evaluations pay for."""
        return nfe // self.nfe_per_step

    def check(self, field: Field) -> None:
        """Refuse a field that this solver cannot use.

        Raises:
            TypeError: naming what was needed, what was got and what to do.
        """
        require_fit(self.name, self.needs, field)
        if isinstance(field, AffineField) and field.decay is not None:
            require_coordinates(self.name, self.per_coordinate, self.clock, field)
        if self.normal_only and isinstance(field, AffineField):
            require_steps(field.noise, field.coupled, self.name, self.normal_advice)

    def __call__(
        self,
        field: Field,
        x: Tensor,
        times: Tensor,
        y: Tensor | None = None,
        rng: Rng | None = None,
        path: bool = False,
        to_zero_noise: bool = False,
    ) -> Solution:
        """Integrate x, shape (B, *event), along times, shape (K + 1,), in either direction.

        Arguments:
            field: what moves the points.
            x: the points at times[0]; the result keeps their type, but that half precision
                becomes single before they are moved.
            times: strictly monotone, float64.
            y: labels, shape (B,).
            rng: where a stochastic solver's numbers come from.
            path: keep the states at all times.
            to_zero_noise: end at the data itself instead of times[-1], if it
                ``reaches_zero_noise``.

        Raises:
            TypeError: a field that the solver cannot use.
            ValueError: times that are not strictly monotone, or labels that do not fit x.
        """
        begun = self._begun(field, x, times, y, to_zero_noise)
        begun.f.end_only = not path
        kept = [(begun.state, begun.clock[0])]
        for last, t in _states(self, begun, rng or Rng()):
            kept = [*kept, (last, t)] if path else [(last, t)]
        return _solution(begun.f, begun.other, kept, begun.times, path)

    def iterate(
        self,
        field: Field,
        x: Tensor,
        times: Tensor,
        y: Tensor | None = None,
        rng: Rng | None = None,
        to_zero_noise: bool = False,
    ) -> Iterator[Step]:
        """Integrate as a call does, and yield a `Step` at each of times[1:].

        To leave the loop ends the solve. Where the points of a step are changed in place, a solve
        of the times that are left begins there, with fresh random numbers.

        Raises:
            TypeError, ValueError: as a call does; and ValueError, within the loop, where points
                are changed of which each is at a time of its own.
        """
        begun = self._begun(field, x, times, y, to_zero_noise)
        return self._iterated(field, begun, times, y, rng or Rng())

    def _iterated(
        self, field: Field, begun: _Begun, times: Tensor, y: Tensor | None, rng: Rng
    ) -> Iterator[Step]:
        k = 0
        while True:
            f, other = begun.f, begun.other
            for state, t in _states(self, begun, rng.again(k)):
                k += 1
                x = state.clone() if other is None else other.from_state(state, t)
                before = mark(x)
                yield Step(k, x, t if other is None else other.native(t), begun.denoised())
                if changed(x, before):
                    break
            if k == len(times) - 1:
                return
            if f.at is not None:
                raise ValueError(
                    f"got points changed that {self.name} has at times of their own; use a solver "
                    "that has all rows at one, such as heun"
                )
            begun = self._begun(field, x, times[k:], y, f.to_zero_noise)

    def _begun(
        self, field: Field, x: Tensor, times: Tensor, y: Tensor | None, to_zero_noise: bool
    ) -> _Begun:
        self.check(field)
        if to_zero_noise and not self.reaches_zero_noise:
            raise TypeError(f"{self.name} cannot end where sigma is 0; denoise its end point")
        x = single(field.as_state(x))
        y, times = field.as_labels(y, len(x)), as_times(times, x)
        other = as_solved(field, self.clock)
        clock = times if other is None else other.times(times)
        state = x if other is None else other.to_state(x, times[0])
        f = CountedField(field if other is None else other, y, to_zero_noise, clock)
        return _Begun(f, other, state, clock, times)

    def __repr__(self) -> str:
        options = [f"{k}={v:g}" for k, v in vars(self).items() if isinstance(v, float)]
        if self.clock not in ("native", "auto"):
            options.append(f"clock={self.clock}")
        return f"{self.name}({', '.join(options)})" if options else self.name


class _Begun(NamedTuple):
    """A solve before its first step.

    Attributes:
        f: what is evaluated.
        other: the same where it is the field on another clock or in a basis, else None.
        state, clock: the points and the times, on the clock integrated in.
        times: the field's own.
    """

    f: CountedField
    other: Other | None
    state: Tensor
    clock: Tensor
    times: Tensor

    def denoised(self) -> Tensor | None:
        """The latest E[x_0 | x], in the field's own state."""
        x0 = self.f.denoised()
        return x0 if x0 is None or self.other is None else self.other.shown(x0)


def _states(solver: Solver, begun: _Begun, rng: Rng) -> Iterator[tuple[Tensor, Tensor]]:
    """The states after the first, each with the time that it is at."""
    f = begun.f
    states = solver.states(f, begun.state, begun.clock, rng)
    for t, last in zip(begun.clock[1:], states, strict=True):
        yield last, t if f.at is None else f.at


def _solution(
    f: CountedField,
    other: Other | None,
    kept: list[tuple[Tensor, Tensor]],
    times: Tensor,
    path: bool,
) -> Solution:
    """What came of a solve, in the field's own state and time.

    Arguments:
        f: the field that was evaluated, with its counts.
        other: as in `_Begun`.
        kept: the states, each with the time that it is at: on the path, or the last alone.
        times: the field's own times.
        path: whether the path was asked for.
    """
    ends = kept[-1][1]
    states = [x if other is None else other.from_state(x, t) for x, t in kept]
    x = states[-1]
    rows = torch.full((len(x),), f.nfe, device=x.device)
    return Solution(
        x=x,
        times=times,
        nfe=f.nfe,
        nfe_per_row=rows if f.nfe_per_row is None else f.nfe_per_row,
        status=with_lost(torch.zeros_like(rows) if f.status is None else f.status, x),
        path=torch.stack(states) if path else None,
        t_end=float(times[-1]),
        final="denoise" if f.to_zero_noise else "none",
        t_per_row=None if f.at is None else ends if other is None else other.native(ends),
        network_calls=f.network_calls,
    )
