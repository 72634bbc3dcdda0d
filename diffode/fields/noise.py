"""What a field asks of its noise."""

from __future__ import annotations

from torch import Tensor

from diffode.priors import Spherical, is_normal


def require_unit(noise: Spherical) -> Spherical:
    """The noise, if it is of unit scale about 0.

    Raises:
        ValueError: it is not.
    """
    if noise.scale != 1 or isinstance(noise.loc, Tensor) or noise.loc != 0:
        raise ValueError(
            f"got noise {noise}; wanted a law of scale 1 about 0: the schedule scales it"
        )
    return noise


def require_independent(coupled: bool, what: str) -> None:
    """Refuse a field of coupled pairs of data and noise for what rests on noise drawn on its own.

    Arguments:
        coupled: `AffineField.coupled`.
        what: rests on it.

    Raises:
        TypeError: it is coupled.
    """
    if coupled:
        raise TypeError(
            f"{what} needs noise that is independent of the data, and this field was trained on "
            "coupled pairs of the two: its velocity is right, and E[n|x] says nothing of a score; "
            "use a solver that adds no noise, or train with coupling=independent"
        )


def require_score(noise: Spherical) -> None:
    """Refuse noise of which -E[n|x] / sigma is not the score.

    Raises:
        TypeError: it is not normal.
    """
    if not is_normal(noise):
        raise TypeError(
            f"the noise is {noise}, for which -E[n|x]/sigma is not the score; "
            "use velocity() or denoise(), or a field with Normal() noise"
        )


def require_steps(noise: Spherical, coupled: bool, name: str, advice: str) -> None:
    """Refuse a field for a solver whose steps add normal noise.

    Arguments:
        noise, coupled: of the field.
        name: of the solver.
        advice: what to do for other noise instead.

    Raises:
        TypeError: noise that is not normal, or not independent of the data.
    """
    if not is_normal(noise):
        raise TypeError(f"{name} adds normal noise, but this field's noise is {noise}; {advice}")
    require_independent(coupled, f"{name}, which adds noise,")
