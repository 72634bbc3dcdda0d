"""Which fields a solver can move, and what it says of others."""

from __future__ import annotations

from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.fields.corruption import Corrupting, require_velocity
from diffode.fields.interpolant import InterpolantField


def require_fit(name: str, needs: type[Field], field: Field) -> None:
    """Refuse a field of a kind that a solver cannot move.

    Arguments:
        name: of the solver.
        needs: the kind of field that it moves.
        field: what it is given.

    Raises:
        TypeError: naming what was needed, what was got and what to do.
    """
    if not issubclass(needs, Corrupting):
        require_velocity(field, name)
    if isinstance(field, needs):
        return
    kind = type(field).__name__
    if issubclass(needs, Corrupting):
        other = (
            "; diffode.fields.Denoised makes one of it" if isinstance(field, AffineField) else ""
        )
        raise TypeError(
            f"{name} needs a Corrupting field (a corruption and a guess of x_0), but {kind} is "
            f"moved by a velocity; use the solver {field.usual}{other}"
        )
    if issubclass(needs, InterpolantField):
        raise TypeError(
            f"{name} needs an interpolant with noise, and {kind} is none; use euler-maruyama for "
            "a path of data and normal noise"
        )
    raise TypeError(
        f"{name} needs an {needs.__name__} (alpha, sigma and posterior), but {kind} only states a "
        "velocity; use heun or a torchdiffeq method"
    )
