"""Every method of torchdiffeq on any field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from diffode.fields.reschedule import Clock
from diffode.inputs import quoted
from diffode.options import Count, Positive
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.builtin import ADAMS, ADAPTIVE_RK, FIXED, METHODS
from diffode.solvers.counted import CountedField
from diffode.solvers.status import MOST_NFE, SPENT

_SCALE = {  # of the tolerances: the pair's difference is a 256th of a Heun-Euler pair's;
    "fehlberg2": 1 / 256,
    "scipy_solver": 1 / 10,  # the errors of its many small steps add up
}
_LONGEST = 1 / 3  # step, of the whole way: slopes at the ends alone may see nothing


class Spent(ValueError):
    """The budget of evaluations is spent."""


class Watched:
    """A field's velocity as torchdiffeq calls it: within the times, and within a budget.

    Attributes:
        f: what is evaluated.
        most: the evaluations that it may have.
        before: those that do not count.
        tells: whether torchdiffeq tells of its steps.
        x, t: the state and time that torchdiffeq reached last, where it tells them; else those
            of its furthest evaluation.
    """

    def __init__(
        self, f: CountedField, x: Tensor, times: Tensor, most: float, tells: bool
    ) -> None:
        self.f, self.most, self.x, self.t = f, most, x, times[0]
        self._low, self._high = times.aminmax()
        self.before = f.nfe
        self._sign, self.tells = (times[-1] - times[0]).sign(), tells
        if tells:
            self.callback_step: Callable[[Tensor, Tensor, Tensor], None] = self._reached

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity: one evaluation.

        Raises:
            Spent: no more evaluations are allowed.
        """
        if self.f.nfe - self.before >= self.most:
            raise Spent(
                f"the solve did not finish (budget of {self.most} evaluations spent; raise "
                "max_nfe, or loosen rtol and atol)"
            )
        t = t.clamp(self._low, self._high)
        if not self.tells and bool((t - self.t) * self._sign > 0):
            self.x, self.t = x, t
        return self.f.velocity(x, t)

    def _reached(self, t: Tensor, x: Tensor, step: Tensor) -> None:
        self.x, self.t = x, t


