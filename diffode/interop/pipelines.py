"""A diffusers pipeline as a field."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from diffode.devices import choose
from diffode.doors import as_count, as_state
from diffode.fields.base import Field
from diffode.fields.learned import Learned
from diffode.inputs import quoted
from diffode.interop import folders
from diffode.interop.loading import loaded
from diffode.interop.networks import AUTOENCODERS, build
from diffode.interop.paths import scheduler_path
from diffode.options import Finite, Positive, problem
from diffode.priors import Normal
from diffode.warned import warn

AT_ONCE = 8  # images that are decoded together


class PipelineField(Learned):
    r"""The field of a pipeline's network; images are from -1 to 1, whatever the network sees.

    A pipeline with a decoder moves latents, whose images `pixels` gives.

    Attributes:
        decoder: from latents to images; None where the states are images.
    """

    decoder: Decoder | None

    def pixels(self, x: Tensor) -> Tensor:
        r"""The images of states at t_data, shape (B, C, H, W), from -1 to 1."""
        x = as_state(x, self.event_shape)
        if self.decoder is None:
            return x
        with torch.no_grad():
            return torch.cat([self.decoder(part) for part in torch.split(x, AT_ONCE)])


class Latents(BaseModel):
    """How an autoencoder's latents are scaled; the defaults are those of its classes."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    scaling_factor: Positive = 0.18215
    shift_factor: Finite = 0.0


class Decoder(nn.Module):
    """The decoder of an autoencoder, of latents that were scaled to about unit variance.

    Arguments:
        model: the autoencoder.
        scale, shift: latents are scale * (z - shift) for its own z.
    """

    def __init__(self, model: nn.Module, scale: float, shift: float) -> None:
        super().__init__()
        self.model, self.scale, self.shift = model, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        """The images of latents x (B, *event)."""
        z = (x / self.scale + self.shift).to(next(self.model.parameters()).dtype)
        images: Tensor = self.model.decode(z).sample  # type: ignore[operator]
        return images.to(x.dtype)


def from_diffusers(
    folder_or_id: str | Path,
    null_label: int | None = None,
    device: str = "cpu",
    variant: str | None = None,
) -> PipelineField:
    r"""The field of a diffusers pipeline: UNet2DModel or DiT, with any scheduler that is read.

    The scheduler gives the path and the meaning of the network's output, see
    `diffode.interop.scheduler_path`; solver and times are chosen here. States are images from -1
    to 1, or the latents of the pipeline's autoencoder.

    Arguments:
        folder_or_id: a folder that ``save_pretrained`` wrote, or a name on the hub, owner/name,
            which the hub library downloads and keeps in its cache.
        null_label: the label that stands for none, where no configuration says which; DiT's is
            the one behind its last.
        device: "auto", "cpu" or "cuda".
        variant: the weights to take where there are several, as "fp16".

    Raises:
        ValueError: no pipeline there, one of a kind that is not read (by name), or a package that
            is not installed.
    """
    null = None if null_label is None else as_count(null_label, "null_label", 0)
    pipeline = folders.read(folders.located(folder_or_id), variant)
    path = scheduler_path(pipeline.scheduler)
    decoder = None if pipeline.decoder is None else _decoder(pipeline.decoder)
    network, config = build(pipeline.network, path.pixels, null)
    if path.unlike:
        warn(
            f"{' and '.join(path.unlike)} of {pipeline.scheduler['_class_name']} is left out: it "
            "belongs to a sampler, and a field has none"
        )
    field = PipelineField(
        network,
        path.schedule,
        path.prediction,
        Normal(),
        torch.zeros(config.shape),
        path.std if decoder is None else 1.0,
    )
    field.decoder = decoder
    return field.to(choose(device)).eval()


def pixels(field: Field, x: Tensor) -> Tensor:
    r"""The images of a field's states at t_data: decoded where they are latents, else x itself."""
    while not isinstance(field, PipelineField):
        inner = getattr(field, "inner", None)
        if not isinstance(inner, Field):
            return x
        field = inner
    return field.pixels(x)


def _decoder(part: folders.Part) -> Decoder:
    if part.kind not in AUTOENCODERS:
        raise ValueError(
            f"got an autoencoder of class {quoted(part.kind)}; wanted {', '.join(AUTOENCODERS)}"
        )
    given = {key: value for key, value in part.config.items() if value is not None}
    try:
        latents = Latents(**given)
    except ValidationError as error:
        raise ValueError(f"{part.folder / 'config.json'}: {problem(error)}") from None
    return Decoder(loaded(part, part.kind), latents.scaling_factor, latents.shift_factor)
