"""What options are and mean, read from the signatures and docstrings that state them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from diffode.options import in_words, options_of, shown

_SECTION = re.compile(r"^(?:Arguments|Attributes):\n((?:[ ]+.*(?:\n|$))+)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*): ((?:.*)(?:\n     +.*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Option:
    """An option as a reader is told of it.

    Attributes:
        name: what it is called.
        kind: of values it takes, as "whole number".
        range: of those values, as "above 0"; empty where there is none.
        default: the value where none is given; "-" stands for none.
        meaning: from the docstring; empty where it has none.
    """

    name: str
    kind: str
    range: str
    default: str
    meaning: str


def described(function: Callable[..., Any]) -> list[Option]:
    """The options of a function or class: its keyword-only parameters, in their order."""
    said = meanings(function)
    return [
        Option(name, *in_words(_hint(field)), shown(field.default), said.get(name, ""))
        for name, field in options_of(function).model_fields.items()
    ]


def meanings(function: Callable[..., Any]) -> dict[str, str]:
    """What the "Arguments:" or "Attributes:" of a docstring say of each name."""
    sections = _SECTION.findall(inspect.getdoc(function) or "")
    return {
        name: " ".join(meaning.split())
        for section in sections
        for together, meaning in _ENTRY.findall(section)
        for name in together.split(", ")
    }


def _hint(field: Any) -> Any:  # noqa: ANN401  # of pydantic
    """The type of a parameter with its bounds, which pydantic keeps apart."""
    bounds = tuple(field.metadata)
    return Annotated[field.annotation, *bounds] if bounds else field.annotation