class TorchDiffEq(Solver):
    """A method of torchdiffeq; fixed methods step on the times, adaptive ones between them.

    Some ways of torchdiffeq are changed, because they give wrong samples without an error:

    * its adaptive Runge-Kutta methods step past the end, where sigma may not exist, and
      interpolate back: here they step on the times exactly;
    * they hold the mean error of the batch to the tolerance, which hides the one sample that
      chooses its mode late: here every row is held to it;
    * the Adams methods have weights for equal steps: unequal ones are refused.

    A batch moves at the pace of its worst row, so rows influence each other. When ``max_nfe``
    evaluations are spent all rows stop where they are, with status 1.

    Arguments:
        method: one of dopri5, dopri8, bosh3, fehlberg2, adaptive_heun, euler, midpoint, heun2,
            heun3, rk4, explicit_adams, implicit_adams, scipy_solver.
        rtol, atol: relative and absolute tolerance of the methods that have one. In the angle
            they are in units of the state's standard deviation, at the end that of the data.
        clock: the time and state that are integrated in; "auto" is the angle for the adaptive
            methods on affine fields, where they need the fewest evaluations.
        max_nfe: the most evaluations, of a method that has tolerances.

    Raises:
        ValueError: an unknown method, or a tolerance or ``max_nfe`` that is not positive.
    """

    per_coordinate = True

    def __init__(
        self,
        method: str = "dopri5",
        *,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        clock: Clock | Literal["auto"] = "auto",
        max_nfe: int = MOST_NFE,
    ) -> None:
        if method not in METHODS:
            raise ValueError(
                f"torchdiffeq has no method {quoted(method)} here; methods: {', '.join(METHODS)}"
            )
        if not (rtol > 0 and atol > 0):
            raise ValueError(f"got rtol {rtol}, atol {atol}; tolerances are positive")
        if max_nfe < 1:
            raise ValueError(f"got max_nfe {max_nfe}; it counts from 1")
        self.name = method
        self.adaptive = method in ADAPTIVE_RK or method == "scipy_solver"
        self.batch_coupled = self.adaptive or method == "implicit_adams"
        if self.batch_coupled:
            self.rtol, self.atol, self.max_nfe = float(rtol), float(atol), max_nfe
        self.clock = "native" if clock == "auto" and not self.adaptive else clock
        self.nfe_per_step = FIXED.get(method, 1)
        self.grid = "karras" if method in FIXED else "native"

    def steps(self, nfe: int) -> int:
        """The number of steps that at most ``nfe`` evaluations pay for."""
        if self.name == "implicit_adams":
            raise ValueError(
                "implicit_adams iterates, so its evaluations are not known; give steps"
            )
        if self.name == "explicit_adams":  # two Runge-Kutta steps fill its history
            return nfe // 4 if nfe < 9 else nfe - 6
        return super().steps(nfe)

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        from torchdiffeq import odeint

        keywords: dict[str, Any] = {"method": self.name}
        most: float = math.inf
        if self.batch_coupled:
            scale, most = _SCALE.get(self.name, 1), self.max_nfe
            keywords |= {"rtol": scale * self.rtol, "atol": scale * self.atol}
        velocity = Watched(f, x, times, most, tells=self.name in ADAPTIVE_RK)
        if self.name in ADAMS:
            steps = times.diff()
            if not bool((steps / steps[0] - 1).abs().max() < 1e-6):
                raise ValueError(f"{self.name} assumes equal steps; use grid 'native' with it")
            keywords["options"] = {"max_order": 5}
        done = 0
        try:
            if self.name not in ADAPTIVE_RK and self.name not in FIXED:  # these need their history
                path = odeint(velocity, x, times, **keywords)
                if self.adaptive:
                    assert len(path) == len(times) and bool(path.isfinite().all()), "not finite"
                yield from path[1:]
                return
            for k in range(len(times) - 1):
                if self.name in ADAPTIVE_RK:
                    keywords["options"] = {
                        "step_t": times[k + 1 : k + 2],
                        "max_step": _LONGEST * (times[-1] - times[0]).abs(),
                        "norm": _worst_row,
                    }
                x = odeint(velocity, x, times[k : k + 2], **keywords)[-1]
                yield x
                done += 1
        except AssertionError as error:
            raise ValueError(
                f"{self.name} stopped: {error}; the velocity is not finite there or too stiff for "
                f"rtol {self.rtol:g}, atol {self.atol:g}: loosen them, or use heun"
            ) from None
        except Spent:
            f.status = torch.full((len(x),), SPENT, device=x.device)
            f.at = velocity.t.expand(len(x))
            left = len(times) - 1 - done
            lost = torch.full_like(x, math.nan)  # LSODA does not tell what it passed by
            for k in range(left):
                yield velocity.x if velocity.tells or k == left - 1 else lost


def _worst_row(x: Tensor) -> Tensor:
    return x.reshape(len(x), -1).square().mean(1).amax().sqrt()


def tolerant(
    method: str,
    *,
    rtol: Positive = 1e-5,
    atol: Positive = 1e-5,
    clock: Clock | Literal["auto"] = "auto",
    max_nfe: Count = MOST_NFE,
) -> TorchDiffEq:
    """A method with tolerances.

    Arguments:
        method: its name.
        rtol, atol: relative and absolute tolerance.
        clock: the time and state that are integrated in; "auto" is the angle for the adaptive
            methods on affine fields.
        max_nfe: the most evaluations that a solve may take.
    """
    return TorchDiffEq(method, rtol=rtol, atol=atol, clock=clock, max_nfe=max_nfe)


def fixed(method: str, *, clock: Clock = "native") -> TorchDiffEq:
    """A method with steps of its own.

    Arguments:
        method: its name.
        clock: the time and state that are integrated in.
    """
    return TorchDiffEq(method, clock=clock)
