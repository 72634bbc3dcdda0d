r"""From a scheduler's configuration to the path that its network was trained on.

Of a scheduler only the path matters here, :math:`x_t = \alpha_t x_0 + \sigma_t n` and what the
network's output means on it. Its solver, its spacing of times and its shift choose a grid, which
diffode chooses on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from diffode.fields.discrete import DiscreteBetas
from diffode.fields.precond import Prediction
from diffode.fields.schedules import VE, Karras, Rectified, Schedule
from diffode.inputs import quoted
from diffode.interop.betas import BETAS, ZeroTerminalBetas
from diffode.interop.configs import Chain, Edm, FlowMatch, ScoreSdeVe, parse
from diffode.interop.predictions import (
    EDM_MEANINGS,
    MEANINGS,
    ScoreOutput,
    Told,
    own_time,
    quarter_log_sigma,
    scaled_sigma,
)
from diffode.options import suggest

Value = TypeVar("Value")
VANISHED = 1e-30  # of alpha: below, states divided by it leave float32


@dataclass(frozen=True)
class SchedulerPath:
    """What a scheduler's configuration says of the model, in pixels from -1 to 1.

    Attributes:
        schedule: alpha, sigma and the span.
        prediction: what the network's output means, and what time it is told.
        pixels: the range of the values that the network itself sees.
        std: the data's rms standard deviation, as far as it is known.
        unlike: what their sampler does beside the field, which a field does not.
    """

    schedule: Schedule
    prediction: Prediction
    pixels: tuple[float, float] = (-1.0, 1.0)
    std: float = 0.5
    unlike: tuple[str, ...] = ()


def scheduler_path(config: Mapping[str, Any]) -> SchedulerPath:
    """The path of a scheduler of diffusers, which need not be installed.

    Arguments:
        config: the content of its ``scheduler_config.json``, with ``_class_name``.

    Raises:
        ValueError: an unknown scheduler, prediction type or beta schedule, or a value that does
            not fit.
    """
    read, name = parse(config), str(config["_class_name"])
    if isinstance(read, Chain):
        return _flow(read.num_train_timesteps) if _is_flow(read, name) else _chain(read, name)
    if isinstance(read, Edm):
        meaning = _known(EDM_MEANINGS, read.prediction_type, "prediction_type", name)
        return SchedulerPath(
            Karras(read.sigma_min, read.sigma_max),
            Told(meaning(read.sigma_data), quarter_log_sigma, scales=True),
            std=read.sigma_data,
            unlike=("thresholding",) if read.thresholding else (),
        )
    if isinstance(read, FlowMatch):
        if read.invert_sigmas:
            raise ValueError(f"{name}: invert_sigmas runs its time backwards, which is not read")
        return _flow(read.num_train_timesteps)
    assert isinstance(read, ScoreSdeVe)
    width = 2.0  # of pixels from -1 to 1 for one of theirs, from 0 to 1
    return SchedulerPath(
        VE(width * read.sigma_min, width * read.sigma_max),
        Told(ScoreOutput(width), scaled_sigma(1 / width)),
        pixels=(0.0, 1.0),
    )


def _is_flow(read: Chain, name: str) -> bool:
    """Whether a scheduler of a chain walks the straight path instead.

    Raises:
        ValueError: it says so of one thing and not of the other.
    """
    flow = read.prediction_type == "flow_prediction"
    if flow != read.use_flow_sigmas:
        raise ValueError(
            f"{name}: got use_flow_sigmas={str(read.use_flow_sigmas).lower()} with "
            f"prediction_type {quoted(read.prediction_type)}; wanted flow_prediction and "
            "use_flow_sigmas=true together or neither"
        )
    return flow


def _flow(count: int) -> SchedulerPath:
    prediction = Told(MEANINGS["flow_prediction"](), scaled_sigma(count))
    return SchedulerPath(Rectified(), prediction)


def _chain(read: Chain, name: str) -> SchedulerPath:
    meaning = _known(MEANINGS, read.prediction_type, "prediction_type", name)
    if read.timestep_type != "discrete":
        raise ValueError(
            f"{name}: got timestep_type {quoted(read.timestep_type)}; wanted discrete"
        )
    if read.rescale_betas_zero_snr and read.prediction_type == "epsilon":
        raise ValueError(
            f"{name}: got prediction_type 'epsilon' with rescale_betas_zero_snr; where alpha is 0 "
            "the noise says nothing of the data: wanted v_prediction or sample"
        )
    if read.trained_betas is not None:
        betas = torch.tensor(read.trained_betas, dtype=torch.float64)
        if len(betas) != read.num_train_timesteps:
            raise ValueError(
                f"{name}: got {len(betas)} trained_betas for {read.num_train_timesteps} "
                "num_train_timesteps; wanted as many: the network was trained on the latter"
            )
    else:
        make = _known(BETAS, read.beta_schedule, "beta_schedule", name)
        betas = make(read.beta_start, read.beta_end, read.num_train_timesteps)
    kind = ZeroTerminalBetas if read.rescale_betas_zero_snr else DiscreteBetas
    unlike = tuple(key for key in ("clip_sample", "thresholding") if getattr(read, key))
    schedule = kind(betas)
    last = float(schedule.alpha(torch.tensor(schedule.span[0], dtype=torch.float64)))
    if not (last > VANISHED or read.rescale_betas_zero_snr):
        raise ValueError(
            f"{name}: its betas leave alpha = {last:.1g} at the last time; wanted more than "
            f"{VANISHED:g}, for single precision"
        )
    return SchedulerPath(schedule, Told(meaning(), own_time), unlike=unlike)


def _known(table: Mapping[str, Value], value: str, key: str, name: str) -> Value:
    if value not in table:
        hint = suggest(value[:100], list(table))
        raise ValueError(f"{name}: got {key} {quoted(value)}; {hint}known: {', '.join(table)}")
    return table[value]
