r"""A field of tokens whose posterior is a network's.

The network sees each token as a vector of length V that is learned, at first the V axes and 0 for
a mask. It gives V numbers for each position: what it thinks of that position by all the *others*.
What the position itself shows is known, and is added by Bayes' rule:

.. math:: \log q(x_0^i = v | x_t) = F_\theta(x_t, t)_{iv} + \log p(x_t^i | x_0^i = v) + c.

So a shown token is kept, and a replaced one is believed as far as the time allows, without any
learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffode.data.levels import Levels
from diffode.doors import as_labels
from diffode.fields.tokens import TokenField, Tokens

_SPREAD = 4.0  # of the conditioning number, from 0 on
_TIMESTEPS = 1000.0  # in which a network of diffusers counts


def network_shape(event_shape: Sequence[int], count: int) -> tuple[int, ...]:
    """The shape of an event as networks see it: V channels for each of an image, else V rows."""
    axes = _axes(event_shape)
    return (math.prod(event_shape[:-axes]) * count, *event_shape[-axes:])


def _axes(event_shape: Sequence[int]) -> int:
    """How many of the last axes are no channels."""
    return 2 if len(event_shape) == 3 else len(event_shape)


class LearnedTokens(TokenField):
    r"""The field of a network F, called as ``network(input, cond, y)``.

    Arguments:
        network: F, for events of `network_shape`.
        corruption: of the tokens.
        levels: the values that they stand for.
        flip_label: whether the network has one more conditioning number, as `Learned` has.
    """

    def __init__(
        self,
        network: nn.Module,
        corruption: Tokens,
        levels: Levels,
        flip_label: bool = False,
    ) -> None:
        super().__init__(corruption, levels)
        self.network, self.flip_label = network, flip_label
        count, rows = corruption.count, corruption.count + (corruption.mask is not None)
        first = math.sqrt(count) * torch.eye(rows, count)
        self.embedding = nn.Embedding(rows, count, _weight=first)
        self.classes = getattr(network, "classes", None)
        self.unconditional = getattr(network, "classes", 0) is None
        steps = getattr(network, "timesteps", False)
        self._spread = _TIMESTEPS if steps else _SPREAD

    def log_posterior(
        self,
        x: Tensor,
        t: Tensor | float,
        y: Tensor | None = None,
        flipped: Tensor | None = None,
    ) -> Tensor:
        r""":math:`\log q(x_0^i = v | x_t = x)`, float64, shape (B, \*event, V).

        Arguments:
            x, t, y: tokens (B, \*event), the time, and labels.
            flipped: which rows training has mirrored, shape (B,); None for none.
        """
        x = self.as_state(x)
        y = as_labels(y, len(x))
        count, dtype = self.corruption.count, next(self.network.parameters()).dtype
        seen = self.embedding(x)
        shape, axes = self.event_shape, _axes(self.event_shape)
        folded = seen.movedim(-1, -axes - 1).reshape(len(x), *network_shape(shape, count))
        cond = self.corruption.noise_told(x, t)[:, None] * self._spread
        if self.flip_label:
            own = torch.zeros_like(cond) if flipped is None else flipped[:, None].to(cond)
            cond = torch.cat((cond, own), 1)
        told = cond.to(torch.promote_types(dtype, torch.float32))
        out = self.network(folded.to(dtype), told, y)
        if out.shape != folded.shape:
            got, wanted = tuple(out.shape), tuple(folded.shape)
            raise ValueError(f"the network's output is of shape {got}; wanted that of x, {wanted}")
        others = out.reshape(len(x), *shape[:-axes], count, *shape[-axes:]).movedim(-axes - 1, -1)
        return torch.log_softmax(others.double() + self.corruption.log_evidence(x, t), -1)
