"""Options: a function's keyword-only parameters, their types and ranges, checked by pydantic.

A signature is the one place where an option and its default are stated; the command line,
checkpoints and messages follow from it.
"""

from __future__ import annotations

import difflib
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from inspect import Parameter, signature
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from diffode.inputs import brief, quoted

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Finite = Annotated[float, Gt(-math.inf), Lt(math.inf)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
Fraction = Annotated[float, Ge(0), Lt(1)]
NonNegative = Annotated[float, Ge(0), Lt(math.inf)]
Count = Annotated[int, Ge(1)]
Size = Annotated[int, Ge(1), Le(65536)]  # of a layer; more is a slip, and fills any memory
Depth = Annotated[int, Ge(1), Le(1000)]

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


class Listed:
    """What makes of a text whole numbers with commas, as 1,2,2; a sequence of them is written so.

    The text is what a command line, a configuration and a header can all hold.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:  # noqa: ANN401
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.written, handler(source))

    @staticmethod
    def written(value: object) -> str:
        """The text of some numbers, each 1 or more."""
        parts = value.split(",") if isinstance(value, str) else value
        try:
            numbers = [int(part) for part in parts]  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            numbers = []
        if min(numbers, default=0) < 1 or max(numbers) > 1000:
            raise ValueError("wanted whole numbers, 1 to 1000, with commas between: 1,2,2")
        return ",".join(map(str, numbers))


Counts = Annotated[str, Listed()]
_MOST_BESIDE = 1000  # files of a folder that are looked at for a name like the one that was given


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 evaluation", "20 evaluations"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def suggest(name: str, known: list[str]) -> str:
    """ "did you mean ...? " for the nearest known name, or nothing."""
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}? " if close else ""


def nearby(path: str, *others: str) -> list[str]:
    """Paths of a like name beside a path where nothing is, or in other folders."""
    found: dict[str, str] = {}
    for folder in (Path(path).parent, *map(Path, others)):
        with suppress(OSError, ValueError):
            found |= {entry.name: str(entry) for entry in islice(folder.iterdir(), _MOST_BESIDE)}
    return [found[name] for name in difflib.get_close_matches(Path(path).name, found)]


@cache
def options_of(*functions: Callable[..., Any]) -> type[BaseModel]:
    """The pydantic model of the functions' keyword-only parameters; further keys are forbidden."""
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = {}
    for function in functions:
        chosen = [p for p in signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        notes = type("Notes", (), {"__annotations__": {p.name: _annotation(p) for p in chosen}})
        written = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
        home = getattr(written, "__globals__", None) or vars(sys.modules[function.__module__])
        hints = typing.get_type_hints(notes, home, include_extras=True)
        fields |= {
            p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in chosen
        }
    config = ConfigDict(extra="forbid", protected_namespaces=())
    return create_model("Options", __config__=config, **fields)


def _annotation(parameter: Parameter) -> Any:  # noqa: ANN401
    """The type that a parameter states, or else that of its default."""
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    return type(parameter.default) if type(parameter.default) in (bool, int, float, str) else Any


def require_takes(what: str, function: Callable[..., Any], *arguments: object) -> None:
    """Refuse a function that cannot be called with these arguments, its options aside.

    Raises:
        TypeError: it takes others.
    """
    try:
        stated = signature(function)
    except ValueError:  # of a builtin, which does not say
        return
    options = {p.name: None for p in stated.parameters.values() if p.kind is p.KEYWORD_ONLY}
    try:
        stated.bind(*arguments, **options)
    except TypeError as error:
        count = counted(len(arguments), "argument")
        raise TypeError(f"{what} cannot be called with {count} by place: {error}") from None


def validate(
    what: str, options: Mapping[str, Any], *functions: Callable[..., Any]
) -> dict[str, Any]:
    """Options checked against the functions' signatures and completed with their defaults.

    Strings, as they come from a command line, are converted.

    Arguments:
        what: how messages name the thing that has these options.
        options: the given ones.
        functions: whose keyword-only parameters are the options.

    Raises:
        ValueError: an unknown key, with the known ones, or a value that does not fit.
    """
    from pydantic import ValidationError

    model = options_of(*functions)
    for key in options:
        if key not in model.model_fields:
            known = list(model.model_fields)
            has = f"{suggest(key, known)}options: {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{what} has no option {quoted(key)}; {has}")
    try:
        return model(**options).model_dump()
    except ValidationError as error:
        raise ValueError(f"{what}: {_of_kinds(model, error) or problem(error)}") from None


def _of_kinds(model: type[BaseModel], error: ValidationError) -> str:
    """What is wrong with an option that takes values of several kinds; empty for another one.

    Of such a value pydantic says for each kind apart why it is none.
    """
    first = error.errors(include_url=False)[0]
    kinds = _kinds(model.model_fields[str(first["loc"][0])].annotation) if first["loc"] else []
    if len(kinds) < 2 or first["type"] == "missing":
        return ""
    wanted = " or ".join(map(_wanted, kinds))
    return f"got {first['loc'][0]}={quoted(first['input'])}; wanted {wanted}"


def _kinds(hint: Any) -> list[Any]:  # noqa: ANN401
    """The types that one type takes values of, None aside."""
    union = get_origin(hint) in (Union, types.UnionType)
    return [part for part in get_args(hint) if part is not type(None)] if union else [hint]


def _wanted(hint: Any) -> str:  # noqa: ANN401
    """Values of a type: "auto", "a whole number from 1 to 5"."""
    kind, within = in_words(hint)
    if kind == "word":
        return within
    return " ".join(filter(None, ("a" if kind.endswith("number") else "", kind, within)))


def problem(error: ValidationError) -> str:
    """The first thing that does not fit, as a message says it: where, what was got, and why."""
    first = error.errors(include_url=False)[0]
    where = brief(".".join(map(str, first["loc"])), 100)
    reason = brief(first["msg"].removeprefix("Value error, "))
    reason = reason[:1].lower() + reason[1:]
    if first["type"] == "missing":
        return f"{where} is missing"
    if not where or reason.startswith("got "):
        return reason
    return f"got {where}={quoted(first['input'])}; {reason}"


def shown(value: object) -> str:
    """A value as the command line takes it; "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_words(hint: Any) -> tuple[str, str]:  # noqa: ANN401
    """The kind of values of a type, and their range."""
    parts = [in_words(part) for part in _kinds(hint) if part is not hint]
    if parts:
        kinds, ranges = (
            dict.fromkeys(filter(None, column)) for column in zip(*parts, strict=True)
        )
        return " or ".join(kinds), ", or ".join(ranges)
    if get_origin(hint) is Literal:
        words = ", ".join(map(shown, get_args(hint)))
        return "word", f"one of {words}" if len(get_args(hint)) > 1 else words
    if get_origin(hint) is Annotated:
        kind, *bounds = get_args(hint)
        return in_words(kind)[0], _within(bounds)
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
