"""Scheduler configurations of diffusers: which family a class is of, and its values.

A configuration is data: absent keys have the defaults of their class, unknown keys are left
alone, and a name decides nothing but which row of a table is read. A name that is not in the
table is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, ValidationError

from diffode.inputs import quoted
from diffode.options import Positive, problem, suggest

Beta = Annotated[float, Gt(0), Lt(1)]
Times = Annotated[int, Ge(2), Le(10**6)]


class SchedulerConfig(BaseModel):
    """What all families share: the values that a path depends on."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Chain(SchedulerConfig):
    """A chain of betas; with ``use_flow_sigmas`` the straight path instead."""

    num_train_timesteps: Times = 1000
    beta_start: Beta = 1e-4
    beta_end: Beta = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[Beta, ...] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: str = "epsilon"
    timestep_type: str = "discrete"
    use_flow_sigmas: bool = False
    clip_sample: bool = False
    thresholding: bool = False


class Edm(SchedulerConfig):
    """EDM's preconditioning, with sigma as its time."""

    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0
    sigma_data: Positive = 0.5
    prediction_type: str = "epsilon"
    thresholding: bool = False


class FlowMatch(SchedulerConfig):
    """The straight path, its time in units of 1 / num_train_timesteps."""

    num_train_timesteps: Times = 1000
    invert_sigmas: bool = False
    prediction_type: Literal["flow_prediction"] = "flow_prediction"  # no other is possible


class ScoreSdeVe(SchedulerConfig):
    """The geometric path of noise in pixels from 0 to 1, and a network that gives the score."""

    sigma_min: Positive = 0.01
    sigma_max: Positive = 1348.0


_FAMILIES: list[tuple[type[SchedulerConfig], str, dict[str, Any]]] = [
    (Chain, "DDPM DDPMParallel DDIM DDIMParallel DDIMInverse", {"clip_sample": True}),
    (
        Chain,
        "PNDM DPMSolverMultistep DPMSolverMultistepInverse DPMSolverSinglestep UniPCMultistep "
        "DEISMultistep SASolver EulerDiscrete EulerAncestralDiscrete LMSDiscrete",
        {},
    ),
    (
        Chain,
        "HeunDiscrete KDPM2Discrete KDPM2AncestralDiscrete DPMSolverSDE",
        {"beta_start": 0.00085, "beta_end": 0.012},
    ),
    (Edm, "EDMEuler EDMDPMSolverMultistep", {}),
    (FlowMatch, "FlowMatchEulerDiscrete FlowMatchHeunDiscrete", {}),
    (ScoreSdeVe, "ScoreSdeVe", {}),
]
KNOWN = {
    f"{name}Scheduler": (family, own) for family, names, own in _FAMILIES for name in names.split()
}
_DISTILLED = "its network was distilled into a consistency model: it gives no conditional mean"
REFUSED = {
    "KarrasVe": "its schedule holds squares of sigma and its network sees half of it",
    "IPNDM": "its betas are sines and its times are angles",
    "CMStochasticIterative": _DISTILLED,
    "ConsistencyDecoder": _DISTILLED,
    "LCM": _DISTILLED,
    "TCD": _DISTILLED,
    "FlowMatchLCM": _DISTILLED,
}


def parse(config: Mapping[str, Any]) -> SchedulerConfig:
    """The values of a scheduler's configuration, by the family of its class.

    Arguments:
        config: the content of a ``scheduler_config.json``; None stands for the default.

    Raises:
        TypeError: no mapping.
        ValueError: no class name, an unknown one or one that states no path, or a value that does
            not fit.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"got {quoted(config)}; wanted the content of a scheduler_config.json")
    name = config.get("_class_name")
    short = str(name).removesuffix("Scheduler")
    if short in REFUSED and short != name:
        raise ValueError(f"{name} states no path that can be read: {REFUSED[short]}")
    if not isinstance(name, str) or name not in KNOWN:
        hint = suggest(str(name)[:100], list(KNOWN))
        raise ValueError(
            f"got the scheduler {quoted(name)}; {hint}known: {', '.join(sorted(KNOWN))}"
        )
    family, own = KNOWN[name]
    given = {key: value for key, value in config.items() if value is not None}
    try:
        return family(**{**own, **given})
    except ValidationError as error:
        raise ValueError(f"{name}: {problem(error)}") from None
