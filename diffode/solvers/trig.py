r"""The default: Adams-Bashforth in the angle, with a damped corrector.

In the state :math:`z = (x - \alpha m)/\sqrt{\alpha^2 s^2 + \sigma^2}` and the angle
:math:`\theta = \arctan(\rho/s)`, :math:`\rho = \sigma/\alpha`, the flow of a single Gaussian
N(m, s^2) stands still. So a method has to integrate only how the data differs from a Gaussian. See
`diffode.solvers.forms` and `diffode.solvers.multistep`, which also says when a row has come to
rest at a point of the data and takes DDIM's step as its last.

Polynomials are in :math:`\rho / (c + \rho)` with the c of the time grid, `diffode.solvers.mixed`.
Their order is 2 up to 6 evaluations, 3 up to 10, 4 up to 30 and 5 beyond: with many steps the grid
spends some of them where order 4 would lose by it.

Guidance with a weight w above 2 makes a field both steep and crooked: extrapolation of high order
overshoots where the pull changes from one field's to the other's. There the order is 2 up to
12 + 1.5 w evaluations, 3 up to 50 and 4 beyond, the corrector's damping is
:math:`\kappa = 1 + 3 w \min(1, (5 / K)^4)` for K steps in the place of 3, and c is
:math:`\sqrt w` times what it would be. Where the field jumps, as at the ends of
an interval of guidance, the grid has a time just beyond each jump and no polynomial reaches
across; the order is 2 in the whole solve then, with that corrector from 3 w steps on. Above
w = 5, where nothing jumps, each row's order is chosen at each time by its own slopes
(`diffode.solvers.variable_order`). That choice begins at 1 up to 10 steps.

Student-t noise is normal noise with a random scale for each sample. With few degrees of freedom D
the scales differ widely, and the starting point in N dimensions shows the scale of its row:
:math:`\lambda = c / \rho_0` with :math:`c^2 = (|x/\alpha - m|^2 + D \rho_0^2) / (N + D)` and
:math:`\rho_0` the prior's :math:`\rho`. A flow that starts from such a prior is solved in
:math:`\lambda \rho` in the place of :math:`\rho`, so each row has times and weights of its own;
the slope there is :math:`E[n|x] / \lambda`. A network's polynomials are in the grid's own variable
then: in rho / (c + rho) the first of a row that starts far out lie so close together that
extrapolation makes an error of the network a hundred times larger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.priors import is_student
from diffode.rng import Rng
from diffode.solvers.coefficients import MultistepRule, table
from diffode.solvers.counted import CountedField
from diffode.solvers.forms import Nodes, Variable
from diffode.solvers.grids import warp
from diffode.solvers.mixed import FEW, MANY, balance
from diffode.solvers.multistep import Multistep, Walk, nodes_of, steps_of, walk
from diffode.solvers.roughness import is_rough
from diffode.solvers.variable_order import VariableOrder

DAMPING = 3.0
STRONG = 5.0  # the guidance weight above which each row's order is chosen


def is_heavy(field: AffineField) -> bool:
    """Whether the rows of its prior differ widely in scale, so that each has its own times."""
    return is_student(field.noise) and field.noise.dof <= 8 and field.decay is None


def is_strong(field: AffineField | None) -> bool:
    """Whether a field is guided so strongly that the order of each row is chosen."""
    if field is None or field.guidance <= STRONG:
        return False
    return field.jumps == () and field.decay is None and not is_heavy(field)


class Trig(Multistep):
    r"""Adams-Bashforth for dz/dtheta, polynomials in rho/(c + rho), and a damped free corrector.

    Where Student-t noise with up to 8 degrees of freedom starts from its prior, the states
    between the ends are at times of each row.

    Arguments:
        order: of the method, 1 to 5, or "auto": 2 up to 6 steps, 3 up to 10, 4 up to 30, 5
            beyond; less on fields that are guided or jump and on rough networks; and "variable"
            where the guidance weight is above 5. "variable": each row's own at each time, also
            for a field that is guided and does not say how strongly
            (`diffode.solvers.variable_order`).
        corrected: repeat each step with the new slope, at no further evaluation.
    """

    name, reaches_zero_noise, grid = "trig", True, "mixed"

    def __init__(
        self,
        *,
        order: Literal["auto", "variable"] | Annotated[int, Ge(1), Le(5)] = "auto",
        corrected: bool = True,
    ) -> None:
        self.order, self.corrected = order, corrected

    @property
    def per_coordinate(self) -> bool:  # type: ignore[override]
        """Whether it can use a field with an alpha for each coordinate."""
        return self.order != "variable"

    def rule(self, steps: int, field: AffineField | None = None) -> MultistepRule:
        """The rule for this many steps, on a field of this kind."""
        guidance, jumps = (1.0, ()) if field is None else (field.guidance, field.jumps)
        variable = self.order == "variable" or (self.order == "auto" and is_strong(field))
        auto = 2 if steps <= 6 else 3 if steps <= 10 else 4 if steps <= 30 else 5
        corrected, damping, own = self.corrected, DAMPING, None
        if guidance > 2 or jumps != ():
            auto = 2 if steps <= 12 + 1.5 * guidance or jumps != () else 3 if steps <= 50 else 4
            auto = 1 if variable and steps <= 10 else auto
            corrected &= jumps == () or (jumps is not None and steps >= 3 * guidance)
            damping = 1 + 3 * guidance * min(1, (5 / steps) ** 4)
        elif field is not None and steps > FEW and is_rough(field):
            auto, own = 3 if steps < MANY else 4, warp(field, steps)
        return MultistepRule(
            "trig",
            "fraction" if own is None else "grid",
            auto if isinstance(self.order, str) else self.order,
            corrected,
            damping,
            freezes=True,
            scale=1.0 if field is None else balance(field),
            warp=own,
            jumps=jumps or (),
            variable_order=variable,
        )

    def walk(self, field: AffineField, x: Tensor, times: Tensor, to_zero_noise: bool) -> Walk:
        """The solve of points like x on times that all rows share."""
        rule = self.rule(len(times) - 1, field)
        nodes, mean = nodes_of(rule, field, times, to_zero_noise), field.moments[0].to(x)
        if rule.variable_order:
            return VariableOrder(rule, nodes, mean, x)
        return Walk(steps_of(rule, nodes, x), mean)

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        field = f.field
        assert isinstance(field, AffineField)  # by Solver.check
        if is_heavy(field) and field.prior is not None and float(times[0]) == field.span[0]:
            yield from self._rows_apart(f, field, x, times)
        else:
            yield from super().states(f, x, times, rng)

    def _rows_apart(
        self, f: CountedField, field: AffineField, x: Tensor, times: Tensor
    ) -> Iterator[Tensor]:
        assert is_student(field.noise)
        schedule, rule = field.schedule, self.rule(len(times) - 1, field)
        learned = next(field.parameters(), None) is not None
        variable: Variable = "grid" if learned else "fraction"
        rule = replace(rule, jumps=())  # no time is the first beyond a jump for all rows
        mean, std = field.moments
        rho = schedule.rho(times)
        if f.to_zero_noise:
            rho = torch.cat((rho[:-1], torch.zeros_like(rho[-1:])))
        y = (x / expand_like(field.level(times[0], x)[0], x) - mean.to(x)).flatten(1).double()
        square = y.square().sum(1) + field.noise.dof * rho[0].square()
        stretch = (square / (y.shape[1] + field.noise.dof)).sqrt() / rho[0]
        spacing = warp(field, len(times) - 1)
        shared = spacing.warp(rho)
        fraction = (shared - shared[0]) / (shared[-1] - shared[0])
        first, last = spacing.warp(stretch * rho[0]), spacing.warp(stretch * rho[-1])
        own = spacing.inverse(torch.lerp(first, last, fraction[:, None])) / stretch
        t = schedule.time(own).clamp(*sorted(field.span))
        t[0], t[-1] = times[0], times[-1]
        alpha, sigma = (v.view_as(t) for v in field.level(t.flatten(), t.flatten()))
        sigma = sigma * stretch
        if f.to_zero_noise:
            alpha[-1], sigma[-1] = 1.0, 0.0
        time, a, b = (v.cpu().numpy() for v in (t, alpha, sigma))
        how = variable, rule.scale, spacing, False
        nodes = Nodes(time, a, b, std, schedule, rule.form, *how)
        scale = stretch.cpu()
        steps = []
        for step in table(rule, nodes):
            n, level = None if step.n is None else step.n / scale, step.level
            steps.append(replace(step, n=n, level=(level[0], level[1] / scale)).to(x))
        states = walk(lambda x, k: f.posterior(x, t[k]), x, steps, mean.to(x))
        for k, state in enumerate(states, 1):
            f.at = t[k] if k < len(steps) else None
            yield state
