"""The pages of options, from the signatures and docstrings that state them."""

import inspect
import typing
from dataclasses import replace

from diffode import priors, registry
from diffode.meanings import Option, described, meanings
from diffode.options import in_words, shown
from scripts.site.writing import cell, code, page, table

_LAWS = ("Normal", "StudentT", "GeneralisedNormal", "Ball", "RadialLogistic", "Radial")
# what recipes say of a network themselves
_TOLD = frozenset(("event_shape", "conditions", "classes", "extra"))


def field_options() -> str:
    """Every recipe with its options, and what all of them share."""
    from diffode.recipes import find, names
    from diffode.recipes.compose import make_given
    from diffode.runs.plan import OWN
    from diffode.training.trainer import train

    trained = [option for option in described(train) if option.name not in OWN]
    parts = []
    for name in names():
        recipe = find(name)
        usual = {key: shown(value) for key, value in recipe.training.items()}
        own = [replace(o, default=usual[o.name]) for o in trained if o.name in usual]
        parts.append(_section("recipe", name, [*described(recipe.function), *own]))
    about = (
        "A field is trained by its name: `diffode train NAME --set OPTION=VALUE`, or "
        "`diffode.fit(NAME, DATA, OPTION=VALUE)`. `diffode options NAME` prints the same. Each "
        "field has its own options, and those of the network and of the training, which stand at "
        "the end of this page. The default `-` means that the choice is left to the data."
    )
    ends = [
        f"## The network\n\n{_table(described(make_given))}",
        f"## The training\n\n{_table(trained)}",
    ]
    return page("Options of fields", about, *parts, *ends)


def solver_options() -> str:
    """Every solver with its options, and the spacings of steps."""
    from diffode.solvers import DEFAULT, maker

    about = (
        "A solver is chosen by its name: `diffode sample RUN --solver NAME --set OPTION=VALUE`, "
        "or `diffode.sample(field, 100, NAME, OPTION=VALUE)`. Without a name it is "
        f"`{DEFAULT}`. See [which solver](../solvers.md)."
    )
    parts = [_section("solver", n, described(maker(n))) for n in registry.names("solver")]
    spacings = [(code(name), cell(text)) for name, text, _ in registry.describe("grid")]
    head = "## Where the steps are\n\nThe values of the option `grid`."
    ends = f"{head}\n\n{table(('name', 'steps'), spacings)}"
    return page("Options of solvers", about, *parts, ends)


def part_options() -> str:
    """Networks, schedules and laws of noise with their parameters."""
    about = (
        "What a field is made of. Networks are chosen by `--network NAME`; their sizes are "
        "options of training. Schedules and noise laws are objects: "
        "`diffode.fields.Karras(sigma_max=10)`, `diffode.priors.StudentT(dof=128)`."
    )
    networks = [
        _section("network", n, _parameters(registry.find("network", n).value, _TOLD), 3)
        for n in registry.names("network")
    ]
    schedules = [
        _section("schedule", n, _parameters(registry.find("schedule", n).value), 3)
        for n in registry.names("schedule")
    ]
    laws = [
        f"### {n}\n\n{_first(getattr(priors, n))}\n\n{_table(_parameters(getattr(priors, n)))}"
        for n in _LAWS
    ]
    heads = ("## Networks", "## Schedules", "## Noise laws")
    parts = [
        part
        for head, some in zip(heads, (networks, schedules, laws), strict=True)
        for part in (head, *some)
    ]
    return page("Options of networks, schedules and noise laws", about, *parts)


def _section(kind: str, name: str, options: list[Option], level: int = 2) -> str:
    entry = registry.find(kind, name)
    also = [alias for alias, meant in registry.aliases(kind).items() if meant == name]
    said = [
        _first(entry.value) if kind == "schedule" else entry.about,
        entry.reference and f"Source: {entry.reference}",
    ]
    said += [f"Also called {', '.join(map(code, also))}" if also else ""]
    text = ". ".join(cell(part).rstrip(".") for part in said if part) + "."
    return f"{'#' * level} {name}\n\n{text}\n\n{_table(options)}"


def _table(options: list[Option]) -> str:
    if not options:
        return "It has no options."
    rows = [
        (
            code(o.name),
            ", ".join(filter(None, (cell(o.kind), cell(o.range)))),
            code(o.default),
            cell(o.meaning),
        )
        for o in options
    ]
    return table(("option", "takes", "default", "meaning"), rows)


def _parameters(made: type, told: frozenset[str] = frozenset()) -> list[Option]:
    """The parameters of a class, those by place too."""
    hints = typing.get_type_hints(made.__init__, include_extras=True)  # type: ignore[misc]
    said = {name: text for cls in reversed(made.__mro__) for name, text in meanings(cls).items()}
    return [
        Option(
            name,
            *in_words(hints[name]),
            "needed" if parameter.default is parameter.empty else shown(parameter.default),
            said.get(name, ""),
        )
        for name, parameter in inspect.signature(made).parameters.items()
        if name not in told
    ]


def _first(thing: object) -> str:
    """The first sentence of a docstring."""
    return cell((inspect.getdoc(thing) or "").split("\n\n")[0])
