"""A field as it is solved: on a solver's clock, or in the basis of its decay."""

from __future__ import annotations

from typing import TypeAlias

from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.reschedule import Rescheduled, rescheduled, usual_clock
from diffode.fields.turned import Turned

Other: TypeAlias = Rescheduled | Turned


def as_solved(field: Field, clock: str) -> Other | None:
    """The field on a solver's clock or in the basis of its decay; None where it is as it is."""
    if isinstance(field, AffineField) and field.decay is not None and not field.in_basis:
        return Turned(field)
    clock = usual_clock(field) if clock == "auto" else clock
    if clock == "native":
        return None
    other = rescheduled(field, clock)
    assert isinstance(other, Rescheduled)
    return other


def require_coordinates(name: str, able: bool, clock: str, field: AffineField) -> None:
    """Refuse a solver that cannot use a field with a noise level for each coordinate.

    Arguments:
        name, able, clock: the solver's, see `diffode.solvers.Solver.per_coordinate`.
        field: such a field.

    Raises:
        TypeError: it cannot, or integrates in a clock of one level.
    """
    kind = type(field).__name__
    if not able:
        raise TypeError(
            f"{name} takes one noise level for all coordinates, and {kind} has one for each "
            "frequency; use trig, ddim, ancestral, dpm++, unipc, deis, ab, heun or dopri5"
        )
    if clock not in ("native", "auto"):
        raise TypeError(
            f"got the clock {clock} for {kind}, which has a noise level for each frequency and no "
            "such clock; use clock='native'"
        )
