"""Networks of diffusers, and what calls them as diffode calls a network.

The package is imported when a network is built, and only the classes in the tables here are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from torch import Tensor, nn

from diffode.inputs import brief, quoted
from diffode.interop.folders import DITS, Part
from diffode.interop.loading import loaded
from diffode.options import problem
from diffode.warned import warn

Size = Annotated[int, Ge(1)]
Sides = Annotated[
    tuple[Size, Size], BeforeValidator(lambda v: v if isinstance(v, list | tuple) else (v, v))
]
MOST = 2**28  # numbers in one state
UNETS, TRANSFORMERS = ("UNet2DModel",), DITS
AUTOENCODERS = ("AutoencoderKL", "VQModel")


class NetworkConfig(BaseModel):
    """What a network's configuration says of what goes in and out."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sample_size: Sides
    in_channels: Size = 3
    out_channels: Size | None = None
    num_class_embeds: Size | None = None
    num_embeds_ada_norm: Size = 1000
    class_embed_type: str | None = None
    time_embedding_type: str = "positional"

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a state."""
        return (self.in_channels, *self.sample_size)


class Network(nn.Module):
    """``network(x, cond, y)`` of a network of diffusers.

    Arguments:
        model: the network.
        classes: how many labels it knows; None for an unconditional one.
        null: the label that stands for none; None where there is none.
        pixels: the range of values that it sees, for -1 to 1 here.
        rounds: whether its times are whole numbers.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: int | None,
        null: int | None,
        pixels: tuple[float, float],
        rounds: bool,
    ) -> None:
        super().__init__()
        low, high = pixels
        self.model, self.classes, self.null, self.rounds = model, classes, null, rounds
        self.scale, self.shift = (high - low) / 2, (high + low) / 2
        self.needs_labels = classes is not None and null is None

    def forward(self, x: Tensor, cond: Tensor, y: Tensor | None = None) -> Tensor:
        """The output for x (B, *event) at the times cond (B, 1), labels y (B,) or None."""
        if y is None and self.classes is not None:
            if self.null is None:
                raise ValueError(
                    "this network cannot go without labels; give y, or say which label stands for "
                    "none by null_label=, --null-label on the command line"
                )
            y = torch.full((len(x),), self.null, device=x.device)
        if (self.scale, self.shift) != (1.0, 0.0):
            x = self.scale * x + self.shift
        t = cond[:, 0].round().long() if self.rounds else cond[:, 0]
        out: Tensor = self.model(x, timestep=t, class_labels=y).sample
        return out[:, : x.shape[1]]  # behind it stands a learned variance


def build(part: Part, pixels: tuple[float, float], null_label: int | None) -> tuple[Network, Any]:
    """The network of a pipeline with its weights, and its configuration.

    Raises:
        ValueError: a class or a configuration that is not read, or weights that do not fit.
    """
    known = (*UNETS, *TRANSFORMERS)
    if part.kind not in known:
        raise ValueError(
            f"got a network of class {quoted(part.kind)}; wanted {', '.join(known)} (one that "
            "takes a text is sampled in its own pipeline)"
        )
    config, transformer = _config(part), part.kind in TRANSFORMERS
    if math.prod(config.shape) > MOST:
        raise ValueError(
            f"got states of shape {config.shape} by sample_size; wanted {MOST:,} numbers at most"
        )
    outputs = config.out_channels or config.in_channels
    if outputs not in (config.in_channels, 2 * config.in_channels):
        raise ValueError(
            f"{part.kind} has {config.in_channels} channels in and {outputs} out; wanted as many, "
            "or twice as many with a learned variance"
        )
    if config.class_embed_type is not None:
        kind = quoted(config.class_embed_type)
        raise ValueError(f"{part.kind}: got class_embed_type {kind}; wanted labels alone")
    rounds = config.time_embedding_type == "learned"
    if rounds:
        warn("the network's times are a table: those between its entries are rounded")
    classes = config.num_embeds_ada_norm if transformer else config.num_class_embeds
    null = classes if transformer and null_label is None else null_label
    table = None if classes is None else classes + transformer
    if null is not None and not (table is not None and 0 <= null < table):
        known_labels = "it has no labels" if table is None else f"wanted 0 to {table - 1}"
        raise ValueError(f"got null_label={null}; {known_labels}")
    if table is not None:
        classes = table - 1 if null == table - 1 else table
    network = Network(
        loaded(part, "DiTTransformer2DModel" if transformer else part.kind),
        classes,
        null,
        pixels,
        rounds,
    )
    _require_callable(network, config.shape, part.folder)
    return network, config


def _require_callable(network: Network, shape: tuple[int, ...], place: Path) -> None:
    """Refuse a network that does not answer to a state with one of its shape; nothing is computed.

    Raises:
        ValueError: one that does not.
    """
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    bare = {name: value.to("meta") for name, value in held.items()}
    y = None if network.classes is None else torch.zeros(1, dtype=torch.long, device="meta")
    x, cond = torch.zeros(1, *shape, device="meta"), torch.zeros(1, 1, device="meta")
    try:
        with torch.no_grad():
            out = torch.func.functional_call(network.eval(), bare, (x, cond, y))
    except NotImplementedError:  # an operation that always computes
        return
    except Exception as error:  # what the configuration brings about
        said = f"fails on a state of shape {shape}: {brief(str(error), 200)}"
        raise ValueError(f"the network in {place} {said}") from None
    if out.shape[1:] != shape:
        raise ValueError(
            f"the network in {place} makes {tuple(out.shape[1:])} of a state of shape {shape}"
        )


def _config(part: Part) -> NetworkConfig:
    given = {key: value for key, value in part.config.items() if value is not None}
    if "sample_size" not in given:
        raise ValueError(f"{part.folder / 'config.json'} has no sample_size; write it there")
    if part.kind in UNETS:
        given.setdefault("out_channels", 3)
    try:
        return NetworkConfig(**given)
    except ValidationError as error:
        raise ValueError(f"{part.folder / 'config.json'}: {problem(error)}") from None
