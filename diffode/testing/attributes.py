"""Does a field state what the checks need? Without that none can run."""

from __future__ import annotations

import math

import torch

from diffode.doors import needs_labels
from diffode.fields.base import Field
from diffode.fields.complete import raised, require_complete
from diffode.fields.schedules import Schedule


def require_stated(field: Field, schedule: Schedule | None) -> None:
    """Refuse a field that is not complete, needs labels, or has a schedule that raises.

    Arguments:
        field: to look at.
        schedule: its schedule, if it has one.

    Raises:
        ValueError: the first thing that is not what it should be.
    """
    require_complete(field)
    if needs_labels(field):
        raise ValueError(
            "the checks go without labels, and this field needs them: it was trained with "
            "label_drop=0 and has no null label, or it is guided to labels; check one that goes "
            "without"
        )
    if schedule is not None:
        try:
            t = torch.tensor(math.fsum(schedule.span) / 2, dtype=torch.float64)
            [schedule.rates(t), schedule.time(schedule.rho(t))]
        except Exception as error:  # foreign code: whatever it raises is told
            raise ValueError(
                f"{type(field).__name__}'s schedule raises {raised(error)}; it needs alpha, "
                "sigma and span, and a time of its own must be the inverse of sigma / alpha"
            ) from error
