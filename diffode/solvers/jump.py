"""The solver of flow maps: from one time to the next in one evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from diffode.fields.base import Field
from diffode.fields.flowmap import FlowMap, map_in
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.counted import CountedField


class Jump(Solver):
    r"""The jumps :math:`Z_{s \to t}` of a `diffode.fields.flowmap.FlowMap`, one for each step.

    The last may end at the data itself. Its grid is uniform in the angle. A map is trained towards
    the data, and its jumps back to the prior are whatever its network says there.

    Reference: Boffi et al. (2025), https://arxiv.org/abs/2505.18825.
    """

    name, needs, reaches_zero_noise, grid = "jump", FlowMap, True, "theta"

    def check(self, field: Field) -> None:
        """Refuse a field that is no flow map.

        Raises:
            TypeError: naming what was needed, what was got and what to do.
        """
        if map_in(field) is None:
            raise TypeError(
                f"jump needs a FlowMap, but {type(field).__name__} is none; distil one with "
                "diffode distil, or name another solver"
            )

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        last = len(times) - 2
        for k, (s, t) in enumerate(pairwise(times)):
            x = f.jump(x, s, None if k == last and f.to_zero_noise else t)
            yield x
