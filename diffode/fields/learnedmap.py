r"""The flow map of a network that is told two times.

It can begin as a field that is trained already: with that field's prediction and weights it is its
DDIM at once, the network being told in addition how far to go, :math:`2 (s - t)`. Without one the
network's output is F itself, and it is told the two angles, :math:`2 s` and :math:`2 t`. In a
Poisson flow, whose rows have an augmented radius q each, it is told :math:`q / \sqrt D` as well.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffode.doors import Numbers, as_labels
from diffode.fields.affine import AffineField
from diffode.fields.base import expand_like
from diffode.fields.flowmap import FlowMap, bound_radius
from diffode.fields.poisson import PoissonField
from diffode.fields.precond import Prediction


class Turn(NamedTuple):
    """A network's F, and how much of it an output of 1 is.

    Attributes:
        f: F(z, s, t), shape (B, *event).
        gain: dF/d(output) without its sign, float64, shape (B,).
    """

    f: Tensor
    gain: Tensor


def starts_bound(path: AffineField) -> bool:
    """Whether each row of a flow has an augmented radius of its own."""
    return isinstance(path, PoissonField) and path.radius != "plane"


def told(prediction: Prediction | None, path: AffineField, flip_label: bool = False) -> int:
    """How many conditioning numbers the network of a flow map is told."""
    own = 2 if prediction is None else prediction.conditions + 1 + flip_label
    return own + starts_bound(path)


class LearnedMap(FlowMap):
    """A `FlowMap` whose F is a network.

    Arguments:
        path: schedule, noise, prior and moments: a field, or a `diffode.fields.flowmap.Path`.
        network: called as ``network(input, cond, y)``, with as many numbers in cond as `told`
            says.
        prediction: of the field whose weights the network began with; None where its output is F.
        flip_label: whether that field's network has one more number, which is 0 here.
        evaluations: how many jumps it is sampled with if nothing else is asked for.
    """

    def __init__(
        self,
        path: AffineField,
        network: nn.Module,
        prediction: Prediction | None = None,
        flip_label: bool = False,
        evaluations: int = 1,
    ) -> None:
        super().__init__(path, evaluations)
        self.network, self.prediction, self.flip_label = network, prediction, flip_label
        self.classes = getattr(network, "classes", None)
        self.unconditional = getattr(network, "classes", 0) is None

    def as_labels(self, y: Numbers | int | None, rows: int) -> Tensor | None:
        """Labels that the network knows."""
        return as_labels(y, rows, None if self.classes is None else self.classes - 1)

    def direction(self, z: Tensor, s: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """F(z, s, t) by the network."""
        return self.turn(z, s, t, y).f

    def turn(self, z: Tensor, s: Tensor, t: Tensor, y: Tensor | None = None) -> Turn:
        """F(z, s, t) with its gain; arguments as for `direction`.

        Raises:
            ValueError: a Poisson flow that is not bound to q, or bound to that of other rows.
        """
        q = self._radius(z)
        if self.prediction is None:
            out = self._answer(z, torch.stack((2 * s, 2 * t), 1), q, y)
            return Turn(out.to(z), torch.ones_like(s))
        return self._predicted(self.prediction, z, s, t, q, y)

    def _predicted(
        self,
        prediction: Prediction,
        z: Tensor,
        s: Tensor,
        t: Tensor,
        q: Tensor | None,
        y: Tensor | None,
    ) -> Turn:
        time = self.time(s)
        alpha, sigma = self.level(time, z)
        own = (time, sigma) if q is None else (time * q, sigma * q)  # a row's own level
        std = self.moments[1]
        u = expand_like(((alpha * std).square() + sigma.square()).sqrt(), z) * z
        c = prediction.coefficients(u, alpha, own[1], own[0])
        flipped = [torch.zeros_like(s)[:, None]] if self.flip_label else []
        cond = torch.cat((c.cond.to(s), *flipped, 2 * (s - t)[:, None]), 1)
        out = self._answer(expand_like(c.in_, u) * u, cond, q, y).to(u)
        x0, n = prediction.decode(u, out, None, c, own[1])
        noise_out = c.noise_out
        if q is not None:
            n, noise_out = (u - x0) / expand_like(sigma, u), -c.out / sigma
        f = expand_like(s.sin() / std, u) * x0 - expand_like(s.cos(), u) * n
        return Turn(f, (s.sin() / std * c.out - s.cos() * noise_out).abs())

    def _answer(self, x: Tensor, cond: Tensor, q: Tensor | None, y: Tensor | None) -> Tensor:
        dtype = next(self.network.parameters()).dtype
        if q is not None:
            cond = torch.cat((cond, q.to(cond)[:, None]), 1)
        cond = cond.to(torch.promote_types(dtype, torch.float32))
        out: Tensor = self.network(x.to(dtype), cond, as_labels(y, len(x)))
        return out

    def _radius(self, z: Tensor) -> Tensor | None:
        """Each row's q / sqrt(D); None where there is none."""
        if not starts_bound(self.inner):
            return None
        q = bound_radius(self.inner)
        if q is None:
            raise ValueError(
                "got points for a flow map of a Poisson flow without their q; it is trained in "
                "the bound form: take what start() returns, or bind(q)"
            )
        if len(q) != len(z):
            raise ValueError(
                f"got {len(z)} rows for a field bound to {len(q)}; call field.rows(index)"
            )
        return q
