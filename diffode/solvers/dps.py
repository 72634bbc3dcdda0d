r"""Diffusion posterior sampling: the known baseline for linear observations, with no right end.

Each ancestral step is followed by one down the gradient of the residual's length. The size of that
step belongs to no law, so that no number of steps makes its samples those of the law given y: on
mixtures the best size is another for 20 steps than for 100. `diffode.fields.conditioned` has no
such number, and `diffode.sampling.twisted` draws from the law itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from diffode.doors import Numbers, as_positive
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.covariance import Covariance
from diffode.fields.linear import LinearOperator
from diffode.fields.observations import one_observation
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.counted import CountedField


class DPS(Solver):
    r"""The ancestral sampler with a step towards :math:`y = H x_0 + s_y e` after each of its own.

    In the state :math:`z = x / \sqrt{\alpha^2 + \sigma^2}` of variance-preserving diffusion,

    .. math:: z' \leftarrow z' - \zeta \, \nabla_z |y - H E[x_0 | z]|.

    It is an instance to give to `diffode.sample`, and has no name there. An evaluation is one
    network call and one product with the Jacobian, which counts as one more.

    Reference: Chung et al. (2023), https://arxiv.org/abs/2209.14687, algorithm 1, with the step
    size zeta / |y - H E[x_0 | z]| of its experiments for the gradient of the square.

    Arguments:
        operator: H, see `diffode.fields.operators`.
        observation: y in the units of the data, shape (\*observed).
        step: :math:`\zeta`, for points in the units of the model; the paper takes 0.3 to 1.

    Raises:
        ValueError: a step that is not a positive finite number.
    """

    name, needs, grid, normal_only = "dps", AffineField, "f1.5", True
    normal_advice = (
        "use diffode.fields.conditioned with any solver, or a field with Normal() noise"
    )

    def __init__(
        self, operator: LinearOperator, observation: Numbers, *, step: float = 1.0
    ) -> None:
        self.operator, self.observation = operator, observation
        self.step = as_positive(step, "step", "0.3 to 1 as a rule")

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:]."""
        field = f.field
        assert isinstance(field, AffineField)  # by Solver.check
        seen = one_observation(field, self.operator, self.observation, 1.0)
        width = 1.0 if field.scaling is None else float(field.scaling.width.square().mean().sqrt())
        for k, t in enumerate(times[:-1]):
            x0, n, covariance = Covariance.at(field, x, t, f.y)
            f.nfe += 1
            f.network_calls += 2 * field.calls_per_evaluation  # all, under differentiation
            rest = seen.target - seen.operator(x0.double())
            length = rest.flatten(1).norm(dim=1).clamp_min(1e-12)
            uphill = covariance.product(seen.operator.adjoint(rest / expand_like(length, rest)))
            now, later = f.levels[k], f.levels[k + 1]
            size = math.hypot(*now) * math.hypot(*later) * self.step / width
            r = later.sigma * now.alpha / (now.sigma * later.alpha)
            z = rng.at(k).normal("ddim", x.shape, x.dtype, x.device)  # as without y
            fresh = later.sigma * math.sqrt(1 - r**2)
            x = later.alpha * x0 + later.sigma * r * n + fresh * z + size * uphill.to(x)
            yield x
