r"""Training as an ODE of the parameters: an optimiser is a solver, a learning rate its step.

Players with parameters :math:`\theta_i` and losses :math:`L_i` of all of them play a game; every
player descends its own loss,

.. math:: \frac{d\theta_i}{dt} = v_i(\theta) = -\nabla_{\theta_i} L_i(\theta), \qquad
          \theta_i(t + h) \approx \theta_i(t) - h \nabla_{\theta_i} L_i(\theta(t)) .

Simultaneous gradient descent takes Euler steps of this flow. Where two players turn about each
other its error leads outwards, at any h, though the flow itself goes round or inwards; solvers
of higher order follow the flow. This is the time of the parameters. That of the samples is
`diffode.fields.monoflow`'s.

For one player, the Euler step's own error is a penalty on the gradient: gradient descent follows

.. math:: \frac{d\theta}{dt} = -\nabla \Big( L + \frac{h}{4} |\nabla L|^2 \Big)

to :math:`O(h^3)` a step, and the flow of L itself to :math:`O(h^2)`; `penalised` is this loss.

References: ODE-GAN (Qin et al., 2020), https://arxiv.org/abs/2010.15040; implicit gradient
regularisation (Barrett and Dherin, 2021), https://arxiv.org/abs/2009.11162.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Loss = Callable[[], Tensor]
Moves = list[Tensor]

# nodes of each method after its first slope, each from the slope before, and the slopes' weights
_METHODS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "euler": ((), (1.0,)),
    "heun": ((1.0,), (1 / 2, 1 / 2)),
    "rk4": ((1 / 2, 1 / 2, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


class GameFlow:
    r"""The flow of a game's parameters, followed step by step.

    With a regulariser :math:`\lambda`, every step ends as that of ODE-GAN: the players after the
    first move to where the first one's gradient is small,

    .. math:: \theta_j \leftarrow \theta_j - h \lambda \nabla_{\theta_j} |\nabla_{\theta_1}
              L_1(\theta)|^2, \qquad j > 1,

    taken at the parameters before the step. The first player is a GAN's generator.

    Arguments:
        losses: :math:`L_i` of each player, called without arguments; a loss that draws a batch
            gives another one to each slope, unless it holds on to it.
        params: the parameters :math:`\theta_i` of each player, moved in place.
        method: "euler" (simultaneous gradient descent), "heun" or "rk4".
        step: h.
        regulariser: :math:`\lambda`.

    Raises:
        ValueError: an unknown method, a step that is not positive, a negative regulariser, or
            numbers of losses and players that differ.
    """

    def __init__(
        self,
        losses: Sequence[Loss],
        params: Sequence[Sequence[Tensor]],
        method: str = "rk4",
        step: float = 0.01,
        regulariser: float = 0.0,
    ) -> None:
        if method not in _METHODS:
            raise ValueError(f"got method {method!r}; wanted one of {', '.join(_METHODS)}")
        if not 0 < step < float("inf") or not 0 <= regulariser < float("inf"):
            raise ValueError(
                f"got step {step} and regulariser {regulariser}; wanted step > 0, regulariser >= 0"
            )
        if len(losses) != len(params) or not losses:
            raise ValueError(f"got {len(losses)} losses of {len(params)} players; wanted one each")
        self.losses, self.params = list(losses), [list(own) for own in params]
        self.method, self.h, self.regulariser = method, step, regulariser

    def slopes(self) -> Moves:
        """The velocity of all parameters where they are, the players' one after the other."""
        found: Moves = []
        for loss, own in zip(self.losses, self.params, strict=True):
            found += [-slope for slope in torch.autograd.grad(loss(), own)]
        return found

    def pull(self) -> Moves:
        """The regulariser's velocity of all parameters; that of the first player's is 0."""
        first, others = self.params[0], [p for own in self.params[1:] for p in own]
        loss = self.losses[0]()
        slopes = torch.autograd.grad(loss, first, create_graph=True)
        norm = torch.stack([slope.square().sum() for slope in slopes]).sum()
        pulled = torch.autograd.grad(norm, others, allow_unused=True, materialize_grads=True)
        return [torch.zeros_like(p) for p in first] + [-self.regulariser * g for g in pulled]

    def step(self) -> None:
        """Move all parameters by one step of length h in time."""
        points = [p for own in self.params for p in own]
        start = [p.detach().clone() for p in points]
        extra = self.pull() if self.regulariser and len(self.params) > 1 else None
        nodes, weights = _METHODS[self.method]
        slopes = [self.slopes()]
        for node in nodes:
            _place(points, start, slopes[-1], node * self.h)
            slopes.append(self.slopes())
        mean = [
            torch.stack([w * k for w, k in zip(weights, ks, strict=True)]).sum(0)
            for ks in zip(*slopes, strict=True)
        ]
        if extra is not None:
            mean = [a + b for a, b in zip(mean, extra, strict=True)]
        _place(points, start, mean, self.h)


def penalised(loss: Loss, params: Sequence[Tensor], step: float) -> Loss:
    r"""The loss whose flow gradient descent with steps h follows, :math:`L + h |\nabla L|^2 / 4`.

    Arguments:
        loss: L, twice differentiable, called without arguments.
        params: what the gradient is taken in.
        step: h.

    Reference: Barrett and Dherin (2021), eq. 4 and theorem 3.1.
    """

    def modified() -> Tensor:
        value = loss()
        slopes = torch.autograd.grad(value, list(params), create_graph=True)
        return value + step / 4 * torch.stack([slope.square().sum() for slope in slopes]).sum()

    return modified


@torch.no_grad()
def _place(points: Moves, start: Moves, slopes: Moves, length: float) -> None:
    for point, origin, slope in zip(points, start, slopes, strict=True):
        point.copy_(origin + length * slope)
