"""What EDM-format files say of their networks: the options, their defaults and their ranges.

The names are those in the files, so that a file's own options are checked by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, Len

from diffode.options import Finite, Fraction, NonNegative, Positive

Side = Annotated[int, Ge(1), Le(4096)]
Channels = Annotated[int, Ge(1), Le(1024)]
Width = Annotated[int, Ge(4), Le(8192)]
Multiple = Annotated[int, Ge(1), Le(64)]
Multiples = Annotated[tuple[Multiple, ...], Len(1, 10)]
Blocks = Annotated[int, Ge(1), Le(64)]
Labels = Annotated[int, Ge(0), Le(1_000_000)]
Sides = Annotated[tuple[Side, ...], Len(0, 16)]
Taps = Annotated[tuple[Finite, ...], Len(1, 16)]
Levels = Annotated[int, Ge(2), Le(100_000)]


@dataclass(frozen=True, kw_only=True)
class UNet:
    """What both kinds of networks are told.

    Attributes:
        img_resolution: side of an image in pixels.
        in_channels, out_channels: of the input and the output.
        label_dim: how many classes, 0 for none.
        augment_dim: how many numbers say how training has changed an image, 0 for none.
        model_channels: the unit of the channels.
        channel_mult: channels at each resolution, the finest first, in that unit.
        channel_mult_emb: the size of the embedding in that unit.
        num_blocks: residual blocks at each resolution.
        attn_resolutions: sides at which pixels attend to each other.
        dropout, label_dropout: what training dropped of values and of labels.
    """

    img_resolution: Side
    in_channels: Channels
    out_channels: Channels
    label_dim: Labels = 0
    augment_dim: Labels = 0
    model_channels: Width
    channel_mult: Multiples
    channel_mult_emb: Multiple = 4
    num_blocks: Blocks
    attn_resolutions: Sides
    dropout: Fraction = 0.1
    label_dropout: NonNegative = 0.0

    def __post_init__(self) -> None:
        if self.img_resolution % 2 ** (len(self.channel_mult) - 1):
            raise ValueError(
                f"got img_resolution={self.img_resolution} with {len(self.channel_mult)} "
                "resolutions; wanted a side that can be halved between them"
            )


@dataclass(frozen=True, kw_only=True)
class SongUNet(UNet):
    """The networks of the score-SDE paper: DDPM++ and NCSN++.

    Attributes:
        embedding_type: of the noise level: positional (DDPM++) or fourier (NCSN++).
        channel_mult_noise: the size of that in ``model_channels``.
        encoder_type, decoder_type: whether smaller copies of the image join in.
        resample_filter: the filter by which the resolution changes, along one axis.
    """

    model_channels: Width = 128
    channel_mult: Multiples = (1, 2, 2, 2)
    num_blocks: Blocks = 4
    attn_resolutions: Sides = (16,)
    embedding_type: Literal["positional", "fourier"] = "positional"
    channel_mult_noise: Multiple = 1
    encoder_type: Literal["standard", "skip", "residual"] = "standard"
    decoder_type: Literal["standard", "skip"] = "standard"
    resample_filter: Taps = (1, 1)


@dataclass(frozen=True, kw_only=True)
class DhariwalUNet(UNet):
    """The network of ADM."""

    model_channels: Width = 192
    channel_mult: Multiples = (1, 2, 3, 4)
    num_blocks: Blocks = 3
    attn_resolutions: Sides = (32, 16, 8)


@dataclass(frozen=True, kw_only=True)
class Precond:
    """What every preconditioning is told.

    Attributes:
        img_resolution, img_channels, label_dim: of the images and their classes.
        sigma_min, sigma_max: the noise levels that the network was made for.
        pfgmpp: whether the noise is that of PFGM++.
        D: its augmented dimensions.
    """

    img_resolution: Side
    img_channels: Channels
    label_dim: Labels = 0
    sigma_min: NonNegative = 0.0
    sigma_max: Annotated[float, Ge(0)] = float("inf")
    pfgmpp: bool = False
    D: Positive = 128.0


@dataclass(frozen=True, kw_only=True)
class EDMPrecond(Precond):
    """EDM's: input and target of unit variance for data of standard deviation sigma_data."""

    sigma_data: Positive = 0.5


@dataclass(frozen=True, kw_only=True)
class VPPrecond(Precond):
    """The noise of VP, told the time of its M steps: beta(t) = beta_min + beta_d t."""

    beta_d: Positive = 19.9
    beta_min: Positive = 0.1
    M: Levels = 1000


@dataclass(frozen=True, kw_only=True)
class VEPrecond(Precond):
    """The score of VE, told log(sigma / 2)."""

    sigma_min: NonNegative = 0.02
    sigma_max: Annotated[float, Ge(0)] = 100.0


@dataclass(frozen=True, kw_only=True)
class IDDPMPrecond(Precond):
    """The noise of improved DDPM, told the number of one of its M steps."""

    M: Levels = 1000


NETWORKS: dict[str, type[UNet]] = {"SongUNet": SongUNet, "DhariwalUNet": DhariwalUNet}
PRECONDS: dict[str, type[Precond]] = {
    "EDMPrecond": EDMPrecond,
    "VPPrecond": VPPrecond,
    "VEPrecond": VEPrecond,
    "iDDPMPrecond": IDDPMPrecond,
}
