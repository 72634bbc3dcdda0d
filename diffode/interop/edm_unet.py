"""The U-Nets of EDM-format files: DDPM++, NCSN++ and ADM, with the files' names of parameters.

References: Song et al. (2021), https://arxiv.org/abs/2011.13456, appendix H; ADM (Dhariwal and
Nichol, 2021), https://arxiv.org/abs/2105.05233; Karras et al. (2022),
https://arxiv.org/abs/2206.00364, appendix F.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from diffode.interop.edm_blocks import Block, Conv, group_norm
from diffode.interop.edm_options import SongUNet, UNet

_HALF = math.sqrt(0.5)


class Waves(nn.Module):
    """Sines and cosines of what is said of the noise level, at fixed or at drawn frequencies.

    Arguments:
        size: how many in all.
        drawn: whether the file holds the frequencies; else they fall from 1 to 1/10000.
        song: whether 1/10000 itself is among these, and the sines come first.
    """

    freqs: Tensor

    def __init__(self, size: int, drawn: bool, song: bool) -> None:
        super().__init__()
        if size % 2 or size < 4:
            raise ValueError(f"got {size} numbers for the noise level; wanted an even number >= 4")
        self.count, self.drawn, self.song = size // 2, drawn, song
        if drawn:
            self.register_buffer("freqs", torch.ones(self.count))

    def forward(self, level: Tensor) -> Tensor:
        """The waves (B, size) of numbers of shape (B,)."""
        k = torch.arange(self.count, device=level.device)
        fixed = 1e-4 ** (k / (self.count - self.song))
        rates = 2 * math.pi * self.freqs if self.drawn else fixed
        angle = level[:, None] * rates.to(level)
        waves = (angle.sin(), angle.cos())
        return torch.cat(waves if self.song else waves[::-1], 1)


class EdmUNet(nn.Module):
    """A network of an EDM-format file.

    Arguments:
        told: its options, of one of the two kinds.
    """

    def __init__(self, told: UNet) -> None:
        super().__init__()
        self.told, self.song = told, told if isinstance(told, SongUNet) else None
        song, size = self.song, told.model_channels * told.channel_mult_emb
        noise = told.model_channels * (song.channel_mult_noise if song else 1)
        fourier = song is not None and song.embedding_type == "fourier"
        self.map_noise = Waves(noise, fourier, song is not None)
        self.map_label = self.map_augment = None
        if told.label_dim:
            width = noise if song else size
            self.map_label = nn.Linear(told.label_dim, width, bias=song is not None)
        if told.augment_dim:  # numbers of training alone: 0 stands for an image as it is
            self.map_augment = nn.Linear(told.augment_dim, noise, bias=False)
        self.map_layer0 = nn.Linear(noise, size)
        self.map_layer1 = nn.Linear(size, size)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self._decode(*self._encode())

    def _block(self, inside: int, outside: int, attend: bool = False, scale: float = 1) -> Block:
        told, song = self.told, self.song
        return Block(
            inside,
            outside,
            told.model_channels * told.channel_mult_emb,
            scale=scale,
            taps=song.resample_filter if song else (1, 1),
            heads=(1 if song else outside // 64) if attend else 0,
            adaptive=song is None,
            residual=_HALF if song else 1.0,
            eps=1e-6 if song else 1e-5,
        )

    def _side(self, level: int) -> int:
        return self.told.img_resolution >> level

    def _encode(self) -> tuple[int, list[int]]:
        """Make the encoder; the channels at its end, and those of what it hands over."""
        told, song = self.told, self.song
        kind, taps = (song.encoder_type, song.resample_filter) if song else ("standard", (1, 1))
        now, copy = told.in_channels, told.in_channels
        links: list[int] = []
        for level, times in enumerate(told.channel_mult):
            side = self._side(level)
            if level == 0:
                now = told.model_channels * (1 if song else times)
                self.enc[f"{side}x{side}_conv"] = Conv(told.in_channels, now, 3)
            else:
                self.enc[f"{side}x{side}_down"] = self._block(now, now, scale=0.5)
                if kind == "skip":
                    self.enc[f"{side}x{side}_aux_down"] = Conv(copy, copy, 0, 0.5, taps)
                    self.enc[f"{side}x{side}_aux_skip"] = Conv(copy, now, 1)
                elif kind == "residual":
                    shrinking = Conv(copy, now, 3, 0.5, taps, late=True)
                    self.enc[f"{side}x{side}_aux_residual"] = shrinking
                    copy = now
            links.append(now)
            for k in range(told.num_blocks):
                wide, attend = told.model_channels * times, side in told.attn_resolutions
                self.enc[f"{side}x{side}_block{k}"] = self._block(now, wide, attend)
                now = wide
                links.append(now)
        return now, links

    def _decode(self, now: int, links: list[int]) -> None:
        """Make the decoder, from the channels that the encoder ends with and hands over."""
        told, song = self.told, self.song
        last = len(told.channel_mult) - 1
        summed = song is not None and song.decoder_type == "skip"
        for level, times in reversed(list(enumerate(told.channel_mult))):
            side = self._side(level)
            if level == last:
                self.dec[f"{side}x{side}_in0"] = self._block(now, now, True)
                self.dec[f"{side}x{side}_in1"] = self._block(now, now)
            else:
                self.dec[f"{side}x{side}_up"] = self._block(now, now, scale=2)
            for k in range(told.num_blocks + 1):
                inside, now = now + links.pop(), told.model_channels * times
                attend = side in told.attn_resolutions and (song is None or k == told.num_blocks)
                self.dec[f"{side}x{side}_block{k}"] = self._block(inside, now, attend)
            if song and (summed or level == 0):
                if summed and level < last:
                    grown = Conv(told.out_channels, told.out_channels, 0, 2, song.resample_filter)
                    self.dec[f"{side}x{side}_aux_up"] = grown
                self.dec[f"{side}x{side}_aux_norm"] = group_norm(now, 1e-6)
                self.dec[f"{side}x{side}_aux_conv"] = Conv(now, told.out_channels, 3)
        if song is None:
            self.out_norm = group_norm(now, 1e-5)
            self.out_conv = Conv(now, told.out_channels, 3)

    def _embedding(self, level: Tensor, classes: Tensor | None) -> Tensor:
        """What the blocks are told, shape (B, E)."""
        e: Tensor = self.map_noise(level)
        label = 0.0 if self.map_label is None else self.map_label(classes)
        if self.song is None:
            return silu(self.map_layer1(silu(self.map_layer0(e))) + label)
        return silu(self.map_layer1(silu(self.map_layer0(e + label))))

    def forward(self, x: Tensor, level: Tensor, classes: Tensor | None = None) -> Tensor:
        """The output, shape (B, C', H, W).

        Arguments:
            x: images, shape (B, C, H, W).
            level: what the network is told of the noise level, shape (B,).
            classes: 1 at the class of each image and else 0, shape (B, label_dim).
        """
        if classes is not None and self.song:
            classes = classes * math.sqrt(self.told.label_dim)
        e = self._embedding(level, classes)
        small, links = x, list[Tensor]()
        for name, layer in self.enc.items():
            if name.endswith("aux_down"):
                small = layer(small)
            elif name.endswith("aux_skip"):
                x = links[-1] = x + layer(small)
            elif name.endswith("aux_residual"):
                x = links[-1] = small = (x + layer(small)) * _HALF
            else:
                x = layer(x, e) if isinstance(layer, Block) else layer(x)
                links.append(x)
        out: Tensor | None = None
        for name, layer in self.dec.items():
            if name.endswith("aux_up"):
                assert out is not None
                out = layer(out)
            elif name.endswith("aux_norm"):
                normed = layer(x)
            elif name.endswith("aux_conv"):
                drawn = layer(silu(normed))
                out = drawn if out is None else drawn + out
            else:
                x = layer(x if x.shape[1] == layer.inside else torch.cat((x, links.pop()), 1), e)
        if out is None:
            out = self.out_conv(silu(self.out_norm(x)))
        return out
