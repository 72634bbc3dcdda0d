"""What pipelines of diffusers can show, and what they can sample without diffode."""

from __future__ import annotations

from diffode.doors import needs_labels
from diffode.export.chain import keeps_times
from diffode.fields.affine import AffineField
from diffode.fields.learned import Learned
from diffode.fields.precond import NoisePrediction, Timesteps, VelocityPrediction
from diffode.nn.unet2d import UNet2D
from diffode.priors import is_normal
from diffode.runs.targets import Target
from diffode.viz.images import is_image


def exportable(target: Target) -> AffineField:
    """The field of a target, if a pipeline of diffusers can show it.

    Raises:
        ValueError: why it cannot.
    """
    field = target.field
    if target.checkpoint is None:
        raise ValueError(f"{target.name} is no run and no checkpoint; export wants one of the two")
    if not isinstance(field, AffineField):
        raise ValueError(
            f"a {type(field).__name__} has no level of noise; schedulers of diffusers step along "
            "a path x = alpha x_0 + sigma n"
        )
    if not is_normal(field.noise):
        raise ValueError(
            f"the noise is {field.noise}; schedulers of diffusers start from normal noise and "
            "know no other law"
        )
    if field.decay is not None:
        raise ValueError(
            "the field has a noise level for each frequency; schedulers of diffusers have one"
        )
    if not is_image(field.event_shape):
        raise ValueError(
            f"got events of shape {field.event_shape}; pipelines of diffusers draw images "
            "(1, H, W) or (3, H, W)"
        )
    _require_pixels(field)
    if needs_labels(field):
        raise ValueError(
            "the network was trained with label_drop=0 and has no null label, and pipelines of "
            "diffusers pass no labels to such a network; train it with label_drop=0.1"
        )
    return field


def _require_pixels(field: AffineField) -> None:
    """Refuse units in which an image of a pipeline, (x + 1) / 2, would be none."""
    mean, std = field.moments
    if field.scaling is not None and field.scaling.kind != "pixels":
        units = str(field.scaling)
    elif float(mean.abs().max()) > 1 or float(mean.square().mean()) + std**2 > 1:
        units = "of the data, which are not in [-1, 1]"
    else:
        return
    raise ValueError(
        f"the units are {units}; pictures of diffusers are of pixels in [-1, 1]: train with "
        "--scale pixels"
    )


def lacking(field: AffineField) -> str:
    """Why plain diffusers cannot sample a field; empty if it can."""
    network = getattr(field, "network", None)
    if type(field) is not Learned or not isinstance(network, UNet2D):
        return f"its network is a {type(network).__name__}: train with --network unet2d"
    if bool(field.moments[0].any()):
        return "it is centred, and diffusers knows no mean: train with --set centre=false"
    prediction = field.prediction
    told = type(prediction.inner) if isinstance(prediction, Timesteps) else None
    if not keeps_times(field) or told not in (NoisePrediction, VelocityPrediction):
        return "its network answers with neither noise nor velocity: train ddpm or rectified"
    if field.classes is not None:
        return "it was trained with labels, which its pipelines cannot pass: train without"
    return ""
