"""The application, and the options that its commands share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar

import typer

from diffode import registry
from diffode.cli.once import App, refuse_repeated

Value = TypeVar("Value")

app = App(
    name="diffode",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Trust = Annotated[
    bool, typer.Option("--trust", help="run the code that the run names, as a recipe's file")
]
NullLabel = Annotated[
    int | None,
    typer.Option("--null-label", help="which label stands for none, in a pipeline", min=0),
]
Nfe = Annotated[int | None, typer.Option(help="evaluations to spend, at most", min=1)]
Steps = Annotated[int | None, typer.Option(help="steps, instead of --nfe", min=1)]
SolverOptions = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="an option of the solver, as rtol=1e-5"),
]
Levels = Annotated[
    str | None,
    typer.Option(help="how many gray levels the data have, or N:LOW:HIGH [looked for]"),
]
Weights = Annotated[str, typer.Option(help="ema or raw")]
Scale = Annotated[
    str | None, typer.Option(help="units to learn in: pixels, standard or none [auto]")
]
AxesAs = Annotated[
    str | None,
    typer.Option(help="axes of arrays: points, signals, images or channels-last [auto]"),
]
Columns = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="columns of a table to learn [all numbers]")
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="the column of a table that has the labels")
]
Resize = Annotated[
    int | None, typer.Option(metavar="N", help="bring images to N x N: the square in the middle")
]
Grey = Annotated[bool | None, typer.Option("--grey", help="make images grey")]
Background = Annotated[
    str | None, typer.Option(help="the colour behind transparent pixels [white]")
]
SEEDS: Any = {"min": 0, "max": 2**64 - 1}


@dataclass(frozen=True, kw_only=True)
class OnTarget:
    """What a command that works on a TARGET is told."""

    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help=(
                "a run, a checkpoint, also of EDM or PFGM++, a folder of diffusers or "
                "hf:owner/name, or code, which is run: file.py:name or package.module:name"
            ),
        ),
    ]
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto"
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="on a GPU, the same numbers each time")
    ] = False
    null_label: NullLabel = None
    trust: Trust = False


@dataclass(frozen=True, kw_only=True)
class OnWeights(OnTarget):
    """The same, where averaged and raw weights can be told apart."""

    weights: Weights = "ema"


Interval = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LO HI", help="guide between these noise levels sigma/alpha alone"),
]


@dataclass(frozen=True, kw_only=True)
class Guided(OnWeights):
    """The same, and how the field is guided; `diffode.runs.guiding` looks at it."""

    guidance: Annotated[
        float | None,
        typer.Option(metavar="W", help="1 is the field as it is, more leads further to the label"),
    ] = None
    interval: Interval = None
    weak: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="guide away from this weaker run, not from no label"),
    ] = None
    classifier: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="guide a field without labels by this classifier"),
    ] = None


def given_once(name: str, place: Value | None, option: Value | None) -> Value | None:
    """What was given by its place or by its option.

    Raises:
        ValueError: both, and not the same.
    """
    if place is not None and option not in (None, place):
        raise ValueError(f"got {name} {place} and --{name.lower()} {option}; give one of the two")
    return place if option is None else option


def pairs(assignments: list[str] | None, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys and values of ``--set key=value``, and those of options of their own.

    Arguments:
        assignments: what stood behind ``--set``.
        given: the values of options with a name of their own, as ``--steps``.

    Raises:
        ValueError: an assignment without a key or an equals sign, or a key that stands twice.
    """
    split = [text.partition("=") for text in assignments or []]
    for key, equals, value in split:
        if not (key and equals):
            raise ValueError(f"got --set {key + equals + value!r}; wanted --set key=value")
    given = given or {}
    refuse_repeated([*given, *(key.strip() for key, _, _ in split)])
    return {**given, **{key.strip(): value.strip() for key, _, value in split}}


def reading(asked: object) -> dict[str, Any]:
    """The options of how data are read, see `diffode.data.reading.Reading`, that were given."""
    from diffode.data.reading import Reading

    given = {field.name: getattr(asked, field.name, None) for field in fields(Reading)}
    if given["columns"] is not None:
        given["columns"] = tuple(name.strip() for name in given["columns"].split(","))
    return {name: value for name, value in given.items() if value is not None}


def named(kind: str, given: list[str] | None) -> list[str] | None:
    """Names by what finds them again; the code of those that lead to some is run."""
    return given and [registry.opened(kind, name) for name in given]
