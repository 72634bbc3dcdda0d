r"""The default solver for those who evaluate a model themselves and hand over what it said.

Other libraries' loops ask their scheduler for times, ask the model, and give its answer back.
`StepwisePath` is the default solver in that form. Its times, its weights and its step are those
of `diffode.solvers.Trig`. What a field would say of the data and of guidance is not known there:

* the mean m is 0, and the standard deviation s is 1 unless told;
* the main axes' S is such that the grid's c is s, or 1.5 s where there is no guidance, unless S
  is told. A shift k of flow matching multiplies every :math:`\rho`, and so it does c: c = k s
  where k is larger;
* a guidance weight that is not told is taken for 5, and each row's order is chosen at each time
  (`diffode.solvers.variable_order`). Told, it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffode.fields.affine import AffineField
from diffode.fields.schedules import Schedule
from diffode.priors import Normal
from diffode.solvers.grids import grid, zero_noise_times
from diffode.solvers.mixed import principal_of
from diffode.solvers.multistep import Walk
from diffode.solvers.trig import Trig

ASSUMED_GUIDANCE = 5.0


class StepwisePath:
    """The default solver on a path of which the data and the network are not at hand.

    Arguments:
        schedule: alpha, sigma and the span.
        std: s, the data's standard deviation.
        principal_std: S, that along their main axes; None if not known.
        guidance: the guidance weight w; None if not known.
        shift: k of flow matching, used where S is not known.
    """

    def __init__(
        self,
        schedule: Schedule,
        std: float = 1.0,
        principal_std: float | None = None,
        guidance: float | None = None,
        shift: float = 1.0,
    ) -> None:
        self.field = AffineField(schedule, Normal(), torch.zeros(()), std)
        weight = ASSUMED_GUIDANCE if guidance is None else guidance
        if principal_std is None:
            balance = 1.0 if weight > 2 else 1.5
            principal_std = principal_of(max(balance, shift) * std, std)
        self.field.principal_std, self.field.guidance = principal_std, weight
        self.solver = Trig(order="variable" if guidance is None else "auto")

    def times(self, steps: int, start: float | None = None) -> Tensor:
        """The times of so many evaluations, of which the last step ends at the data itself.

        Arguments:
            steps: how many.
            start: the first of them; None is t_prior.
        """
        times = zero_noise_times(self.field, steps, self.solver.grid, start)
        return (
            grid(self.field, steps - 1, self.solver.grid, start) if times is None else times[:-1]
        )

    def walk(self, times: Tensor, like: Tensor, end: float | None = None) -> Walk:
        """A solve that evaluates at these times.

        Arguments:
            times: of the evaluations.
            like: points of the type and on the device of those that are moved.
            end: the time that the last step ends at; None is the data itself.
        """
        last = times.new_tensor([self.field.span[1] if end is None else end])
        return self.solver.walk(self.field, like, torch.cat((times, last)), end is None)

    def between(self, steps: int) -> Tensor:
        """The times of so many evaluations, of which the last step ends at t_data."""
        return grid(self.field, steps, self.solver.grid)[:-1]

    def levels(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma at some times."""
        return self.field.schedule.alpha(times), self.field.schedule.sigma(times)


def shifted(sigmas: Sequence[float] | Tensor, shift: float) -> Tensor:
    r"""Flow matching's levels shifted, :math:`k s / (1 + (k - 1) s)`: rho is multiplied by k."""
    s = torch.as_tensor(sigmas, dtype=torch.float64)
    return shift * s / (1 + (shift - 1) * s)
