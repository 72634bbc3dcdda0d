"""Is the function inside of a field read in the way that it is meant?"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from diffode.fields.base import Field
from diffode.fields.poisson import PoissonField
from diffode.interop.calls import CalledField
from diffode.testing.agreement import difference, percent, values
from diffode.testing.candidates import Place
from diffode.testing.findings import Finding

_EXACT, _TRAINED = 0.05, 0.3  # differences from the exact velocity that count as none
_GAIN = 0.4  # of the difference as it was stated


def misread(
    field: Field, found: Sequence[Place], exact: Sequence[Tensor], error: float, learned: bool
) -> Finding | None:
    """Another way of reading somebody's function, which gives the exact velocity.

    Arguments:
        field: one of `diffode.interop.from_velocity` or `from_denoiser`; others have one reading.
        found: where to compare.
        exact: the exact velocities there.
        error: the difference of the field's own from these.
        learned: whether the function has parameters, so that it need not be exact.
    """
    limit = min(_TRAINED if learned else _EXACT, _GAIN * error)
    field = field.inner if isinstance(field, PoissonField) else field  # the same on the plane
    if not isinstance(field, CalledField) or error < _EXACT:
        return None
    best = None
    for reading in field.readings():
        try:
            given = values(reading.field, list(found))
        except Exception:  # foreign code, called in a way that it may not take
            continue
        other = sum(map(difference, given, exact)) / len(found)
        if other < limit:
            best, limit = reading, other
    if best is None:
        return None
    return Finding(
        "velocity",
        False,
        f"this looks like {best.what}: {best.differs}",
        f"so read it differs from the exact velocity by {percent(limit)}, as stated by "
        f"{percent(error)}",
        best.advice,
        "convention",
    )
