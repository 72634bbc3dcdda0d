"""Networks: a residual MLP, a compact U-Net and a DiT, all called as ``network(x, cond, y)``.

x is (B, *event), cond holds real conditioning numbers (B, k), y is (B,) integer labels or None
(unconditional). `network` chooses by the event's shape; any module with this call serves as well.
Critics, ``critic(x, t, y)``, and generators, ``generator(z, y)``, have modules of their own.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from diffode import registry
from diffode.nn.base import Network, seeded
from diffode.nn.critic import CriticNetwork, critic_network
from diffode.nn.dit import DiT
from diffode.nn.dropout import Dropout
from diffode.nn.embeddings import Embedding
from diffode.nn.generator import Generator, generator_network
from diffode.nn.mlp import MLP
from diffode.nn.unet import UNet

__all__ = [
    "MLP",
    "CriticNetwork",
    "DiT",
    "Dropout",
    "Embedding",
    "Generator",
    "Network",
    "UNet",
    "critic_network",
    "generator_network",
    "kind_for",
    "network",
    "options_for",
    "seeded",
]


OPTIONS = ("width", "depth", "multipliers", "attention", "patch", "dropout")
"""What networks may be told beside shapes, see `diffode.recipes.compose.make_given`."""


registry.register("network", "mlp", MLP)
registry.register("network", "unet", UNet)
registry.register("network", "dit", DiT)
registry.register("network", "unet2d", "diffode.nn.unet2d:UNet2D", about="that of diffusers")


def kind_for(event_shape: Sequence[int], kind: str = "auto") -> str:
    """The name of a network; "auto" is a U-Net for images of more than 256 values, else an MLP."""
    if kind != "auto":
        return kind
    return "unet" if len(event_shape) == 3 and math.prod(event_shape) > 256 else "mlp"


def options_for(
    what: str, make: Callable[..., object], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of a network that are given; those left open are its own choice.

    One that it has no default for is handed over as None.

    Raises:
        ValueError: one that it does not take.
    """
    known, options = _parameters(what, make), dict.fromkeys(OPTIONS) | dict(options)
    takes = set(options) if any(p.kind is p.VAR_KEYWORD for p in known.values()) else set(known)
    for name, value in options.items():
        if value is not None and name not in takes:
            has = ", ".join(key for key in options if key in takes) or "none of these options"
            raise ValueError(f"{what} takes no {name}; it takes {has}")
    needed = {name for name, p in known.items() if p.default is p.empty}
    return {k: v for k, v in options.items() if v is not None or k in needed}


def _parameters(what: str, make: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(make).parameters
    except ValueError:  # of a builtin, which does not say
        raise TypeError(f"{what} is a builtin, which does not say what it is made with") from None


def network(
    event_shape: Sequence[int],
    kind: str = "auto",
    conditions: int = 1,
    classes: int | None = None,
    extra: int = 0,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> nn.Module:
    """The usual network for events of a shape, with weights that depend on the arguments alone.

    >>> import torch
    >>> network((2,), width=64)(torch.zeros(5, 2), torch.zeros(5, 1)).shape
    torch.Size([5, 2])

    Arguments:
        event_shape: shape of one sample.
        kind: "mlp", "unet", "dit", "unet2d" or another registered name; "auto" is a U-Net for
            images (C, H, W) of more than 256 values, an MLP for all else.
        conditions: how many conditioning numbers come with a sample.
        classes: number of labels, or None.
        extra: how many scalars to return beside the output.
        seed: of the initial weights.
        options: width, depth and the others of `diffode.recipes.compose.make_given`; None leaves
            the choice to the network.

    A registered network is made by ``make(event_shape, *, conditions, classes, extra)`` and those
    options that it takes.

    Raises:
        ValueError: no such kind, an option that it does not take, a U-Net or DiT for events that
            are no images, or a size below 1.
        TypeError: a registered network that is made or called otherwise, or is no module.
    """
    shape = tuple(event_shape)
    if min(shape, default=1) < 1:
        raise ValueError(f"got event_shape {shape}; every size in it is 1 or more")
    counts = {"conditions": conditions, "classes": classes}
    sizes = {k: options.get(k) for k in ("width", "depth", "patch")}
    for name, count in (counts | sizes).items():
        if count is not None and count < 1:
            raise ValueError(f"got {name} {count}; want 1 or more")
    kind = kind_for(shape, kind)
    make = registry.find("network", kind).value
    told = counts | {"extra": extra}
    with seeded(seed):
        given = isinstance(make, nn.Module)
        made = _copied(kind, make, options) if given else _made(kind, make, shape, told, options)
    if not isinstance(made, nn.Module):
        raise TypeError(f"network {kind!r} made a {type(made).__name__}; wanted a torch module")
    if next(made.parameters(), None) is None:
        raise ValueError(f"network {kind!r} has no parameters, so there is nothing to train")
    try:
        inspect.signature(made.forward).bind(None, None, None)
    except TypeError as error:
        raise TypeError(
            f"network {kind!r} cannot be called as network(x, cond, y): {error}"
        ) from None
    except ValueError:  # of TorchScript
        raise TypeError(
            f"network {kind!r} is a {type(made).__name__}, which does not say how it is called; "
            "give the module that it was made of"
        ) from None
    return made


def _copied(kind: str, module: nn.Module, options: Mapping[str, Any]) -> nn.Module:
    """A copy of a module that is given itself, which so stays as it is."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"got {name} {value} for network {kind!r}, which is made already; leave it out"
            )
    return copy.deepcopy(module)


def _made(
    kind: str,
    make: object,
    shape: tuple[int, ...],
    told: Mapping[str, Any],
    options: Mapping[str, Any],
) -> object:
    """What a class or function makes of the shapes that it is told and of the options."""
    if not callable(make):
        raise TypeError(
            f"network {kind!r} is of type {type(make).__name__}; wanted a torch module, or a "
            "class or function that makes one"
        )
    chosen = {**told, **options_for(f"network {kind!r}", make, options)}
    try:
        inspect.signature(make).bind(shape, **chosen)
    except TypeError as error:
        raise TypeError(
            f"network {kind!r} cannot be made with (event_shape, *, {', '.join(chosen)}): "
            f"{error}; let it take these, or in Python give network= a module that is made"
        ) from None
    return make(shape, **chosen)
