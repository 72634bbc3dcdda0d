"""A diffusers pipeline as a field."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from diffode.devices import choose
from diffode.doors import Numbers, as_count, as_positive, as_state
from diffode.fields.base import Field
from diffode.fields.learned import Learned
from diffode.inputs import as_place, quoted
from diffode.interop import folders
from diffode.interop.loading import loaded
from diffode.interop.networks import AUTOENCODERS, build
from diffode.interop.paths import scheduler_path
from diffode.options import Finite, Positive, problem
from diffode.priors import Normal
from diffode.warned import warn

AT_ONCE = 8  # images that are decoded together
LATENTS = "latents of the pipeline's autoencoder, not images"  # what reports call such states


class PipelineField(Learned):
    r"""The field of a pipeline's network; images are from -1 to 1, whatever the network sees.

    A pipeline with a decoder moves latents, whose images `pixels` gives.

    Attributes:
        decoder: from latents to images; None where the states are images.
        taken: which moments of the data are taken because nobody stated them; empty for none.
    """

    decoder: Decoder | None
    taken: str

    @property
    def centre(self) -> Tensor:
        r"""The point about which the network sees data, shape (\*event): 0, wherever they lie."""
        return torch.zeros_like(self.mean)

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
    mean: Numbers | float | None = None,
    std: float | None = None,
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
        mean: the data's mean m in the units of states, one number, one for each channel, or of
            the shape of a state; None takes 0.
        std: the data's rms standard deviation s; None takes 0.5 for images, 1 for latents, and
            ``sigma_data`` for a scheduler of EDM. Solvers place their steps by the two, and the
            likelihood's card states the signal that is left at t_prior by s.

    Raises:
        TypeError: no path and no name.
        ValueError: no pipeline there, one of a kind that is not read (by name), or a package that
            is not installed.
    """
    null = None if null_label is None else as_count(null_label, "null_label", 0)
    place = as_place(folder_or_id, "the folder of a pipeline, or a name on the hub, owner/name")
    folder = folders.located(place)
    before = folders.stamp(folder)
    pipeline = folders.read(folder, variant)
    path = scheduler_path(pipeline.scheduler)
    decoder = None if pipeline.decoder is None else _decoder(pipeline.decoder)
    network, config = build(pipeline.network, path.pixels, null)
    if folders.stamp(folder) != before:
        raise ValueError(f"{folder} changed while it was read; open it again once it is whole")
    if path.unlike:
        warn(
            f"{' and '.join(path.unlike)} of {pipeline.scheduler['_class_name']} is left out: it "
            "belongs to a sampler, and a field has none"
        )
    usual = path.std if decoder is None else 1.0
    field = PipelineField(
        network,
        path.schedule,
        path.prediction,
        Normal(),
        torch.zeros(config.shape) if mean is None else _mean(mean, config.shape),
        usual if std is None else as_positive(std, "std", "the data's standard deviation"),
    )
    field.decoder, field.taken = decoder, _taken(mean is None, std is None, usual)
    return field.to(choose(device)).eval()


def _mean(given: Numbers | float, shape: tuple[int, ...]) -> Tensor:
    """A mean of the shape of a state.

    Raises:
        TypeError, ValueError: no finite numbers, or of another shape.
    """
    m = as_state([given] if isinstance(given, int | float) else given, None, "mean")
    if m.shape == shape[:1]:
        m = m[:, None, None]
    if m.shape not in (shape, (1,), (shape[0], 1, 1)) or not bool(m.isfinite().all()):
        raise ValueError(
            f"got a mean of shape {tuple(m.shape)}; wanted finite numbers: one, {shape[0]}, one "
            f"for each channel, or {shape}"
        )
    return m.float().expand(shape).clone()


def _taken(mean: bool, std: bool, usual: float) -> str:
    taken = ["mean 0"] * mean + [f"standard deviation {usual:g}"] * std
    return " and ".join(taken)


def pixels(field: Field, x: Tensor) -> Tensor:
    r"""The images of a field's states at t_data: decoded where they are latents, else x itself."""
    own = _pipeline_in(field)
    return x if own is None else own.pixels(x)


def is_latent(field: Field) -> bool:
    """Whether a field's states are latents of an autoencoder, and not the data themselves."""
    own = _pipeline_in(field)
    return own is not None and own.decoder is not None


def _pipeline_in(field: Field) -> PipelineField | None:
    """The pipeline's field that others are wrapped around, if there is one."""
    while not isinstance(field, PipelineField):
        inner = getattr(field, "inner", None)
        if not isinstance(inner, Field):
            return None
        field = inner
    return field


def _decoder(part: folders.Part) -> Decoder:
    if part.kind not in AUTOENCODERS:
        raise ValueError(
            f"got an autoencoder of class {quoted(part.kind)}; wanted {', '.join(AUTOENCODERS)}"
        )
    given = {key: value for key, value in part.config.items() if value is not None}
    if odd := {"latents_mean", "latents_std"} & given.keys():
        raise ValueError(
            f"{part.folder / 'config.json'} has {min(odd)}, which the pipelines of these networks "
            "do not use: whether the network was trained with it is not known; set it to null, "
            "or scale by scaling_factor and shift_factor"
        )
    try:
        latents = Latents(**given)
    except ValidationError as error:
        raise ValueError(f"{part.folder / 'config.json'}: {problem(error)}") from None
    return Decoder(loaded(part, part.kind), latents.scaling_factor, latents.shift_factor)
