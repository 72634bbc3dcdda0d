"""A field at times that are known beforehand, as a solver's are: what no point changes, at once.

The levels of the times and a network's coefficients are numbers of each time alone. Computed for
one time after the other they cost more than a small network; for all of them together, nothing.
"""

from __future__ import annotations

from torch import Tensor

from diffode.fields.affine import AffineField, PosteriorAt


def posterior_along(field: AffineField, times: Tensor, like: Tensor) -> PosteriorAt:
    """The field's `posterior`, as a function of a time's index, points x and labels y.

    A subclass, or an instance, that writes its ``posterior`` anew and not its ``prepared`` is
    called as it is.

    Arguments:
        field: the field.
        times: float64, shape (K,).
        like: points of the type, the number and the device of those to come.
    """
    own = states_with(field, "prepared", {"posterior", "output", "level"})
    made = field.prepared(times, like) if own else None
    return made or (lambda k, x, y: field.posterior(x, times[k], y))


def states_with(made: object, name: str, others: set[str]) -> bool:
    """Whether what an object states under a name was written where the others were written last.

    Arguments:
        made: the object.
        name: of an attribute or method that speaks for the others.
        others: methods that a subclass may have written anew.
    """
    for place in (vars(made), *map(vars, type(made).__mro__)):
        if place.keys() & others:
            return name in place
    return False
