"""Does a field state what every field states? Without that nothing can be done with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from diffode.fields.base import Field, SamplingDefaults
from diffode.inputs import brief
from diffode.priors import Spherical


def require_complete(field: Field) -> None:
    """Refuse a field whose attributes are missing or of another kind.

    Raises:
        ValueError: the first attribute that is not what it should be.
    """
    name = type(field).__name__
    if not isinstance(field, nn.Module) or "_parameters" not in vars(field):
        raise ValueError(f"{name} is not set up: call super().__init__() first in its __init__")
    for attribute, wanted in _WANTED.items():
        value = getattr(field, attribute, None)
        if attribute == "prior" and value is None and _starts_by_itself(field):
            continue
        if not _FITS[attribute](value):
            got = " ".join(repr(value).split())[:80]
            raise ValueError(f"{name}.{attribute} is {got}; wanted {wanted}")
    try:
        repr(field)
    except Exception as error:  # foreign code: whatever it raises is told
        raise ValueError(f"the repr of {name} raises {raised(error)}") from error


def require_field(value: object) -> None:
    """Refuse what has a field, or leads to one, in the place of the field.

    Raises:
        TypeError: it is no field.
    """
    if isinstance(value, Field):
        return
    advice = "diffode.interop.from_velocity and from_denoiser make a field of a model"
    if isinstance(getattr(value, "field", None), Field):
        advice = "give its .field"
    elif isinstance(value, str | Path):
        advice = f"open it first: diffode.load({str(value)!r}).field"
    raise TypeError(f"got an object of type {type(value).__name__}; wanted a field; {advice}")


def raised(error: Exception) -> str:
    """An error that foreign code raised, in a few words: its type and what it says."""
    words = brief(str(error), 200)
    return type(error).__name__ + (f": {words}" if words else "")


def _starts_by_itself(field: Field) -> bool:
    """Whether it draws starting points without a prior, as between two sets of points."""
    return type(field).start is not Field.start and not field.is_bound


def _is_span(value: Any) -> bool:  # noqa: ANN401
    numbers = isinstance(value, tuple) and all(isinstance(v, int | float) for v in value)
    return numbers and len(set(value)) == len(value) == 2 and all(map(math.isfinite, value))


def _is_shape(value: Any) -> bool:  # noqa: ANN401
    whole = isinstance(value, tuple) and all(type(v) is int and v > 0 for v in value)
    return whole and bool(value)


_WANTED = {
    "prior": "a law to start from, such as Normal(), or a start() of its own",
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
