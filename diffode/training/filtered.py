r"""A filtered target for flows on given pairs: a prediction, corrected as by a g-h filter.

Rectified flow on pairs regresses the velocity at :math:`x_t` on :math:`v = n - x_0`. On a straight
path the velocity is the same at every time, so what a slow average :math:`\hat v` of the network
says at another point of the same path is a prediction of v:

.. math:: v' = v - \kappa (1 - s) \left( v - \hat v(x_s, s) \right), \qquad s \sim U(0, 1).

With :math:`\kappa = 0` it is v, with 1 the target :math:`\hat v + s (v - \hat v)`. Its conditional
mean is the right one only where v is a function of the path alone, as for pairs that a flow made:
with independent pairs the slope of a Gaussian's velocity came out -.49 in the place of -.80.

Reference: a comment on Su (2023), Generative diffusion models, a ramble, part 19.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from diffode.fields.base import expand_like
from diffode.fields.learned import Learned
from diffode.fields.schedules import Rectified
from diffode.rng import Rng
from diffode.training.batches import Batch
from diffode.training.coupling import Paired
from diffode.training.denoising import Denoising, Uniform, drop_labels

_DECAY = 0.95


class Filtered(Denoising):
    """Denoising on given pairs, its target filtered.

    Arguments:
        field: on the path alpha = 1 - t, sigma = t.
        times, classes, label_drop: as for `Denoising`.
        kappa: how far the target moves to the prediction, in (0, 1].

    Raises:
        ValueError: another path.
    """

    comparable = False  # its own slow average is in the target

    def __init__(
        self,
        field: Learned,
        times: Uniform,
        classes: int | None = None,
        label_drop: float = 0.0,
        kappa: float = 1.0,
    ) -> None:
        super().__init__(field, times, classes, label_drop, "pairs")
        if type(field.schedule) is not Rectified:
            raise ValueError(f"got kappa={kappa:g} on {field.schedule}; take schedule=rectified")
        self.kappa, self._slow = kappa, list[Learned]()  # in a list: not trained with the rest

    def begin(self, steps: int) -> None:
        """Begin the slow average at the weights as they are."""
        self._slow = [copy.deepcopy(self.learned).eval().requires_grad_(False)]

    def forward(self, phase: str, batch: Batch, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error in network space, about the filtered target."""
        assert isinstance(batch, Paired)
        x, n = batch.x, batch.n
        t = self.times(rng.spread("time", len(x), x.device))
        s = rng.uniform("filter", (len(x),), device=x.device)
        y = drop_labels(batch.y, self.classes, self.label_drop, rng)
        x_t, x_s = (self.learned.corrupt(x, at, rng, n)[0] for at in (t, s))
        v = n - x
        with torch.no_grad():
            predicted = self._slow[0].velocity(x_s, s, y).to(v)
        v = v - self.kappa * expand_like(1 - s, v) * (v - predicted)
        ends = x_t - expand_like(t, v) * v, x_t + expand_like(1 - t, v) * v
        error, _ = self.learned.residual(x_t, *ends, t, y)
        return error.square().mean(), {}

    @torch.no_grad()
    def advance(self, step: int, rng: Rng) -> None:
        """Let the slow average follow the weights."""
        weights = zip(self._slow[0].parameters(), self.learned.parameters(), strict=True)
        for slow, now in weights:
            slow.lerp_(now, 1 - _DECAY)

    def extra_state(self) -> dict[str, Tensor]:
        """The weights of the slow average."""
        return dict(self._slow[0].named_parameters()) if self._slow else {}

    @torch.no_grad()
    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """Take the slow average back, where the training has begun."""
        for name, slow in self._slow[0].named_parameters() if self._slow else ():
            slow.copy_(state[name])
