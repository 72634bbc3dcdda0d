"""Layers of the networks in EDM-format files; their parameters have the names of the files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, scaled_dot_product_attention, silu


def group_norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group norm in at most 32 groups of 4 or more channels."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps)


class Conv(nn.Module):
    r"""A convolution at the same, the double or half the resolution.

    The change of resolution is a fixed filter in each channel, before the convolution; ``late``
    shrinks behind it, without a margin of zeros in between.

    Arguments:
        inside, outside: channels before and behind.
        kernel: side of the kernel; 0 for the change of resolution alone.
        scale: 1, 2 or 0.5.
        taps: the filter along one axis.
        late: whether to shrink behind the convolution.
    """

    resample_filter: Tensor | None

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int,
        scale: float = 1,
        taps: Sequence[float] = (1, 1),
        late: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.kernel, self.late = scale, kernel, late
        self.weight = self.bias = None
        if kernel:
            self.weight = nn.Parameter(torch.zeros(outside, inside, kernel, kernel))
            self.bias = nn.Parameter(torch.zeros(outside))
        side = len(taps)
        self.margin = (side - 1) // 2
        self.register_buffer(
            "resample_filter", None if scale == 1 else torch.ones(1, 1, side, side)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The next x, (B, C', H', W') of (B, C, H, W)."""
        if self.scale == 2:
            taps = 4 * self._taps(x)
            x = conv_transpose2d(x, taps, stride=2, padding=self.margin, groups=len(taps))
        elif self.scale < 1 and not self.late:
            x = self._halved(x, self.margin)
        if self.weight is None:
            return x
        if not self.late:
            return conv2d(x, self.weight, self.bias, padding=self.kernel // 2)
        x = self._halved(conv2d(x, self.weight, padding=self.kernel // 2 + self.margin), 0)
        return x if self.bias is None else x + self.bias[:, None, None]

    def _taps(self, x: Tensor) -> Tensor:
        assert self.resample_filter is not None
        return self.resample_filter.to(x.dtype).repeat(x.shape[1], 1, 1, 1)

    def _halved(self, x: Tensor, margin: int) -> Tensor:
        taps = self._taps(x)
        return conv2d(x, taps, stride=2, padding=margin, groups=len(taps))


class Block(nn.Module):
    r"""A residual block, told the embedding e, with attention between its pixels if asked.

    .. math::

        z &= W_0 \, \mathrm{silu}(\mathrm{norm}(h)) \\
        h &\mapsto s \, \big(S h + W_1 \, \mathrm{silu}(\mathrm{norm}(z + A e))\big)

    ``adaptive`` scales and shifts the second norm by A e instead of adding it before.

    References: Song et al. (2021), https://arxiv.org/abs/2011.13456, appendix H; ADM (Dhariwal and
    Nichol, 2021), https://arxiv.org/abs/2105.05233, section 3; Karras et al. (2022),
    https://arxiv.org/abs/2206.00364, appendix F.

    Arguments:
        inside, outside: channels before and behind.
        embedding: size E of e.
        scale: the change of resolution, 1, 2 or 0.5.
        taps: the filter of that change.
        heads: of the attention; 0 for none.
        adaptive: how the embedding is told.
        residual: the factor s.
        eps: of the norms.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        embedding: int,
        *,
        scale: float = 1,
        taps: Sequence[float] = (1, 1),
        heads: int = 0,
        adaptive: bool,
        residual: float,
        eps: float,
    ) -> None:
        super().__init__()
        self.inside, self.adaptive, self.residual, self.heads = inside, adaptive, residual, heads
        self.norm0 = group_norm(inside, eps)
        self.conv0 = Conv(inside, outside, 3, scale, taps)
        self.affine = nn.Linear(embedding, outside * (2 if adaptive else 1))
        self.norm1 = group_norm(outside, eps)
        self.conv1 = Conv(outside, outside, 3)
        self.skip = None
        if scale != 1 or inside != outside:
            kernel = 0 if adaptive and inside == outside else 1
            self.skip = Conv(inside, outside, kernel, scale, taps)
        if heads:
            self.norm2 = group_norm(outside, eps)
            self.qkv = Conv(outside, 3 * outside, 1)
            self.proj = Conv(outside, outside, 1)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """The next h, from h (B, C, H, W) and the embedding (B, E)."""
        z: Tensor = self.conv0(silu(self.norm0(h)))
        told = self.affine(e)[:, :, None, None]
        if self.adaptive:
            gain, shift = told.chunk(2, 1)
            z = torch.addcmul(shift, self.norm1(z), 1 + gain)
        else:
            z = self.norm1(z + told)
        kept = h if self.skip is None else self.skip(h)
        h = self.residual * (kept + self.conv1(silu(z)))
        return self.residual * (h + self._attention(h)) if self.heads else h

    def _attention(self, h: Tensor) -> Tensor:
        """What each pixel takes from all others."""
        z: Tensor = self.qkv(self.norm2(h))
        q, k, v = rearrange(z, "b (m c n) y x -> n b m (y x) c", n=3, m=self.heads)
        z = scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(rearrange(z, "b m (y x) c -> b (m c) y x", y=h.shape[2]))
        return out
