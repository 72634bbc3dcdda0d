"""What installed packages bring by their entry points; listing it imports none of them."""

from __future__ import annotations

from collections.abc import Set
from functools import cache
from importlib import metadata

from diffode.inputs import brief
from diffode.warned import warn


@cache
def points(group: str) -> dict[str, list[metadata.EntryPoint]]:
    """The entry points of a group by their name, without importing what they lead to."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=group):
        found.setdefault(point.name, []).append(point)
    return found


def package(point: metadata.EntryPoint) -> str:
    """The package that brings an entry point."""
    if point.dist is None:
        return f"the entry point {point.value}"
    return f"package {point.dist.name} {point.dist.version}"


def summary(point: metadata.EntryPoint) -> str:
    """What a package says of itself in one line."""
    known = {} if point.dist is None else point.dist.metadata.json
    return brief(str(known.get("summary", point.value)), 100)


def warn_of_taken(group: str, noun: str, taken: Set[str]) -> None:
    """Say of which entry points the name is diffode's own, which is what is used then."""
    for name in sorted(points(group).keys() & taken):
        whose = " and ".join(package(point) for point in points(group)[name])
        said = f"the {noun} {name!r} of {whose} is not used: the name is diffode's own"
        warn(said)
