"""How many evaluations so many calls of the network pay for: comparisons are at equal calls.

Under guidance an evaluation may call the network twice, and in an interval of noise levels it
depends on the time. So the evaluations are counted on a field that costs nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffode.doors import as_time
from diffode.fields.affine import AffineField
from diffode.fields.base import Field, expand_like
from diffode.fields.wrapped import Wrapped
from diffode.options import counted
from diffode.sampling.drawing import sample


class Free(Wrapped):
    """A field with the calls of another and none of its work: E[x_0 | x] is the data's mean."""

    def posterior(
        self, x: Tensor, t: Tensor | float, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The data's mean, and the noise that is then in x."""
        sigma = expand_like(self.schedule.sigma(as_time(t, x)), x)
        x0 = self.mean.to(x).expand_as(x)
        return x0, (x - self.faded(x0, t)) / sigma.clamp_min(torch.finfo(x.dtype).tiny)


def affordable(field: Field, calls: int, n: int, **how: Any) -> int:  # noqa: ANN401
    """The most evaluations that this many network calls pay for.

    Arguments:
        field: what is sampled. One that states a velocity alone is taken to need its
            ``calls_per_evaluation`` at each time.
        calls: the network calls that a sample may take, at most.
        n, how: as for `diffode.sample`, without ``nfe``; the solver has steps.

    Raises:
        ValueError: not one.
    """
    few = calls // field.calls_per_evaluation
    if field.calls_per_evaluation != 1 and isinstance(field, AffineField):
        few = _most(Free(field), few, calls, n, how)
    if not few:
        raise ValueError(
            f"{counted(calls, 'network call')} cannot pay for an evaluation, which takes "
            f"{field.calls_per_evaluation}"
        )
    return few


def _most(free: Free, few: int, calls: int, n: int, how: dict[str, Any]) -> int:
    """The most evaluations, ``few`` or more, that take no more than so many calls."""

    def fits(nfe: int) -> bool:
        try:
            return sample(free, n, nfe=nfe, **how).network_calls <= calls
        except ValueError:  # fewer than the solver takes
            return True

    many = calls + 1
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if fits(middle) else (few, middle)
    return few
