"""Models of diffusers with the weights of a folder: held to each other before either is believed.

A configuration says how large a model is, and diffusers makes it before it opens the weights. So
the model is first made without memory, and only one that the files can fill is made in earnest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import nn

from diffode.inputs import brief
from diffode.interop.folders import Part
from diffode.options import Finite, NonNegative, problem

Layers = Annotated[int, Ge(0), Le(256)]
SMALL = 2**26  # weights that are made whatever the files hold


class Built(BaseModel):
    """What a configuration says of how many parts a model is made of."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    layers_per_block: Layers | None = None
    num_layers: Layers | None = None
    block_out_channels: Annotated[tuple[int, ...], Len(1, 64)] | None = None
    norm_eps: NonNegative | None = None
    freq_shift: Finite | None = None
    mid_block_scale_factor: Finite | None = None

    @model_validator(mode="after")
    def _divides(self) -> Built:
        """Nothing is divided by 0, which only a sample would show."""
        if self.mid_block_scale_factor == 0:
            raise ValueError("got mid_block_scale_factor=0; wanted another number")
        half = self.block_out_channels and self.block_out_channels[0] // 2
        if self.freq_shift is not None and self.freq_shift == half:
            raise ValueError(f"got freq_shift={half:g}, half of block_out_channels; wanted less")
        return self


def loaded(part: Part, kind: str) -> nn.Module:
    """A model of diffusers with the weights of a folder, ready to be called.

    Raises:
        ValueError: diffusers is not installed, or the weights cannot be read, are not finite or
            are not those of the configuration.
    """
    try:
        import diffusers
    except ImportError:
        raise ValueError(
            f"{part.folder} needs the package diffusers, which is not installed: "
            "pip install 'diffode[diffusers]'"
        ) from None
    made = getattr(diffusers, kind)
    with _quiet():
        _require_filled(part, made)
        try:
            model, told = made.from_pretrained(
                part.folder,
                local_files_only=True,
                use_safetensors=part.safe,
                variant=part.variant,
                output_loading_info=True,
            )
        except Exception as error:  # what a damaged or misleading file brings about
            raise _unread(part, error) from None
    for key, fault in (("missing_keys", "no"), ("unexpected_keys", "it has no place for")):
        if told[key]:
            raise ValueError(
                f"the weights in {part.folder} do not fit its configuration: "
                f"{fault} {brief(sorted(told[key])[0], 100)}"
            )
    for name, weight in model.state_dict().items():
        if not bool(weight.isfinite().all()):
            raise ValueError(f"the weights in {part.folder} are not finite: {name}")
    ready: nn.Module = model.float().eval().requires_grad_(False)  # diffusers may leave a mixture
    return ready


def _require_filled(part: Part, made: Any) -> None:  # noqa: ANN401
    """Refuse a configuration of a larger model than there are weights for.

    Raises:
        ValueError: one that is, or of which no model can be made.
    """
    try:
        Built(**part.config)
    except ValidationError as error:
        raise ValueError(f"{part.folder / 'config.json'}: {problem(error)}") from None
    try:
        with torch.device("meta"):
            numbers = sum(p.numel() for p in made.from_config(part.config).parameters())
    except Exception as error:  # as above
        raise _unread(part, error) from None
    size = sum(file.stat().st_size for file in part.folder.iterdir() if file.is_file())
    if numbers > max(size, SMALL):
        raise ValueError(
            f"{part.folder / 'config.json'} is of a network of {numbers:,} weights; the files "
            f"beside it have {size:,} bytes"
        )


def _unread(part: Part, error: Exception) -> ValueError:
    return ValueError(f"{part.folder} cannot be loaded: {brief(str(error), 300)}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, diffusers says nothing beside its errors: what matters of it is said here."""
    from diffusers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
