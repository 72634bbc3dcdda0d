"""A field as the network of a pipeline. Importing this module imports diffusers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from diffode import admission
from diffode.data.stats import Stats
from diffode.export.chain import answer
from diffode.fields.affine import AffineField
from diffode.runs.building import build


class DiffodeModel(ModelMixin, ConfigMixin):  # type: ignore[misc]
    r"""A field of normal noise as the network of a pipeline, called as ``UNet2DModel`` is.

    On a chain of betas it answers with :math:`E[n | x]`, else with :math:`E[n - x_0 | x]` on the
    straight path. Without labels it answers by the null label, as a field here does.

    Arguments:
        recipe, options, classes: what `diffode.build` made the field with.
        std: the data's rms standard deviation that the field was built with.
        betas: the chain of the scheduler beside it; None for flow matching.
        sample_size, in_channels, out_channels: of the images, as pipelines ask for them.

    Raises:
        ValueError: a recipe or a network that is not installed, or options that it does not take.
    """

    __module__ = "diffode.interop"  # where a pipeline is told to find it
    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        recipe: str,
        options: Mapping[str, Any],
        classes: int | None,
        std: float,
        betas: Sequence[float] | None,
        sample_size: Sequence[int],
        in_channels: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        for kind, name in {"recipe": recipe, **admission.parts(options)}.items():
            admission.admit(kind, name)
        shape = (in_channels, *sample_size)
        stats = replace(Stats.unit(shape), std=std)
        field = build(recipe, shape, classes, stats, **options).field
        if not isinstance(field, AffineField):
            raise ValueError(f"the recipe {recipe!r} makes no affine field; export the run again")
        self.field, self.betas = field, betas

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """The noise in the states ``sample``, or n - x_0, shape (B, C, H, W).

        Arguments:
            sample: states on the scheduler's path, shape (B, C, H, W).
            timestep: one, or one for each row.
            class_labels: shape (B,); None for unconditional.
            return_dict: whether to return ``UNet2DOutput`` or a tuple.
        """
        out = answer(self.field, self.betas, sample, timestep, class_labels)
        return UNet2DOutput(sample=out) if return_dict else (out,)
