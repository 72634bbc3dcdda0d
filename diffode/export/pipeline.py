"""A run as a folder from which diffusers samples."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffode.export.card import write_card
from diffode.export.chain import TIMESTEPS, answer, betas_of
from diffode.export.suitable import exportable, lacking
from diffode.fields.affine import AffineField
from diffode.fields.learned import Learned
from diffode.files import replacing_folder, unwritten
from diffode.inputs import quoted
from diffode.nn.unet2d import GET, UNet2D
from diffode.runs.targets import Target, resolve
from diffode.training import checkpoint
from diffode.viz import samples_picture

DRAWN, STEPS = 64, 50  # samples of the picture, and the steps that they take
AGREE = 1e-4  # of the largest value: what the folder and the field may differ by


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: the pipeline.
        why: what plain diffusers lacks for it; empty where it needs no diffode.
    """

    folder: Path
    why: str


def to_diffusers(
    run: str | Path,
    folder: str | Path,
    weights: str = "ema",
    *,
    plain: bool = False,
    trust: bool = False,
) -> Exported:
    """Write a run as a pipeline of diffusers; the folder is whole or absent.

    A run of `ddpm` or `rectified` with ``network=unet2d`` and ``centre=false`` needs no diffode
    to be sampled. Any other field of normal noise on images is written as `DiffodeModel`, which
    diffusers finds after ``import diffode.interop``. The folder is loaded again and held to the
    field before it gets its name.

    Arguments:
        run: a run directory or a checkpoint.
        folder: where to; nothing may be there.
        weights: the moving average ("ema"), or as trained ("raw").
        plain: refuse what diffusers cannot sample without diffode.
        trust: whether code that the run names may be run.

    Raises:
        OSError: it cannot be written.
        ValueError: something there already, a run that changes meanwhile, diffusers not
            installed, or a field that its schedulers, pipelines or pictures cannot show.
    """
    folder = Path(folder)
    with replacing_folder(folder) as made, _told(folder):
        before = _stamp(run)
        target = resolve(run, weights, trust=trust)
        field = exportable(target)
        why = lacking(field)
        if plain and why:
            raise ValueError(f"{run} cannot be sampled without diffode: {why}")
        _require_diffusers()
        betas = betas_of(field)
        network = _wrapped(target, field, betas) if why else _plain(field)
        with _quiet():
            _pipeline(network, betas).save_pretrained(made)
            picture = _tried(made, target, field, betas)
        (made / "samples.png").write_bytes(picture)
        write_card(made / "README.md", target, folder.name, not why, betas is None)
        if _stamp(run) != before:
            raise ValueError(f"{run} changed while it was exported; give the command again")
    return Exported(folder, why)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Within, a file that cannot be written is told of with the folder's name.

    Raises:
        OSError: it cannot.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and not error.strerror:  # a sentence of ours
            raise
        raise OSError(f"cannot write {folder}: {unwritten(error)}; nothing was written") from None


def _stamp(run: str | Path) -> list[object]:
    """What shows that a checkpoint became another: its file, size and time; none of code."""
    if not Path(run).exists():
        return []
    try:
        file = checkpoint.file_at(run)
        stat = file.stat()
    except (OSError, ValueError):  # it is refused by its own words, or is gone
        return []
    return [file, stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _require_diffusers() -> None:
    try:
        importlib.import_module("diffusers")
    except ImportError:
        raise ValueError(f"the format diffusers needs diffusers: {GET}") from None


def _pipeline(network: Any, betas: list[float] | None) -> Any:  # noqa: ANN401
    """The network with the scheduler of its path: DDIM on a chain, else flow matching."""
    from diffusers import (
        DDIMPipeline,
        DDIMScheduler,
        DDPMPipeline,
        FlowMatchEulerDiscreteScheduler,
    )

    if betas is None:
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=TIMESTEPS)
        return DDPMPipeline(network, scheduler)
    scheduler = DDIMScheduler(
        num_train_timesteps=len(betas),
        trained_betas=betas,
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    return DDIMPipeline(network, scheduler)


def _plain(field: AffineField) -> Any:  # noqa: ANN401
    assert isinstance(field, Learned) and isinstance(field.network, UNet2D)
    return field.network.unet


def _wrapped(target: Target, field: AffineField, betas: list[float] | None) -> Any:  # noqa: ANN401
    """The field as a `DiffodeModel`.

    Raises:
        ValueError: its recipe or its network is code that a folder cannot bring along.
    """
    from diffode.interop import DiffodeModel

    assert target.checkpoint is not None
    header, _ = checkpoint.peek(target.checkpoint)
    if code := header.get("code"):
        raise ValueError(
            f"the run names code that is not diffode's ({quoted(code)}), which a folder of "
            "diffusers cannot bring along"
        )
    channels, *size = field.event_shape
    model = DiffodeModel(
        recipe=header["recipe"],
        options=dict(header["options"]),
        classes=header["classes"],
        std=field.moments[1],
        betas=betas,
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
    )
    model.field.load_state_dict(field.state_dict())
    return model.eval()


def _tried(folder: Path, target: Target, field: AffineField, betas: list[float] | None) -> bytes:
    """A picture of samples that diffusers draws from the folder, once it agrees with the field.

    Raises:
        ValueError: its answers at the ends or in the middle of the path are others.
    """
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    x = torch.randn(3, *field.event_shape, generator=torch.Generator().manual_seed(0))
    last = TIMESTEPS if betas is None else len(betas) - 1
    for t in (last, last // 2, 1):
        with torch.no_grad():
            wanted, found = answer(field, betas, x, t), pipe.unet(x, torch.tensor(t)).sample
        gap = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6))
        if not gap < AGREE:
            raise ValueError(
                f"the exported network differs from the field by {gap:.1g} of its largest value "
                f"at timestep {t}; nothing was written"
            )
    seeded = torch.Generator().manual_seed(0)
    told = {"batch_size": DRAWN, "num_inference_steps": STEPS, "generator": seeded}
    drawn = pipe(**told, output_type="pt").images
    how = f"diffusers, {type(pipe.scheduler).__name__}, {STEPS} steps, seed 0; nothing selected"
    picture: bytes = samples_picture(2 * drawn - 1, title=f"{target.called}\n{how}")
    return picture


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, diffusers draws no progress bars, and does not say that our class is not its own."""
    from diffusers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()
