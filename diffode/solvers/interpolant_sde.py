"""The SDE of an interpolant: its flow, and noise that leaves the law as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from diffode.fields.base import Field
from diffode.fields.interpolant import InterpolantField
from diffode.options import Positive
from diffode.rng import Rng
from diffode.solvers.base import Solver
from diffode.solvers.counted import CountedField


class InterpolantSDE(Solver):
    r"""A step of Heun's method on the flow, then a step of Langevin dynamics at the new time.

    Together they are a step of the SDE with the same laws as the flow, here with time falling,

    .. math:: dx = [f_t - \epsilon \nabla \log p_t] dt + \sqrt{2 \epsilon} \, dW.

    The second step is exact for one curve: with the mean :math:`\hat z = E[z|x]` of the noise of
    size :math:`\gamma` and a fresh one :math:`\xi`,

    .. math:: x' = x - \gamma (1 - r) \hat z + \gamma \sqrt{1 - r^2} \, \xi, \qquad
              r = e^{-\epsilon |h| / \gamma^2},

    so that it is stable where :math:`\gamma` vanishes, and does nothing where it is 0. Three
    evaluations a step; weak order 1 in :math:`\epsilon`.

    Reference: Albergo et al. (2023), https://arxiv.org/abs/2303.08797, section 2, for the SDE.

    Arguments:
        eps: the rate of the noise, in squared units of the model for the whole way.

    Raises:
        ValueError: a rate that is not positive and finite.
    """

    name, needs, nfe_per_step = "sde-interpolant", InterpolantField, 3
    normal_only = True

    def __init__(self, *, eps: Positive = 0.3) -> None:
        if not 0 < eps < math.inf:
            raise ValueError(f"got eps {eps}; wanted a positive finite number")
        self.eps = float(eps)

    def check(self, field: Field) -> None:
        """Refuse a field that is no interpolant, or one without noise.

        Raises:
            TypeError: what it is, and what to do.
        """
        super().check(field)
        if isinstance(field, InterpolantField) and not field.has_score:
            raise TypeError(
                f"{self.name} follows the score, which this interpolant has none of; train it "
                "with gamma above 0, or use heun"
            )

    def states(self, f: CountedField, x: Tensor, times: Tensor, rng: Rng) -> Iterator[Tensor]:
        """Yield the states at times[1:].

        Raises:
            ValueError: times that run away from the data.
        """
        field = f.field
        assert isinstance(field, InterpolantField)  # by Solver.check
        if not times[1] < times[0]:
            raise ValueError(f"{self.name} goes from t = 1 to 0; encode with heun")
        for k, (t, t_next) in enumerate(pairwise(times)):
            h = (t_next - t).item()
            slope = f.velocity(x, t)
            x = x + h / 2 * (slope + f.velocity(x + h * slope, t_next))
            gamma = float(field.spread(t_next, x))
            if gamma > 0:
                r = math.exp(-self.eps * abs(h) / gamma**2)
                fresh = rng.at(k).normal("refresh", x.shape, x.dtype, x.device)
                x = x - gamma * (1 - r) * f.noise_part(x, t_next)
                x = x + gamma * math.sqrt(1 - r * r) * fresh
            yield x
