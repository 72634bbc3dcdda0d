"""Fields of tokens: masked or replaced, and guessed again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from diffode.options import Finite
from diffode.recipes.registry import recipe

if TYPE_CHECKING:
    from diffode.data.levels import Levels
    from diffode.recipes.compose import Given
    from diffode.training import Objective

LevelCount = Annotated[int, Ge(2)]
_WIDE = 4.0  # standard deviations about the mean that bins cover, where no data are looked at


@recipe(
    "categorical",
    about="tokens hidden behind masks, or replaced, and guessed: no ODE",
    reference="Austin et al. (2021), D3PM, https://arxiv.org/abs/2107.03006",
)
def categorical(
    given: Given,
    *,
    corruption: Literal["mask", "uniform"] = "mask",
    levels: LevelCount | None = None,
    low: Finite | None = None,
    high: Finite | None = None,
    bins: bool | None = None,
) -> Objective:
    """Cross-entropy with the weight of the ELBO, on whole numbers or on what is rounded to them.

    Arguments:
        corruption: mask hides tokens, uniform replaces them by ones drawn uniformly.
        levels: the number of tokens. A run chooses by its data: the levels that they have, if
            those lie evenly and are 256 at most, else 64 bins.
        low: the value of the first token, or the lower end of the first bin.
        high: the value of the last token, or the upper end of the last bin.
        bins: whether values between are taken too, each as the middle of its bin.
    """
    from diffode.fields.tokens import Absorbing, Replacing
    from diffode.training.revealing import Revealing

    known = _levels(given, levels, low, high, bins)
    kind = Absorbing if corruption == "mask" else Replacing
    field = given.tokens(kind(known.count, given.shape), known)
    return Revealing(field, given.classes, given.label_drop)


@recipe(
    "masked",
    about="images whose pixels are hidden with a probability that grows in t, and guessed",
    reference="Shi et al. (2024), MD4, https://arxiv.org/abs/2406.04329",
)
def masked(
    given: Given,
    *,
    levels: LevelCount | None = None,
    low: Finite | None = None,
    high: Finite | None = None,
    bins: bool | None = None,
) -> Objective:
    """Pixels as grey levels, hidden behind masks: ``categorical`` for images.

    Arguments:
        levels: the number of grey levels. A run chooses by its data, as ``categorical`` does; 2
            makes images black and white.
        low: the value of the first level, or the lower end of the first bin.
        high: the value of the last level, or the upper end of the last bin.
        bins: whether values between are taken too, each as the middle of its bin.
    """
    return categorical(given, levels=levels, low=low, high=high, bins=bins)


def _levels(
    given: Given, count: int | None, low: float | None, high: float | None, bins: bool | None
) -> Levels:
    """The levels that options state; those left open are whole numbers, or bins by the moments."""
    from diffode.data.levels import BINS, Levels

    mean, reach = float(given.stats.mean.mean()), _WIDE * given.stats.std
    ends = mean - reach, mean + reach
    if count is not None and low is None and high is None:
        ends = (-0.5, count - 0.5) if bins else (0.0, count - 1.0)
    return Levels.between(
        given.choose("levels", count, BINS),
        given.choose("low", low, ends[0]),
        given.choose("high", high, ends[1]),
        given.choose("bins", bins, count is None),
    )
