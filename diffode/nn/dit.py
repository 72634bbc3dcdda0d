"""DiT: a transformer on the patches of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from diffode.nn.base import Network, zeroed
from diffode.nn.dropout import Dropout

_HEAD = 64  # channels of an attention head, about


def positions(height: int, width: int, channels: int) -> Tensor:
    r"""Sines and cosines of the places of patches, shape (height * width, channels).

    A quarter of the channels each for :math:`\sin \omega_k y, \cos \omega_k y, \sin \omega_k x,
    \cos \omega_k x` with :math:`\omega_k = 10000^{-4k / channels}`.

    Reference: the fixed positions of MAE (He et al., 2022), https://arxiv.org/abs/2111.06377.
    """
    quarter = channels // 4
    omega = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)

    def waves(count: int) -> Tensor:
        angle = torch.arange(count, dtype=torch.float64)[:, None] * omega
        return torch.cat((angle.sin(), angle.cos()), 1)

    down, across = waves(height)[:, None], waves(width)[None]
    both = down.expand(-1, width, -1), across.expand(height, -1, -1)
    return torch.cat(both, -1).flatten(0, 1).float()


class Block(nn.Module):
    r"""Attention between patches and a two-layer network, each scaled, shifted and gated by e.

    .. math::

        h &\mapsto h + a_e\, \mathrm{attention}\big((1 + b_e)\, \mathrm{norm}(h) + c_e\big) \\
        h &\mapsto h + d_e\, W_2\, \mathrm{gelu}\big(W_1 ((1 + f_e)\, \mathrm{norm}(h) + g_e)\big)

    The six vectors are linear in e and start at zero (adaLN-zero): a new block is the identity.

    Reference: DiT (Peebles and Xie, 2023), https://arxiv.org/abs/2212.09748, figure 3.

    Arguments:
        width: channels of h.
        embedding: size E of e.
        dropout: the share of the values before W_2 that training drops.
    """

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.heads = math.gcd(width, max(1, width // _HEAD))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulate = zeroed(nn.Linear(embedding, 6 * width))
        self.queries, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """The next h, shape (B, patches, width), from h and the embedding e (B, E)."""
        a, b, c, d, f, g = self.modulate(e)[:, None].chunk(6, -1)
        h = h + a * self._attention(torch.addcmul(c, self.norm(h), 1 + b))
        z = gelu(self.first(torch.addcmul(g, self.norm(h), 1 + f)), approximate="tanh")
        out: Tensor = h + d * self.second(self.dropout(z))
        return out

    def _attention(self, z: Tensor) -> Tensor:
        """Softmax attention, written out: torch's fused one has no forward-mode derivative."""
        size = z.shape[-1] // self.heads
        q, k, v = self.queries(z).unflatten(-1, (3, self.heads, size)).movedim((2, 3), (0, 2))
        weights = (q * size**-0.5 @ k.mT).softmax(-1)
        out: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return out


class DiT(Network):
    """Transformer on the patches of an image, whose blocks and last layer start at zero.

    An image is padded with zeros, right and below, to whole patches, and the result is cropped.

    Reference: DiT (Peebles and Xie, 2023), https://arxiv.org/abs/2212.09748; time and label are
    embedded as in the other networks here.

    Arguments:
        event_shape: (channels, height, width) of one image.
        width: channels of a patch, a multiple of 4.
        depth: number of blocks.
        patch: the side of a patch in pixels; None is the least power of two with which there are
            at most 256 patches.
        conditions: how many conditioning numbers come with a sample.
        classes: number of labels, or None.
        extra: how many scalars to return beside the output, from the mean over the patches.
        dropout: the share of values that training drops in each block.

    Raises:
        ValueError: events that are no images, a width that is no multiple of 4, or a patch larger
            than the image.
    """

    broadcasts = True
    places: Tensor

    def __init__(
        self,
        event_shape: Sequence[int],
        width: int = 256,
        depth: int = 8,
        patch: int | None = None,
        conditions: int = 1,
        classes: int | None = None,
        extra: int = 0,
        dropout: float = 0.0,
    ) -> None:
        patch = patch or _usual_patch(event_shape[1:])
        _require_fit(tuple(event_shape), width, patch)
        super().__init__(event_shape, width, conditions, classes, extra)
        self.width, self.depth, self.patch, self.dropout = width, depth, patch, dropout
        values = event_shape[0] * patch**2
        rows, columns = (-(-n // patch) for n in event_shape[1:])
        self.register_buffer("places", positions(rows, columns, width), persistent=False)
        self.inner = nn.Linear(values, width)
        self.blocks = nn.ModuleList(Block(width, width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulate = zeroed(nn.Linear(width, 2 * width))
        self.outer = zeroed(nn.Linear(width, values))
        self.pooled = zeroed(nn.Linear(width, extra)) if extra else None

    def body(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor | None]:
        """Output (B, *event), and scalars (B, extra) or None: from the mean over the patches."""
        height, width = x.shape[2:]
        x = pad(x, (0, -width % self.patch, 0, -height % self.patch))
        sides = {"p": self.patch, "q": self.patch}
        h = self.inner(rearrange(x, "b c (m p) (n q) -> b (m n) (c p q)", **sides)) + self.places
        for block in self.blocks:
            h = block(h, e)
        scale, shift = self.modulate(e)[:, None].chunk(2, -1)
        h = torch.addcmul(shift, self.norm(h), 1 + scale)
        places = {"m": x.shape[2] // self.patch, **sides}
        out = rearrange(self.outer(h), "b (m n) (c p q) -> b c (m p) (n q)", **places)
        out = out[:, :, :height, :width].contiguous()
        return out, None if self.pooled is None else self.pooled(h.mean(1))


def _usual_patch(sides: Sequence[int]) -> int:
    """The side of a patch with which a side has 16 patches at most."""
    return min([1 << max(0, math.ceil(math.log2(max(sides, default=1) / 16))), *sides])


def _require_fit(shape: tuple[int, ...], width: int, patch: int) -> None:
    """Refuse events that are no images, and options that do not fit them."""
    if len(shape) != 3:
        raise ValueError(
            f"a DiT wants events (channels, height, width), got {shape}; "
            "use an MLP, or reshape the data to images"
        )
    if width % 4:
        raise ValueError(f"got width {width}; a DiT wants a multiple of 4, for its positions")
    if patch > min(shape[1:]):
        raise ValueError(f"got patch {patch} for images of {shape[1]} x {shape[2]}; give less")
