"""The tables of options: each says what it is, what it takes and what it means."""

import math
import re
from typing import Annotated, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt

import diffode
from diffode import recipes, registry, solvers
from diffode.cli.app import run
from diffode.meanings import Option, described, meanings
from diffode.options import Fraction, Positive, validate
from diffode.recipes.compose import make_given
from diffode.solvers.builtin import INEXACT
from diffode.training.trainer import train
from tests.runs import WITHOUT_LABELS, refused

STATED = [
    *(pytest.param(recipes.find(name).function, id=name) for name in recipes.names()),
    *(pytest.param(solvers.maker(name), id=name) for name in solvers.names()),
    make_given,
    train,
]


@pytest.mark.parametrize("function", STATED)
def test_every_option_says_what_it_takes_and_what_it_means(function):
    plain = {"true or false", "whole number", "number", "text", "word", "path"}
    for option in described(function):
        assert option.meaning, option
        assert set(option.kind.split(" or ")) <= plain or option.kind in plain, option
        assert "inf" not in option.range and "None" not in option.default, option


def stated(
    *,
    a: Positive,
    b: Fraction | None = None,
    c: Literal["x", "y"] = "x",
    d: Literal["auto"] | Annotated[int, Ge(1), Le(5)] = "auto",
    e: Annotated[int, Ge(2)] = 3,
    f: Annotated[float, Gt(-math.inf), Lt(math.inf)] = 1e-6,
    g: bool = True,
    h: Annotated[float, Gt(0), Le(1)] = 1.0,
) -> None:
    """A function.

    Arguments:
        a, b: the first
            and the second.
        c: the third: x or y.

    Raises:
        d: no option.
    """


def test_types_and_ranges_are_in_words():
    assert [(o.name, o.kind, o.range) for o in described(stated)] == [
        ("a", "number", "above 0"),
        ("b", "number", "from 0, below 1"),
        ("c", "word", "one of x, y"),
        ("d", "word or whole number", "auto, or from 1 to 5"),
        ("e", "whole number", "2 or more"),
        ("f", "number", ""),
        ("g", "true or false", ""),
        ("h", "number", "above 0 to 1"),
    ]
    assert described(stated)[1] == Option(
        "b", "number", "from 0, below 1", "-", "the first and the second."
    )
    assert [o.default for o in described(stated)][2:7] == ["x", "auto", "3", "1e-06", "true"]


def test_meanings_are_those_of_the_arguments_alone():
    both = "the first and the second."
    assert meanings(stated) == {"a": both, "b": both, "c": "the third: x or y."}


def test_options_of_a_field_are_the_recipes_the_networks_and_the_trainers(capsys):
    assert run(["options", "gan", "--solver", "rk4"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(line[:2]) for line in lines if "default" in line] == [
        "field gan",
        "network values",
        "training values",
        "solver rk4",
    ]
    assert ["batch", "whole", "number", "1", "or", "more", "128"] in [line[:7] for line in lines]
    known = {line[0] for line in lines}
    assert {"critic_steps", "width", "lr", "clock"} <= known
    assert not known & {"seed", "out", "resume", "since"}  # which are options of the command


@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_what_an_open_option_became_is_stated(name):
    """Stated as options, the same values make the same field."""
    points = torch.tensor([[0.0, 1.0], [2.0, 5.0], [3.0, 1.0]])
    made = diffode.build(name, (2,), stats=diffode.data_stats(points))
    networks = {k: v for k, v in made.resolved.items() if isinstance(v, dict)}
    given = {k: v for k, v in made.resolved.items() if k not in networks}
    for network in networks.values():
        assert network["kind"].startswith("MLP") and network["parameters"] > 1000
        given |= {"network": "mlp", "width": network["width"], "depth": network["depth"]}
    again = diffode.build(name, (2,), stats=diffode.data_stats(points), **given)
    assert again.resolved == made.resolved and repr(again.field) == repr(made.field)
    assert given == {key: again.spec.options[key] for key in given}


def test_a_field_without_options_says_so(capsys, monkeypatch):
    bare = registry.Entry("recipe", "bare", lambda given: None, key="bare")
    monkeypatch.setitem(registry._TABLES["recipe"], "bare", bare)
    assert run(["options", "bare"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "field bare: it has no options"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give FIELD, --solver NAME or both; diffode fields lists the fields"),
        (["poison"], "no field named 'poison'; did you mean 'poisson'?"),
        (["edm", "--solver", "hune"], "no solver named 'hune'; did you mean 'heun'?"),
    ],
)
def test_unknown_names_are_refused(capsys, arguments, message):
    assert message in refused(capsys, "options", *arguments)


@pytest.mark.parametrize(("habit", "name"), registry.aliases("solver").items())
def test_a_name_by_habit_is_the_very_same_solver(habit, name):
    usual, same = solvers.get_solver(name), solvers.get_solver(habit)
    assert type(same) is type(usual) and vars(same) == vars(usual)


@pytest.mark.parametrize("habit", INEXACT)
def test_a_method_that_is_not_here_as_published_is_refused_with_what_comes_near(habit):
    with pytest.raises(ValueError, match=f"no solver named '{re.escape(habit)}': ") as caught:
        solvers.get_solver(habit)
    named = set(str(caught.value).replace(",", " ").split()[4:]) & set(solvers.names())
    assert named and habit not in {*solvers.names(), *registry.aliases("solver")}


@pytest.mark.parametrize("value", ["9", "0", "-1", "2.5", "two", 9])
def test_all_that_an_option_of_two_kinds_takes_is_said(value):
    wanted = f"got order={value!r}; wanted one of auto, variable or a whole number from 1 to 5"
    with pytest.raises(ValueError, match=f"^solver 'trig': {re.escape(wanted)}$"):
        solvers.get_solver("trig", order=value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"a": 1, "b": "x"}, "b='x'; input should be a valid number"),
        ({"a": 1, "d": None}, "d=None; wanted auto or a whole number from 1 to 5"),
        ({"a": 1, "i": "-1"}, "i='-1'; wanted one of x, y or a number above 0 or true or false"),
        ({"a": 1, "j": "x"}, "j='x'; wanted a number or y"),
    ],
)
def test_kinds_are_those_of_the_signature(options, message):
    def more(
        *, i: Literal["x", "y"] | Positive | bool = "x", j: float | Literal["y"] | None = None
    ) -> None: ...

    with pytest.raises(ValueError, match=re.escape(f"it: got {message}")):
        validate("it", options, stated, more)


def test_an_option_of_two_kinds_that_is_not_given_is_missing():
    def needs(*, k: int | Literal["all"]) -> None: ...

    with pytest.raises(ValueError, match="it: k is missing"):
        validate("it", {}, needs)


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 65537), ("depth", 1001), ("patch", 2**63), ("multipliers", "1,1001")],
)
def test_a_network_that_fills_any_memory_is_not_begun(name, value):
    with pytest.raises(ValueError, match=f"got {name}="):
        diffode.build("edm", (2,), **{name: value})
