r"""DPM-Solver and DPM-Solver++ in single steps: Runge-Kutta with an integrating factor.

In the noise form :math:`x/\alpha` moves by :math:`d(x/\alpha) = \hat n \, d\rho`, in the data form
:math:`d(x/\sigma) = \hat x \, d(1/\rho)`. A step expands the slope about its beginning in log rho,

.. math:: H(\lambda) \approx H_0 + (H_r - H_0) \frac{\lambda - \lambda_0}{\lambda_r - \lambda_0},

with :math:`H_r` evaluated at a stage inside the step, and integrates that exactly.

References: Lu et al. (2022), https://arxiv.org/abs/2206.00927, algorithms 1 and 2; Lu et al.
(2022), https://arxiv.org/abs/2211.01095, algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.counted import CountedField, Level

_STAGES: dict[int, tuple[float, ...]] = {1: (), 2: (1 / 2,), 3: (1 / 3, 2 / 3)}


class SingleStep(Solver):
    r"""DPM-Solver (form noise) or DPM-Solver++ (form data), ``order`` evaluations a step.

    Where alpha is 0 the step is DDIM's.

    Arguments:
        form: what is extrapolated: noise (DPM-Solver) or data (DPM-Solver++).
        order: of the method, 1 to 3; stages at 1/2 (order 2), 1/3 and 2/3 (order 3) of the step
            in log rho.
    """

    name, needs, grid = "dpm-single", AffineField, "logsnr"

    def __init__(
        self,
        *,
        form: Literal["noise", "data"] = "data",
        order: Annotated[int, Ge(1), Le(3)] = 2,
    ) -> None:
        self.form, self.order = form, order
        self.nfe_per_step = order

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        for t, t_next in pairwise(times):
            x = self._step(f, x, t, t_next)
            yield x

    def _step(self, f: CountedField, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        assert isinstance(f.field, AffineField)
        first, last = f.level(t), f.level(t_next)
        x0, n = f.posterior(x, t)
        if min(first.alpha, last.alpha) < 1e-9:
            return last.alpha * x0 + last.sigma * n
        start, bend = (x0 if self.form == "data" else n), None
        log_rho = math.log(first.rho)
        h = math.log(last.rho) - log_rho
        for fraction in _STAGES[self.order]:
            rho = torch.tensor(math.exp(log_rho + fraction * h), dtype=t.dtype, device=t.device)
            middle = f.field.schedule.time(rho)
            stage = self._move(x, start, bend, first, f.level(middle))
            means = f.posterior(stage, middle)
            bend = ((means[0] if self.form == "data" else means[1]) - start) / (fraction * h)
        return self._move(x, start, bend, first, last)

    def _move(
        self, x: Tensor, start: Tensor, bend: Tensor | None, first: Level, last: Level
    ) -> Tensor:
        """From one level to another by the slope start + bend (log rho - log rho_first)."""
        (a, s), (a1, s1) = first, last
        noise = self.form == "noise"
        size, tau, tau1 = (a1, s / a, s1 / a1) if noise else (s1, a / s, a1 / s1)
        out = (a1 / a if noise else s1 / s) * x + (size * (tau1 - tau)) * start
        if bend is None:
            return out
        area = tau1 - tau if noise else tau - tau1  # the integral of tau over log rho
        moment = math.log(s1 * a / (s * a1)) * tau1 - area
        return out + (size * moment) * bend
