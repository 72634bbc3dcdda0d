"""What the package prints: the commands and options that its texts name are there."""

import ast
import re

from typer.main import get_command

from diffode.cli.app import app
from tests.pages import ROOT

PROGRAM = get_command(app)
COMMANDS = PROGRAM.commands
OPTIONS = {
    name: {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
    for name, command in COMMANDS.items()
}
ANY = set.union(*OPTIONS.values(), {o for p in PROGRAM.params for o in p.opts})
ANY |= {"--nproc_per_node"}  # torchrun's
PROSE = {"a diffode checkpoint", "of diffode that"}
FILES = [p for d in ("diffode", "benchmarks") for p in sorted((ROOT / d).rglob("*.py"))]


def written(node):
    """The text of a string in a program, its filled-in parts as VALUE; None for all else."""
    if isinstance(node, ast.JoinedStr):
        parts = [v.value if isinstance(v, ast.Constant) else "VALUE" for v in node.values]
        return "".join(map(str, parts))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts(path):
    """The strings of a program but its docstrings, and its calls of `command_line`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    inside = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "command_line":
            yield " ".join(["diffode", *(written(a) or "VALUE" for a in node.args)])
        elif id(node) not in bare | inside and (text := written(node)) is not None:
            yield text


def unknown(text):
    """The commands and options in a text that are not there."""
    for match in re.finditer(r"(\w+ )?\bdiffode ([a-z][a-z-]*)([^\n]*)", text):
        said, command, rest = match[0], match[2], match[3]
        if any(said.startswith(prose) for prose in PROSE):
            continue
        line = re.split(r"[;:,]|\bdiffode\b", rest)[0]
        given = re.findall(r"(?<!\S)--[a-z][a-z-]*", line)
        if command not in COMMANDS:
            yield f"diffode {command}"
        else:
            yield from (
                f"{command} {option}" for option in given if option not in OPTIONS[command]
            )


def test_commands_that_a_text_names_exist_with_their_options():
    found = {str(p.relative_to(ROOT)): [u for t in texts(p) for u in unknown(t)] for p in FILES}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_options_that_a_text_of_the_package_names_exist():
    for path in (ROOT / "diffode").rglob("*.py"):
        named = {o for t in texts(path) for o in re.findall(r"(?<![\w-])--[a-z][a-z_-]*", t)}
        assert named <= ANY, path


def test_the_scan_sees_what_is_wrong():
    assert list(unknown("go on with diffode trian --out a")) == ["diffode trian"]
    assert list(unknown("diffode sample VALUE --m 64 --out more.png")) == ["sample --m"]
    assert not list(unknown("diffode fields lists the names; give --what"))


def test_options_that_a_help_text_names_are_its_own():
    for name, command in COMMANDS.items():
        for text in (command.help or "", *(p.help or "" for p in command.params)):
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= OPTIONS[name], name
