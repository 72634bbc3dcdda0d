r"""A folder of diffusers, sampled by its own scheduler and by diffode from the same noise.

The pipeline is a small one of random weights, so that nothing is downloaded; a published one is
opened by the same line, ``from_diffusers("google/ddpm-cifar10-32")``. Both ways solve one ODE:
what differs is how far each is from its solution after so many evaluations of the network. The
folder has a likelihood too, which diffusers does not know.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import typer
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel
from torch import Tensor

from diffode import decode, log_prob
from diffode.fields import Field
from diffode.interop import from_diffusers
from diffode.rng import Rng
from diffode.viz import canvas

COUNT, NFE = 8, 20


def pipeline() -> DDPMPipeline:
    """A small network of random weights, and the scheduler whose path it is on."""
    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    scheduler = DDIMScheduler(clip_sample=False, prediction_type="v_prediction")
    return DDPMPipeline(network.eval(), scheduler)


@torch.no_grad()
def by_diffusers(pipe: DDPMPipeline, x: Tensor) -> Tensor:
    """Where the scheduler's own loop leads from the noise x."""
    pipe.scheduler.set_timesteps(NFE)
    for t in pipe.scheduler.timesteps:
        x = pipe.scheduler.step(pipe.unet(x, t).sample, t, x).prev_sample
    return x


def by_diffode(field: Field, x: Tensor, nfe: int) -> Tensor:
    """Where the default solver of samples leads from the noise x."""
    return decode(field, x, solver="trig", nfe=nfe, final="denoise").x


def main(out: Path = Path("."), steps: int = 20) -> Path:
    """Write a picture into the folder OUT; STEPS are those of the likelihood."""
    pipe = pipeline()
    with TemporaryDirectory() as folder:
        pipe.save_pretrained(folder)
        field = from_diffusers(folder)
    print(field)
    x = field.prior.sample((COUNT, *field.event_shape), Rng(0))
    true = by_diffode(field, x, 200)
    drawn = {"diffusers, DDIM": by_diffusers(pipe, x), "diffode": by_diffode(field, x, NFE)}
    for name, found in drawn.items():
        error = float((found - true).square().mean().sqrt())
        print(f"{name}, {NFE} evaluations: {error:.2g} from the solution")
    nats = log_prob(field, true, solver="heun", steps=steps).nats

    figure = canvas.figure(1500, 620)
    rows = drawn | {"the solution": true}
    for row, (axes, images) in enumerate(
        zip(figure.subplots(3, COUNT), rows.values(), strict=True)
    ):
        for ax, image, value in zip(axes, images, nats, strict=True):
            ax.imshow(image[0].numpy(), cmap="gray", vmin=-1, vmax=1)
            ax.set_axis_off()
            if row == 2:
                ax.set_title(f"{float(value):.0f} nats", fontsize=11)
    figure.suptitle(f"from above, {NFE} evaluations each: " + ", ".join(rows), fontsize=13)
    canvas.save(figure, file := out / "published_pipeline.png")
    print(f"wrote {file}")
    return file


if __name__ == "__main__":
    typer.run(main)
