"""How a data set is read: the options that stand beside its name or path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, Self

from diffode.inputs import quoted
from diffode.options import Count, validate


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a data set is read; a run keeps it beside the data's place.

    Attributes:
        scale: from data units to model units: "pixels" takes the range of gray levels to [-1, 1],
            "standard" gives each column (each channel of images) mean 0 and standard deviation 1,
            "none" leaves all as it is, "auto" chooses and says what.
        layout: what the axes of an array are: "points" (M, D), "signals" (M, C, L), "images"
            (M, H, W) or (M, C, H, W), "channels-last" (M, H, W, C); "auto" tells it by their
            sizes, see `diffode.data.layout`.
        resize: the side in pixels that the square in the middle of images is brought to.
        grey: whether images become grey.
        background: the colour behind transparent pixels.
        columns: of a table, those that are learned; None takes all that are numbers, or the
            one of images.
        label: of a table, the column of the labels.
    """

    scale: Literal["auto", "none", "pixels", "standard"] = "auto"
    layout: Literal["auto", "points", "signals", "images", "channels-last"] = "auto"
    resize: Count | None = None
    grey: bool = False
    background: str = "white"
    columns: tuple[str, ...] | None = None
    label: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The reading with these options.

        Raises:
            ValueError: an unknown option, or a value out of range.
        """
        return cls(**validate("data", options, cls))

    def stated(self) -> dict[str, Any]:
        """The options that are not at their defaults."""
        usual = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        return {k: v for k, v in asdict(self).items() if v != usual[k]}

    def require(self, what: str, *known: str) -> None:
        """Refuse options that mean nothing for this kind of data.

        Arguments:
            what: is read.
            known: the options that it has.

        Raises:
            ValueError: another option is stated.
        """
        for name, value in self.stated().items():
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"got {name}={quoted(value)} for {what}; {has}")
