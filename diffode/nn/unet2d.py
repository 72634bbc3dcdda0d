"""The U-Net of diffusers, its ``UNet2DModel``, as a network here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffode.nn.base import zeroed
from diffode.nn.embeddings import Labels
from diffode.nn.unet import multipliers_of, require_fit

if TYPE_CHECKING:
    from diffusers import UNet2DModel

GET = "pip install 'diffode[diffusers]'"


class UNet2D(nn.Module):
    """``UNet2DModel`` called as ``network(x, cond, y)``; the number in cond is its timestep.

    A run of `ddpm` or `rectified` with it, and with ``centre=false``, can be exported for plain
    diffusers. The null label is the integer ``classes``, as for all networks here.

    Reference: the U-Net of Ho et al. (2020), https://arxiv.org/abs/2006.11239, as in diffusers.

    Attributes:
        timesteps: that it is told the time as diffusers counts it, see `Timesteps`.

    Arguments:
        event_shape: (channels, height, width) of one image.
        width: channels that the multipliers multiply.
        multipliers: channels at each resolution as multiples of the width, the finest first, also
            as text, "1,2,2"; None is 1, 2, 4, 4, ... until the shorter side is 8 or less.
        depth: residual blocks of a stage.
        conditions: how many conditioning numbers come with a sample: 1, the time.
        classes: number of labels, or None.
        extra: how many scalars to return beside the output: 0.
        attention: at how many of the coarsest resolutions pixels attend to each other.

    Raises:
        ValueError: diffusers is not there, events that are no images or cannot be halved as often
            as is asked for, or more conditioning numbers or scalars than it has.
    """

    timesteps = True

    def __init__(
        self,
        event_shape: Sequence[int],
        width: int = 32,
        multipliers: str | Sequence[int] | None = None,
        depth: int = 1,
        conditions: int = 1,
        classes: int | None = None,
        extra: int = 0,
        attention: int = 1,
    ) -> None:
        super().__init__()
        shape = tuple(event_shape)
        factors = multipliers_of(shape, multipliers)
        require_fit(shape, len(factors), attention)
        _require_plain(shape, len(factors), conditions, extra)
        channels = [width * k for k in factors]
        size, attends = math.gcd(*channels, 32), [k < attention for k in range(len(factors))]
        self.width, self.multipliers, self.depth = width, factors, depth
        self.attention, self.classes = attention, classes
        self.unet: UNet2DModel = _class()(
            sample_size=shape[1:],
            in_channels=shape[0],
            out_channels=shape[0],
            block_out_channels=channels,
            down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attends[::-1]],
            up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in attends],
            add_attention=attention > 0,
            layers_per_block=depth,
            attention_head_dim=size,
            norm_num_groups=max(1, size // 4),
            num_class_embeds=None if classes is None else classes + 1,
        )
        zeroed(self.unet.conv_out)
        if classes is not None:
            self.unet.class_embedding = Labels(classes, 4 * channels[0])

    def forward(self, x: Tensor, cond: Tensor, y: Tensor | None = None) -> Tensor:
        """Output, shape (B, *event).

        Arguments:
            x: images, shape (B, *event).
            cond: the timestep, shape (B, 1).
            y: labels, shape (B,), or None for unconditional.
        """
        if self.classes is not None and y is None:
            self.unet.class_embedding(None)  # refuses, where the null label is not trained
            y = torch.full((len(x),), self.classes, device=x.device)
        elif self.classes is None and y is not None:
            raise ValueError(
                "got labels for a network without; train it with labels (labels=True of "
                "diffode.fit, classes= of diffode.build), or pass y=None"
            )
        out: Tensor = self.unet(x, cond[:, 0], y, return_dict=False)[0]
        return out


def _class() -> type[UNet2DModel]:
    try:
        from diffusers import UNet2DModel
    except ImportError:
        raise ValueError(f"network 'unet2d' needs diffusers: {GET}") from None
    made: type[UNet2DModel] = UNet2DModel
    return made


def _require_plain(shape: tuple[int, ...], resolutions: int, conditions: int, extra: int) -> None:
    """Refuse what ``UNet2DModel`` cannot be told or does not return, and sides it cannot halve."""
    if conditions != 1 or extra:
        raise ValueError(
            f"network 'unet2d' is told the time alone and returns an image alone; got {conditions}"
            f" conditioning numbers and {extra} scalars; take another field, or network=unet"
        )
    multiple = 2 ** (resolutions - 1)
    if shape[1] % multiple or shape[2] % multiple:
        raise ValueError(
            f"got images of {shape[1]} x {shape[2]} for {resolutions} resolutions of network "
            f"'unet2d'; wanted sides that are multiples of {multiple}: --resize, or fewer "
            "multipliers"
        )
