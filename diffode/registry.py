"""One registry of all that has a name: recipes, networks, schedules, solvers, grids and more.

A name is one of diffode's own, one that was registered in this process, or one that an installed
package brings by an entry point::

    [project.entry-points."diffode.recipes"]
    mine = "my_package.recipes:mine"

``file.py:name`` and ``package.module:name`` stand for what is found there, see `diffode.code`.

>>> from diffode import registry
>>> registry.find("recipe", "edm").about
'EDM: Karras preconditioning, log-normal noise levels'
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

from diffode import code, installed
from diffode.inputs import brief, quoted
from diffode.kinds import KINDS
from diffode.options import suggest

OBJECT = "object "  # how the name of a thing begins that was given itself and has no place
NOWHERE = "code in no file"  # the origin of what was defined in this process alone


@dataclass(frozen=True)
class Entry:
    """Something that has a name.

    Attributes:
        kind, name: what it is, and how it is asked for.
        target: itself, or ``module:attribute`` where it is imported from when it is used.
        about: one line on what it is.
        reference: the paper.
        key: what finds it again from another process: its name, or for the user's own code the
            place of that.
        origin: of what is not diffode's own: "sha256 ..." of its file, or "package ...".
        facts: what else its kind states, such as the ``training`` of a recipe.
    """

    kind: str
    name: str
    target: Any
    about: str = ""
    reference: str = ""
    key: str = ""
    origin: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The thing itself."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    @property
    def function(self) -> Callable[..., Any]:
        """The thing itself, where it is to be called.

        Raises:
            TypeError: it cannot be called.
        """
        function: Callable[..., Any] = self.value
        if not callable(function):
            raise TypeError(
                f"{self.name} is an object of type {type(function).__name__}, no {self.kind}; "
                "wanted a function or a class"
            )
        return function


_TABLES: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
_ALIASES: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}


def register(
    kind: str,
    name: str,
    value: Any = None,  # noqa: ANN401
    *,
    about: str = "",
    reference: str = "",
    aliases: tuple[str, ...] = (),
    **facts: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Give something a name; without a value, a decorator that does.

    Arguments:
        kind: "recipe", "network", "schedule", "solver", "grid", "source", "feature" or "metric".
        name: how it is asked for.
        value: the thing, or ``module:attribute`` where it is to be imported from when it is used.
        about: one line on what it is; left out, the first of its docstring.
        reference: the paper.
        aliases: other names of it.
        facts: what else the kind states of it.

    Raises:
        ValueError: no such kind, no name, or one that is taken.
    """
    if value is None:
        return lambda value: register(
            kind, name, value, about=about, reference=reference, aliases=aliases, **facts
        )
    table = _table(kind)
    for one in (name, *aliases):
        code.require_name(one)
        before = table.get(_ALIASES[kind].get(one, one))
        if before is not None and not _defined_anew(before.target, value):
            raise ValueError(f"the {KINDS[kind].noun} name {one!r} is taken")
    table[name] = _made(kind, name, value, about, reference, facts)
    _ALIASES[kind] |= dict.fromkeys(aliases, name)
    return value


def names(kind: str) -> list[str]:
    """The names of a kind: diffode's own, those registered here, those of installed packages."""
    return [name for name, _, _ in describe(kind)]


def aliases(kind: str) -> dict[str, str]:
    """Other names of a kind, and what they stand for."""
    _table(kind)
    return dict(_ALIASES[kind])


def describe(kind: str) -> list[tuple[str, str, str]]:
    """Name, one line and reference of each of a kind. No installed package is imported for it."""
    own = {
        n: e for n, e in _table(kind).items() if code.place(n) is None and not n.startswith(OBJECT)
    }
    taken = {name for name, entry in own.items() if not entry.origin}.union(_ALIASES[kind])
    installed.warn_of_taken(KINDS[kind].group, KINDS[kind].noun, taken)
    others = {
        n: points[0] for n, points in installed.points(KINDS[kind].group).items() if n not in own
    }
    return [(name, entry.about, entry.reference) for name, entry in own.items()] + [
        (name, installed.summary(point), installed.package(point))
        for name, point in others.items()
    ]


