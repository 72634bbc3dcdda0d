"""The page for contributors names files, functions and rooms that are there."""

import ast
import re

import pytest

from tests.pages import ROOT
from tests.test_layers import FLOORS

PAGE = (ROOT / "docs/contributing.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`(\w+/[\w/]+\.py):([\w.]+)`", PAGE)))


def names(tree, before=""):
    """The functions and classes of a module, methods as Class.method."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield before + node.name
            if isinstance(node, ast.ClassDef):
                yield from names(node, f"{node.name}.")


def test_the_routes_have_places():
    assert len(PLACES) > 30


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_a_place_is_there(file, name):
    source = (ROOT / "diffode" / file).read_text(encoding="utf-8")
    assert name in set(names(ast.parse(source)))


def test_the_floors_are_those_of_the_layers():
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", PAGE, re.MULTILINE)
    told = [rooms.replace("`", "") for _, rooms in reversed(rows)]
    assert told == FLOORS
    assert [int(k) for k, _ in rows] == list(range(len(FLOORS), 0, -1))
