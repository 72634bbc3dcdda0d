"""The default solver in a pipeline of diffusers, by one line.

The pipeline's network is exact: that of smoothed digits, so that nothing is trained or downloaded.
With a pipeline of your own

    pipe.scheduler = DiffodeScheduler.from_config(pipe.scheduler.config)

is all there is to it. The picture shows what comes from the same noise with each scheduler, and
how far it is from where the flow ends. It needs ``pip install 'diffode[diffusers]'``.
"""

from pathlib import Path

import diffusers
import torch
import typer
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from diffode.data import load
from diffode.fields import Empirical
from diffode.interop import DiffodeScheduler, scheduler_path
from diffode.viz import canvas

STEPS = (5, 8, 10, 15, 20)
ORIGIN = diffusers.DDPMScheduler(clip_sample=False)
SCHEDULERS = {
    "DDIM": diffusers.DDIMScheduler,
    "DPM++2M": diffusers.DPMSolverMultistepScheduler,
    "diffode": DiffodeScheduler,
}


class Exact(diffusers.ModelMixin, diffusers.ConfigMixin):
    """The network that says E[n | x] of smoothed digits on the linear chain."""

    @register_to_config
    def __init__(self, sample_size: int = 8, in_channels: int = 1) -> None:
        super().__init__()
        images = load("digits").train[:300].reshape(-1, in_channels, sample_size, sample_size)
        path = scheduler_path({"_class_name": "DDPMScheduler"})
        self.field = Empirical(images, path.schedule, bandwidth=0.2)
        self.scale = torch.nn.Parameter(torch.ones(()))  # a pipeline asks for the parameters' type

    def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
        """What a U-Net returns."""
        return UNet2DOutput(self.field.noise_part(sample, timestep.double()))


def pipeline() -> diffusers.DDPMPipeline:
    """A pipeline with that network."""
    pipe = diffusers.DDPMPipeline(Exact().eval(), ORIGIN)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe: diffusers.DDPMPipeline, name: str, steps: int) -> Tensor:
    """Eight images from the same noise, shape (8, 8, 8)."""
    pipe.scheduler = SCHEDULERS[name].from_config(ORIGIN.config)
    rng = torch.Generator().manual_seed(0)
    images = pipe(batch_size=8, num_inference_steps=steps, generator=rng, output_type="np").images
    return torch.from_numpy(images[..., 0])


def main(out: Path = Path("."), steps: int = 200) -> Path:
    """Write a picture into the folder OUT; STEPS show where the flow ends."""
    pipe = pipeline()
    end = drawn(pipe, "diffode", max(steps, 2 * STEPS[-1]))
    figure = canvas.figure(1400, 620)
    left, right = figure.subplots(1, 2)
    for name in SCHEDULERS:
        gaps = [float((drawn(pipe, name, k) - end).square().mean().sqrt()) for k in STEPS]
        left.loglog(STEPS, gaps, "o-", label=name)
        print(f"{name}: {gaps[2]:.1e} from the end of the flow in {STEPS[2]} steps")
    left.set(xlabel="calls of the network", ylabel="distance from the end of the flow")
    left.legend()
    rows = [torch.cat(list(drawn(pipe, name, STEPS[0])), 1) for name in SCHEDULERS]
    right.imshow(torch.cat([*rows, torch.cat(list(end), 1)]).numpy(), cmap="gray")
    right.set_title(f"{', '.join(SCHEDULERS)} in {STEPS[0]} steps; the end of the flow")
    right.axis("off")
    path = out / "scheduler-in-a-pipeline.png"
    canvas.save(figure, path)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    typer.run(main)
