"""Options that are given once: a second value would drop the first in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from diffode.cli.defaults import typed

Function = TypeVar("Function", bound=Callable[..., Any])


class _Once(TyperCommand):
    """A command that refuses a second value for an option that takes one.

    Where it has a parameter ``defaults``, that is a file of options, see `diffode.cli.defaults`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  # typer's own
        values, _, given = self.make_parser(ctx).parse_args(args=list(args))
        refuse_repeated("/".join(p.opts) for p in given if _takes_one_value(p))
        for option in given:
            _require_all(option, values.get(option.name))
        if values.get("defaults") is not None and not ctx.resilient_parsing:
            args = [*typed(Path(values["defaults"]), self.params, values), *args]
        return super().parse_args(ctx, args)


def _require_all(option: Any, value: Any) -> None:  # noqa: ANN401  # typer's own
    """Refuse another option in the place of a value, where an option takes several.

    Raises:
        ValueError: naming the option.
    """
    if option.nargs > 1 and any(str(word).startswith("--") for word in value):
        name = option.opts[0]
        raise ValueError(f"got {name} {' '.join(value)}; wanted {name} {option.metavar}")


def _takes_one_value(parameter: Any) -> bool:  # noqa: ANN401  # typer's own
    """Whether it is an option that is neither a flag nor a list."""
    return not (getattr(parameter, "is_flag", True) or parameter.multiple)


class App(typer.Typer):
    """An application whose commands take each option once, unless it takes a list."""

    def command(
        self,
        name: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Callable[[Function], Function]:
        """A command of this name."""
        return super().command(name, cls=_Once, **options)


def refuse_repeated(names: Iterable[str]) -> None:
    """Refuse what stands twice, where the first of the two would be lost.

    Raises:
        ValueError: naming it.
    """
    seen = set()
    for name in names:
        if name in seen:
            raise ValueError(f"got {name} twice; give it once")
        seen.add(name)
