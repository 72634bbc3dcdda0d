"""What a module imports lies below it, and nothing imports in a circle.

Every import counts, also one inside a function or under TYPE_CHECKING: each says that to read the
one module you need the other.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    "inputs, markup, processes, warned",
    "tables, options, files, devices, compiled, kinds, sharing",
    "code, installed",
    "registry",
    "admission",
    "doors, meanings, config_file",
    "rng",
    "data, priors",
    "nn, fields",
    "solvers",
    "training",
    "recipes, sampling",
    "likelihood",
    "metrics",
    "analysis, interop, viz",
    "runs",
    "testing, bench, explore, export",
    "cli",
]  # from the ground up; rooms of one floor do not import each other
FLOOR = {room: k for k, rooms in enumerate(FLOORS) for room in rooms.split(", ")}


def modules(package):
    """The source of every module of a package, by the module's name."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    return {
        name.removesuffix(".__init__"): file.read_text(encoding="utf-8")
        for name, file in zip(names, files, strict=True)
    }


def imported(source, known):
    """The modules among the known ones that a source imports, anywhere in it.

    The version is no module: whoever states it needs nothing else of the package.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import states the whole name of the module"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name != "diffode.__version__":
                    yield name if name in known else node.module


def imports(package):
    """Pairs of modules of a package, the first of which imports the second."""
    known = modules(package)
    pairs = {(name, other) for name, source in known.items() for other in imported(source, known)}
    return {(one, other) for one, other in pairs if other in known and one != other}


def circles(pairs):
    """The largest sets of modules each of which leads to each other."""
    below = {one: {b for a, b in pairs if a == one} for one in {a for a, _ in pairs}}

    def reached(start):
        seen, waiting = set(), [start]
        while waiting:
            new = below.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        return seen

    all_reached = {one: reached(one) for one in below}
    return {
        tuple(sorted(b for b in seen if one in all_reached.get(b, ())))
        for one, seen in all_reached.items()
        if one in seen
    }


def short(name):
    return name.partition(".")[2]


def room(name):
    return name.split(".")[1]


def test_no_module_imports_a_higher_floor_or_a_neighbour():
    above = ("diffode", "diffode.__main__")  # they open the house; nothing in it needs them
    wrong = {
        (short(one), short(other))
        for one, other in imports("diffode")
        if one not in above
        and (other in above or room(one) != room(other))
        and (other in above or FLOOR[room(other)] >= FLOOR[room(one)])
    }
    assert not wrong, "an import only goes down"


@pytest.mark.parametrize("package", ["diffode", "benchmarks"])
def test_no_modules_import_in_a_circle(package):
    assert not circles(imports(package))


def test_every_room_has_a_floor_and_every_floor_a_room():
    rooms = {room(name) for name in modules("diffode") if "." in name} - {"__main__"}
    assert rooms == set(FLOOR)


def test_imports_are_found_wherever_they_stand():
    source = """
from typing import TYPE_CHECKING
import p.a
from p import b, name
from diffode import __version__
if TYPE_CHECKING:
    from p.c import C
def later():
    from p.d import D
"""
    known = {"p", "p.a", "p.b", "p.c", "p.d", "diffode"}
    assert set(imported(source, known)) & known == known - {"diffode"}


def test_circles_are_found():
    chain = {("a", "b"), ("b", "c"), ("a", "c"), ("d", "a")}
    assert circles(chain) == set()
    assert circles(chain | {("c", "b"), ("e", "f"), ("f", "e")}) == {("b", "c"), ("e", "f")}
