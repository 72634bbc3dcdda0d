"""The page of the command line, from the commands themselves."""

import inspect
from typing import Annotated, get_args, get_origin

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from diffode.options import in_words, shown
from scripts.site.writing import cell, code, page, table

Parameter = TyperArgument | TyperOption


def commands() -> str:
    """Every command with its arguments and options."""
    from diffode.cli.app import app

    group: TyperGroup = get_command(app)  # type: ignore[assignment]
    about = (
        "What `diffode COMMAND --help` says, of all commands. Where an option is left out, the "
        "column *default* says what is taken, or words in brackets in its meaning do; without "
        "either, nothing is."
    )
    return page(
        "Commands",
        about,
        *(_command(name, group.commands[name]) for name in sorted(group.commands)),
    )


def _command(name: str, command: TyperCommand) -> str:
    """One command: what it does, its line, and what it takes."""
    parameters = [
        p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"
    ]
    places = [p for p in parameters if p.param_type_name == "argument"]
    line = " ".join(["diffode", name, *map(_place, places), "[OPTIONS]"])
    rows = [_row(parameter, command) for parameter in parameters]
    said = "\n\n".join(cell(part) for part in inspect.cleandoc(command.help).split("\n\n"))
    head = ("", "takes", "default", "meaning")
    return f"## {name}\n\n{said}\n\n```text\n{line}\n```\n\n" + table(head, rows)


def _place(parameter: Parameter) -> str:
    name = parameter.metavar or parameter.name.upper()
    name += "..." if parameter.nargs != 1 else ""
    return name if parameter.required else f"[{name}]"


def _row(parameter: Parameter, command: TyperCommand) -> list[str]:
    is_place = parameter.param_type_name == "argument"
    names = [_place(parameter)] if is_place else [*parameter.opts, *parameter.secondary_opts]
    flag = getattr(parameter, "is_flag", False)
    kind, within = ("", "") if flag else _kind(command, parameter)
    default = parameter.default
    if callable(default) or default in (None, False, (), []):
        default = None
    usual = "needed" if parameter.required else "" if default is None else code(shown(default))
    takes = ", ".join(filter(None, (cell(kind), cell(within))))
    return [", ".join(map(code, names)), takes, usual, cell(parameter.help or "")]


def _kind(command: TyperCommand, parameter: Parameter) -> tuple[str, str]:
    """The values that a parameter takes, from the signature of the command."""
    hint = inspect.signature(command.callback, eval_str=True).parameters[parameter.name].annotation
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    hints = [part for part in get_args(hint) or [hint] if part is not type(None)]
    if get_origin(hints[0]) is list:
        return f"{in_words(get_args(hints[0])[0])[0]}, several times", ""
    if get_origin(hints[0]) is tuple:
        return " and ".join(in_words(part)[0] for part in get_args(hints[0])), ""
    return in_words(hint)
