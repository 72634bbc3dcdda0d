"""Models of others: what their files and calls mean here, and ours in their form.

A name is imported from its module when it is first asked for, so that a package such as diffusers
is only needed by what uses it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffode.interop.adapters import as_azula, as_k_diffusion
    from diffode.interop.denoisers import from_denoiser
    from diffode.interop.edm import from_edm
    from diffode.interop.k_diffusion import sample_diffode
    from diffode.interop.paths import SchedulerPath, scheduler_path
    from diffode.interop.pipelines import from_diffusers
    from diffode.interop.scheduler import DiffodeScheduler
    from diffode.interop.velocities import from_velocity

_HOMES = {
    "DiffodeModel": "diffode.export.wrapper",
    "DiffodeScheduler": "diffode.interop.scheduler",
    "ModelMixin": "diffusers",  # what diffusers looks for, to know how the class above is loaded
    "to_diffusers": "diffode.export.pipeline",
    "SchedulerPath": "diffode.interop.paths",
    "as_azula": "diffode.interop.adapters",
    "as_k_diffusion": "diffode.interop.adapters",
    "from_denoiser": "diffode.interop.denoisers",
    "from_diffusers": "diffode.interop.pipelines",
    "from_edm": "diffode.interop.edm",
    "from_velocity": "diffode.interop.velocities",
    "sample_diffode": "diffode.interop.k_diffusion",
    "scheduler_path": "diffode.interop.paths",
}

__all__ = [
    "DiffodeModel",
    "DiffodeScheduler",
    "SchedulerPath",
    "as_azula",
    "as_k_diffusion",
    "from_denoiser",
    "from_diffusers",
    "from_edm",
    "from_velocity",
    "sample_diffode",
    "scheduler_path",
    "to_diffusers",
]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
