"""Does a field state what every field states? Without that no check can run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from diffode.fields.base import Field, SamplingDefaults
from diffode.fields.schedules import Schedule
from diffode.nn.embeddings import needs_labels
from diffode.priors import Spherical


def require_stated(field: Field, schedule: Schedule | None) -> None:
    """Refuse a field whose attributes are missing or of another kind, or that needs labels.

    Arguments:
        field: to look at.
        schedule: its schedule, if it has one.

    Raises:
        ValueError: the first attribute that is not what it should be.
    """
    name = type(field).__name__
    if not isinstance(field, nn.Module) or "_parameters" not in vars(field):
        raise ValueError(f"{name} is not set up: call super().__init__() first in its __init__")
    if needs_labels(field):
        raise ValueError(
            "the checks go without labels, and this field was trained with label_drop=0: it has "
            "no null label to stand for that; check one that was trained with some dropped"
        )
    for attribute, wanted in _WANTED.items():
        value = getattr(field, attribute, None)
        if not _FITS[attribute](value):
            raise ValueError(f"{name}.{attribute} is {_short(value)}; wanted {wanted}")
    if schedule is not None:
        try:
            t = torch.tensor(math.fsum(schedule.span) / 2, dtype=torch.float64)
            [schedule.rates(t), schedule.time(schedule.rho(t))]
        except Exception as error:  # foreign code: whatever it raises is told
            raise ValueError(
                f"{name}'s schedule raises {_said(error)}; it needs alpha, sigma, span, and time, "
                "the inverse of sigma / alpha"
            ) from error
    try:
        repr(field)
    except Exception as error:
        raise ValueError(f"the repr of {name} raises {_said(error)}") from error


def _is_span(value: Any) -> bool:  # noqa: ANN401
    numbers = isinstance(value, tuple) and all(isinstance(v, int | float) for v in value)
    return numbers and len(set(value)) == len(value) == 2 and all(map(math.isfinite, value))


def _is_shape(value: Any) -> bool:  # noqa: ANN401
    whole = isinstance(value, tuple) and all(type(v) is int and v > 0 for v in value)
    return whole and bool(value)


_WANTED = {
    "prior": "a law to start from, such as Normal()",
    "span": "two different numbers (t_prior, t_data)",
    "event_shape": "the shape of one sample, such as (2,)",
    "sampling_defaults": "None, or SamplingDefaults(solver, times)",
}
_FITS: dict[str, Callable[[Any], bool]] = {
    "prior": lambda v: isinstance(v, Spherical),
    "span": _is_span,
    "event_shape": _is_shape,
    "sampling_defaults": lambda v: v is None or isinstance(v, SamplingDefaults),
}


def _short(value: object) -> str:
    return " ".join(repr(value).split())[:80]


def _said(error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return type(error).__name__ + (f": {words}" if words else "")
