"""What options are and mean, read from the signatures and docstrings that state them."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from diffode.options import options_of

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
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
        Option(name, *_values(_hint(field)), shown(field.default), said.get(name, ""))
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


def shown(value: object) -> str:
    """A value as the command line takes it; "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _hint(field: Any) -> Any:  # noqa: ANN401  # of pydantic
    """The type of a parameter with its bounds, which pydantic keeps apart."""
    bounds = tuple(field.metadata)
    return Annotated[field.annotation, *bounds] if bounds else field.annotation


def _values(hint: Any) -> tuple[str, str]:  # noqa: ANN401
    """The kind of values of a type, and their range."""
    if get_origin(hint) in (Union, types.UnionType):
        parts = [_values(part) for part in get_args(hint) if part is not type(None)]
        kinds, ranges = (
            dict.fromkeys(filter(None, column)) for column in zip(*parts, strict=True)
        )
        return " or ".join(kinds), ", or ".join(ranges)
    if get_origin(hint) is Literal:
        words = ", ".join(map(shown, get_args(hint)))
        return "word", f"one of {words}" if len(get_args(hint)) > 1 else words
    if get_origin(hint) is Annotated:
        kind, *bounds = get_args(hint)
        return _values(kind)[0], _within(bounds)
    return _KINDS.get(hint, getattr(hint, "__name__", str(hint)).lower()), ""


def _within(bounds: list[object]) -> str:
    """Bounds in words: "above 0", "from 1 to 4", "from 0, below 1", "1 or more"."""
    low, high = "", ""
    for bound in bounds:
        if isinstance(bound, Ge):
            low = f"from {bound.ge:g}"
        elif isinstance(bound, Gt) and bound.gt != -math.inf:
            low = f"above {bound.gt:g}"
        elif isinstance(bound, Le):
            high = f"to {bound.le:g}"
        elif isinstance(bound, Lt) and bound.lt != math.inf:
            high = f"below {bound.lt:g}"
    if low.startswith("from ") and not high:
        return f"{low.removeprefix('from ')} or more"
    return (" " if high.startswith("to") else ", ").join(filter(None, (low, high)))
