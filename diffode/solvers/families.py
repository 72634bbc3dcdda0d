r"""The published multistep families, each one form, one variable and one rule for the order.

In a form with its own integrating factor an interpolating polynomial that is integrated exactly is
all there is to DEIS, DPM-Solver, DPM-Solver++ and UniPC of a given order.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le

from diffode.fields.affine import AffineField
from diffode.solvers.coefficients import MultistepRule
from diffode.solvers.forms import Form, Variable
from diffode.solvers.multistep import Multistep

Order3 = Annotated[int, Ge(1), Le(3)]
Order4 = Annotated[int, Ge(1), Le(4)]


class AdamsBashforth(Multistep):
    r"""Adams-Bashforth on a form of choice, its weights integrated exactly for the times given.

    Arguments:
        form: what is extrapolated: noise, data, velocity, or both in the angle (trig).
        variable: of the polynomials: time, rho, logsnr (log rho), or fraction (rho / (1 + rho)).
        order: of the method, 1 to 4.
        corrected: use the free corrector, undamped; it adds 1 to the order.
        lower: in how many of the last steps the order falls, to 1 in the last.
    """

    name = "ab"

    def __init__(
        self,
        *,
        form: Form = "velocity",
        variable: Variable = "time",
        order: Order4 = 3,
        corrected: bool = False,
        lower: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self._rule = MultistepRule(form, variable, order, corrected, lower=lower)

    def rule(self, steps: int, field: AffineField | None = None) -> MultistepRule:
        """The rule for this many steps, on a field of this kind."""
        return self._rule


class DEIS(AdamsBashforth):
    r"""DEIS: the noise form with polynomials in the field's own time (tAB-DEIS).

    Reference: Zhang and Chen (2023), https://arxiv.org/abs/2204.13902, eq. 15, with their order
        r = order - 1.

    Arguments:
        order: of the method, 1 to 4.
        lower: in how many of the last steps the order falls, to 1 in the last.
    """

    name = "deis"

    def __init__(self, *, order: Order4 = 3, lower: Annotated[int, Ge(0)] = 0) -> None:
        super().__init__(form="noise", variable="time", order=order, lower=lower)


class DPM(AdamsBashforth):
    r"""DPM-Solver, multistep: the noise form with polynomials in log rho.

    Reference: Lu et al. (2022), https://arxiv.org/abs/2206.00927, eq. 3.4, with the Taylor
        expansion taken through past evaluations.

    Arguments:
        order: of the method, 1 to 3.
        lower: in how many of the last steps the order falls, to 1 in the last.
    """

    name, grid = "dpm", "logsnr"

    def __init__(self, *, order: Order3 = 2, lower: Annotated[int, Ge(0)] = 2) -> None:
        super().__init__(form="noise", variable="logsnr", order=order, lower=lower)


class DPMpp(AdamsBashforth):
    r"""DPM-Solver++, multistep: the data form with polynomials in log rho.

    The curvature of order 3 is integrated exactly here; the published formula has half of it, and
    is of order 2. At order 2 the published "2M" replaces the integral of the linear term by half
    the step times the slope, which agrees to that order.

    Reference: Lu et al. (2022), https://arxiv.org/abs/2211.01095, algorithm 2 and appendix B.

    Arguments:
        order: of the method, 1 to 3.
        lower: in how many of the last steps the order falls, to 1 in the last.
    """

    name, grid = "dpm++", "karras"

    def __init__(self, *, order: Order3 = 2, lower: Annotated[int, Ge(0)] = 2) -> None:
        super().__init__(form="data", variable="logsnr", order=order, lower=lower)


class UniPC(AdamsBashforth):
    r"""UniPC: DPM-Solver++ of the same order with the free corrector, which adds 1 to the order.

    Reference: Zhao et al. (2023), https://arxiv.org/abs/2302.04867, algorithms 1 and 2.

    Arguments:
        order: of the predictor, 1 to 3.
        lower: in how many of the last steps the order falls, to 1 in the last.
    """

    name, grid = "unipc", "logsnr"

    def __init__(self, *, order: Order3 = 2, lower: Annotated[int, Ge(0)] = 2) -> None:
        super().__init__(form="data", variable="logsnr", order=order, corrected=True, lower=lower)