def find(kind: str, name: str, *, run: bool = False, others: Sequence[str] = ()) -> Entry:
    """What has this name or alias.

    Arguments:
        kind: as for `register`.
        name: its name, or a place as ``mine.py:name`` or ``package.module:name``.
        run: whether the user gave the name, so that the code at a place is run; else only such
            as ran already is found.
        others: what else may have been meant by a name that is none.

    Raises:
        ValueError: no such name, with those there are, or one whose code does not run.
        FileNotFoundError: the place of a file that is not there.
    """
    table, noun = _table(kind), KINDS[kind].noun
    name = _ALIASES[kind].get(name, name)
    if (at := code.place(name)) is not None:
        return _opened(kind, at) if run else _ran(kind, at)
    if name not in table and name in (points := installed.points(KINDS[kind].group)):
        table[name] = _loaded(kind, name, points[name])
    if name not in table and name.startswith(OBJECT):
        raise ValueError(
            f"the {noun} {quoted(name)} was given as an object, which no name finds in another "
            f"process; give it again: diffode.load(path, {kind}=...)"
        )
    if name not in table and name.endswith(".py"):
        raise ValueError(f"got {quoted(name)}; name the {noun} in that file, as {name}:NAME")
    if name not in table:
        known = names(kind)
        near = suggest(name.lower(), [*known, *_ALIASES[kind], *others])
        raise ValueError(
            f"no {noun} named {quoted(name)}; {near}{noun}s: {', '.join(known)}{KINDS[kind].also}"
        )
    return table[name]


def opened(kind: str, name: str) -> str:
    """The key of a name that the user gave; the code at a place is run.

    What is no name of this kind, as the path of data or "auto", is left as it is.
    """
    return find(kind, name, run=True).key if is_known(kind, name) else name


def is_known(kind: str, name: str) -> bool:
    """Whether a name is one of a kind, or of a place."""
    return code.place(name) is not None or name in (*names(kind), *_ALIASES[kind])


def keep(kind: str, name: str, value: object) -> str:
    """Let a name that begins with `OBJECT` stand for a thing in this process; the name."""
    _table(kind)[name] = Entry(kind, name, value, key=name, origin=NOWHERE)
    return name


def _table(kind: str) -> dict[str, Entry]:
    """The entries of a kind, with diffode's own among them."""
    if kind not in KINDS:
        raise ValueError(f"no kind {quoted(kind)}; kinds: {', '.join(KINDS)}")
    importlib.import_module(KINDS[kind].home)
    return _TABLES[kind]


def _made(
    kind: str, name: str, value: object, about: str, reference: str, facts: Mapping[str, Any]
) -> Entry:
    """An entry, with what finds it from another process."""
    about = about or ((getattr(value, "__doc__", None) or "").strip().splitlines() or [""])[0]
    if (getattr(value, "__module__", None) or "diffode").partition(".")[0] == "diffode":
        return Entry(kind, name, value, about, reference, name, "", facts)
    at = code.place_of(value)
    key = name if at is None else str(at)
    return Entry(kind, name, value, about, reference, key, _origin(at), facts)


def _origin(at: code.Place | None) -> str:
    return NOWHERE if at is None else f"sha256 {code.fingerprint(at)}"


def _defined_anew(before: object, value: object) -> bool:
    """Whether a definition is the same one that ran again, as a cell of a notebook does."""
    one, other = (
        (getattr(x, "__module__", ""), getattr(x, "__qualname__", "")) for x in (before, value)
    )
    return one == other and bool(one[1]) and "<locals>" not in one[1]


def _ran(kind: str, at: code.Place) -> Entry:
    """The entry of a place whose code ran already.

    Raises:
        ValueError: it did not.
    """
    table = _TABLES[kind]
    for entry in (table.get(str(at)), *table.values()):
        if entry is not None and entry.key == str(at):
            return entry
    raise ValueError(
        f"the {KINDS[kind].noun} {quoted(str(at))} is code, which is run only where you say so: "
        "give --trust on the command line, trust=True in Python"
    )


def _opened(kind: str, at: code.Place) -> Entry:
    """The entry of a place, whose code is run; what its decorator stated of it holds."""
    value = code.run(at)
    stated = [e for e in _TABLES[kind].values() if e.target is value]
    entry = stated[0] if stated else _made(kind, str(at), value, "", "", {})
    entry = dataclasses.replace(entry, name=str(at), key=str(at), origin=_origin(at))
    _TABLES[kind][str(at)] = entry
    return entry


def _loaded(kind: str, name: str, points: list[EntryPoint]) -> Entry:
    """The entry that an installed package brings.

    Raises:
        ValueError: two packages have it, or it cannot be imported.
    """
    packages = [installed.package(point) for point in points]
    if len(points) > 1:
        raise ValueError(
            f"the {KINDS[kind].noun} {name!r} is brought by {' and '.join(packages)}; uninstall "
            "one of them"
        )
    try:
        value = points[0].load()
    except (Exception, SystemExit) as error:  # a package may raise anything
        said = brief(f"{type(error).__name__}: {error}", 500)
        raise ValueError(
            f"the {KINDS[kind].noun} {name!r} of {packages[0]} cannot be imported: {said}"
        ) from error
    stated = [e for e in _TABLES[kind].values() if e.target is value]
    entry = stated[0] if stated else _made(kind, name, value, "", "", {})
    return dataclasses.replace(entry, name=name, key=name, origin=packages[0])
