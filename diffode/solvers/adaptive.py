r"""Adaptive Runge-Kutta with a step size, an end and a status of its own for every sample.

A solver that measures one error for the whole batch moves all samples at the pace of the worst,
and each answer depends on the company. Here every row has its own step h, accepted where its
error :math:`E \le 1`, and scaled for the next one by
:math:`(E/0.2)^{-0.6/p} \, (E_{prev}/0.2)^{0.3/p}`. Rows that have arrived leave the batch.

The usual estimate of the error, the difference e of an embedded pair of orders p and p - 1, has
zeros: on a step over the place where a sample chooses its mode it can be hundreds of times too
small. So all combinations d of the slopes that vanish to order p - 2 count too:

.. math:: E = \max\bigl(|e|, \; 0.2 \, \tau^{1/(p-1)} \, |d|^{p/(p-1)}\bigr), \qquad
          |v|^2 = \frac{1}{N} \sum_n \Bigl(\frac{v_n}{a + r \max(|x_n|, |x'_n|)}\Bigr)^2,

with absolute and relative tolerance a and r, and :math:`\tau = \max(a, r)`, in which d is a part
of the state's size.

References: Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, section
II.4 (the norm, the first step); Hairer and Wanner (1996), part II, section IV.2 (the controller).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.fields.reschedule import Clock
from diffode.inputs import quoted
from diffode.options import Count, Positive
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.counted import CountedField
from diffode.solvers.status import DONE, LOST, MOST_NFE, SPENT, finite
from diffode.solvers.tableaus import DOPRI5, TSIT5

METHODS = {"dopri5-rows": DOPRI5, "tsit5-rows": TSIT5}

_AIM, _PROPORTIONAL, _MEMORY = 0.2, 0.6, 0.3
_SHRINK, _GROW = 0.2, 10.0
_ROUGHNESS = 0.2
_LONGEST, _SHORTEST = 1 / 3, 1e-14  # of the whole way


@dataclass(frozen=True)
class _Rows:
    """Rows of a batch on their way; every attribute has one entry for each.

    Attributes:
        index: their places in the batch.
        x, slope: states and velocities, shape (n, *event).
        t: times, float64.
        h: lengths of the next steps, positive, float64.
        error: E of the last accepted step, float64.
        nfe: evaluations so far.
        status: 0, or why the row has stopped.
    """

    index: Tensor
    x: Tensor
    slope: Tensor
    t: Tensor
    h: Tensor
    error: Tensor
    nfe: Tensor
    status: Tensor

    def take(self, which: Tensor) -> _Rows:
        return _Rows(*(getattr(self, f.name)[which] for f in fields(self)))


def _join(parts: list[_Rows]) -> _Rows:
    """Rows in the order of the batch."""
    order = torch.cat([p.index for p in parts]).argsort()
    return _Rows(*(torch.cat([getattr(p, f.name) for p in parts])[order] for f in fields(_Rows)))


class Adaptive(Solver):
    """An embedded Runge-Kutta pair that treats every sample apart.

    A row's status is 0 where it has reached the end, 1 where ``max_nfe`` evaluations did not
    suffice and 2 where its velocity is not finite, or so steep that no step is short enough. A
    row that stops keeps its last good state; the others go on.

    Arguments:
        method: "dopri5-rows" or "tsit5-rows".
        rtol, atol: relative and absolute tolerance of a step's error, rms over the event. In the
            angle they are in units of the state's standard deviation, at the end that of the
            data.
        clock: the time and state that are integrated in; "auto" is the angle for affine fields.
        max_nfe: the most evaluations for a row, over all times together.

    Raises:
        ValueError: an unknown method, or an option out of range.
    """

    adaptive = per_coordinate = True

    def __init__(
        self,
        method: str = "dopri5-rows",
        *,
        rtol: Positive = 1e-5,
        atol: Positive = 1e-5,
        clock: Clock | Literal["auto"] = "auto",
        max_nfe: Count = MOST_NFE,
    ) -> None:
        if method not in METHODS:
            raise ValueError(
                f"no method named {quoted(method)} here; methods: {', '.join(METHODS)}"
            )
        if not (rtol > 0 and atol > 0):
            raise ValueError(f"got rtol {rtol}, atol {atol}; tolerances are positive")
        self.name, self.tableau = method, METHODS[method]
        least = 2 + self.tableau.evaluations
        if max_nfe < least:
            raise ValueError(f"got max_nfe {max_nfe}; one step of {method} takes {least}")
        self.rtol, self.atol, self.clock, self.max_nfe = float(rtol), float(atol), clock, max_nfe

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        way = (times[-1] - times[0]).abs()
        rows = self._start(f, x, times[0], times[-1])
        for end in times[1:]:
            rows = self._reach(f, rows, end, way)
            rows = replace(rows, status=rows.status.masked_fill(rows.t == times[-1], DONE))
            f.nfe_per_row, f.status = rows.nfe, rows.status
            f.at = None if bool((rows.t == end).all()) else rows.t
            yield rows.x

    def _start(self, f: CountedField, x: Tensor, start: Tensor, end: Tensor) -> _Rows:
        """The rows at their start, with a first step by the velocity and its change."""
        t, way = start.repeat(len(x)), end - start
        slope = f.velocity(x, t)
        with torch.no_grad():
            scale = self.atol + self.rtol * x.abs()
            speed = _norm(slope / scale)
            h = 0.01 * _norm(x / scale) / speed
            h = h.nan_to_num(1.0, 1.0).clamp(1e-6 * way.abs(), 0.1 * way.abs())
            ahead = h * way.sign()
            trial = f.velocity(x + expand_like(ahead, x) * slope, t + ahead)
            change = _norm((trial - slope) / scale) / h
            power = 1 / (self.tableau.order + 1)
            h = torch.minimum(100 * h, (0.01 / torch.maximum(speed, change)) ** power)
            h = h.where(h.isfinite(), 1e-6 * way.abs())
            index = torch.arange(len(x), device=x.device)
            status = torch.zeros_like(index).masked_fill(~finite(slope), LOST)
        nfe = torch.full_like(index, 2)
        return _Rows(index, x, slope, t, h, torch.full_like(t, _AIM), nfe, status)

    def _reach(self, f: CountedField, rows: _Rows, end: Tensor, way: Tensor) -> _Rows:
        """Step all rows until they have arrived at the time ``end`` or stopped."""
        calls, parts = f, []
        while True:
            going = (rows.status == DONE) & (rows.t != end)
            count = int(going.sum())  # the one time a step that the host waits for the device
            if count < len(going):
                parts.append(rows.take(~going))
                rows = rows.take(going)
                calls = f.rows(rows.index).counting_on(calls)
            if not count:
                f.counting_on(calls)
                return _join(parts)
            rows = self._step(calls, rows, end, way)

    def _step(self, f: CountedField, rows: _Rows, end: Tensor, way: Tensor) -> _Rows:
        """Try one step of each row."""
        x, t = rows.x, rows.t
        left = (end - t).abs()
        wish = rows.h.clamp_max(_LONGEST * way)
        arrives = wish >= left
        h = torch.where(arrives, left, torch.minimum(wish, left / 2))  # no sliver is left over
        ahead = h * (end - t).sign()
        stride, t_new = expand_like(ahead, x), torch.where(arrives, end, t + ahead)
        slopes, state = [rows.slope], x
        for c, row in zip(self.tableau.c, self.tableau.a, strict=True):
            state = torch.addcmul(x, stride, _sum(row, slopes))
            slopes.append(f.velocity(state, t_new if c == 1 else t.add(ahead, alpha=c)))
        with torch.no_grad():
            error = self._error(x, state, stride, slopes)
            whole = finite(state) & error.isfinite()
            good = whole & (error <= 1)
            error = error.clamp_min(1e-4)
            ratio, last = error / _AIM, rows.error / _AIM
            grown = ratio ** (-_PROPORTIONAL / self.tableau.order)
            grown = grown * last ** (_MEMORY / self.tableau.order)
            factor = torch.where(good, grown, ratio ** (-1 / self.tableau.order))
            h = h * factor.clamp(_SHRINK, _GROW).where(whole, 0.1)
            h = torch.where(good & arrives, torch.maximum(h, rows.h), h)
            t = torch.where(good, t_new, t)
            nfe = rows.nfe + self.tableau.evaluations
            spent = nfe + self.tableau.evaluations > self.max_nfe
            stuck = ((h < _SHORTEST * way) | (t + h == t)) & (t != end)
            status = rows.status.masked_fill(spent, SPENT).masked_fill(stuck, LOST)
            error = torch.where(good, error, rows.error)
        moved = good.reshape(-1, *[1] * (x.ndim - 1))
        x = torch.where(moved, state, x)
        slope = torch.where(moved, slopes[-1], rows.slope)
        return _Rows(rows.index, x, slope, t, h, error, nfe, status)

    def _error(self, x: Tensor, state: Tensor, stride: Tensor, slopes: list[Tensor]) -> Tensor:
        """E of a step from x to state."""
        stride = stride / (self.atol + self.rtol * torch.maximum(x.abs(), state.abs()))
        pair = _norm(stride * _sum(self.tableau.error, slopes))
        parts = [_norm(stride * _sum(w, slopes)).square() for w in self.tableau.rough]
        order, tau = self.tableau.order, max(self.rtol, self.atol)
        rough = torch.stack(parts).sum(0) ** (order / (order - 1) / 2)
        return torch.maximum(pair, _ROUGHNESS * tau ** (1 / (order - 1)) * rough)


def _sum(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total.add_(slope, alpha=weight)
    return total


def _norm(x: Tensor) -> Tensor:
    """The root of the mean square over the event, shape (n,), float64."""
    return x.double().reshape(len(x), -1).square().mean(1).sqrt()
