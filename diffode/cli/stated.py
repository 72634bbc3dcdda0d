"""A command is stated once: a class whose attributes are its arguments and options.

A command that has options in common with others inherits them.

The class needs no torch, so that ``--help`` and completion answer at once. The function that does
the work takes an object of it, and is imported when the command runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import MISSING, Field, dataclass, fields
from importlib import import_module
from inspect import Parameter, Signature, get_annotations
from typing import Any, Literal, TypeVar, dataclass_transform, get_type_hints

from diffode.cli.shared import app
from diffode.processes import place
from diffode.sharing import sharing

Asked = TypeVar("Asked")
Processes = Literal["one", "shared", "own"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
def command(
    name: str, work: str, processes: Processes = "one"
) -> Callable[[type[Asked]], type[Asked]]:
    """Make a class a command: its attributes are the options, its docstring is the help.

    Arguments:
        name: of the command.
        work: the function that does it, as "module:function" in `diffode.cli`.
        processes: how it is run by several of torchrun's: refused ("one"), with the batches of
            its samples or points shared out ("shared"), or as the function itself sees to it.
    """

    def register(stated: type[Asked]) -> type[Asked]:
        kind = dataclass(frozen=True, kw_only=True)(stated)

        def carry_out(**given: Any) -> Any:  # noqa: ANN401
            module, _, function = work.partition(":")
            if processes == "one" and place().total > 1:
                raise ValueError(
                    f"got {place().total} processes; diffode {name} is the work of one: run it "
                    "without torchrun"
                )
            carry = getattr(import_module(f"diffode.cli.{module}"), function)
            with ExitStack() as stack:
                if processes == "shared":
                    stack.enter_context(sharing())
                if given.get("deterministic"):
                    from diffode.devices import deterministic

                    stack.enter_context(deterministic())
                return carry(kind(**given))

        hints = get_type_hints(kind, include_extras=True)
        carry_out.__doc__, carry_out.__annotations__ = kind.__doc__, hints
        carry_out.__signature__ = Signature([  # type: ignore[attr-defined]  # typer reads it
            Parameter(
                f.name,
                Parameter.KEYWORD_ONLY,
                default=Parameter.empty if f.default is MISSING else f.default,
                annotation=hints[f.name],
            )
            for f in _in_order(kind)
        ])  # fmt: skip
        app.command(name)(carry_out)
        return kind

    return register


def _in_order(kind: type) -> list[Field[Any]]:
    """As ``--help`` shows them: what it wants, what it may be told itself, and what it shares.

    ``out`` and what follows it come last.
    """
    stated = {f.name: f for f in fields(kind)}
    own, *shared = (get_annotations(part) for part in kind.__mro__)
    names, end = list(own), list(own).index("out") if "out" in own else len(own)
    names[end:end] = [name for part in shared for name in part]
    wanted = [name for name, f in stated.items() if f.default is MISSING]
    return [stated[name] for name in dict.fromkeys(wanted + names)]
