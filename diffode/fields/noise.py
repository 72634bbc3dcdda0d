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
