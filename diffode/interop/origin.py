"""Which scheduler of diffusers a configuration belongs to, where it does not say so itself.

A scheduler that was made in Python has a ``config`` without the name of its class. The keys show
the family, and every value that a path depends on stands in such a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def class_of(config: Mapping[str, Any]) -> str:
    """The class whose path a configuration states.

    Raises:
        ValueError: its keys belong to no family that is known here.
    """
    keys = set(config)
    if "original_inference_steps" in keys or "clip_denoised" in keys or "scale_factors" in keys:
        raise ValueError(
            "got the configuration of a distilled model's scheduler; its network gives no "
            "conditional mean, so that no solver of the flow serves it"
        )
    if "sigma_data" in keys and ("solver_order" not in keys or "algorithm_type" in keys):
        return "EDMEulerScheduler"
    if "beta_schedule" in keys:
        return "DPMSolverMultistepScheduler"
    if "shift" in keys:
        return "FlowMatchEulerDiscreteScheduler"
    raise ValueError(
        f"got a configuration with the keys {', '.join(sorted(keys))[:200]}, which states no "
        "path that is known; pass one with its _class_name, or the scheduler itself"
    )
