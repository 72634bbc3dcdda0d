"""Code that a run names: where it came from, and whether it may be run again.

A name inside a file that is read is data. It is found where its code ran already in this process
or belongs to an installed package; else it runs only where the user trusts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffode import code
from diffode.inputs import brief, quoted
from diffode.kinds import KINDS
from diffode.registry import find, is_known, opened
from diffode.warned import warn

PARTS = ("network", "schedule")  # kinds that options of a recipe name

_ACCEPTED: set[tuple[str, str]] = set()  # code that has changed, and what it was


def parts(options: Mapping[str, Any]) -> dict[str, str]:
    """What options of a recipe name, by its kind."""
    return {kind: options[kind] for kind in PARTS if isinstance(options.get(kind), str)}


def opened_parts(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that the user gave, with the keys of what they name, whose code is run."""
    return dict(options) | {kind: opened(kind, name) for kind, name in parts(options).items()}


def origins(named: Mapping[str, str]) -> dict[str, str]:
    """Where the named things come from that are not diffode's own, by their kinds."""
    found = {k: find(k, name).origin for k, name in named.items() if is_known(k, name)}
    return {kind: origin for kind, origin in found.items() if origin}


def admit(kind: str, name: str, origin: str = "", *, trust: bool = False) -> None:
    """Admit what a run or another file names: its code ran already, or may run now.

    Arguments:
        kind, name: what is named.
        origin: where it came from, as `origins` said when the file was written.
        trust: whether the user said that its code may be run, as it is now.

    Raises:
        ValueError: code that may not run or has changed, or a package that is not there.
        FileNotFoundError: the file of the code is not there.
    """
    if code.place(name) is None:
        if origin and not is_known(kind, name):
            raise ValueError(
                f"the {KINDS[kind].noun} {quoted(name)} came from {brief(origin, 100)}, which is "
                "not here; install that, or register the name first"
            )
        return
    now = find(kind, name, run=trust).origin
    if origin in ("", now) or (name, origin) in _ACCEPTED:
        return
    said = f"{name} has changed since: then {brief(origin[:19], 40)}, now {now[:19]}"
    if not trust:
        raise ValueError(f"{said}; put the old file back, or give --trust to take the new one")
    _ACCEPTED.add((name, origin))
    warn(said)
